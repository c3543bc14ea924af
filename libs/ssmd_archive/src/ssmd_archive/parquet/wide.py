"""Sorting tables of wide rows: JSON of kilobytes in each.

DuckDB's sort holds 122,880 rows at once, whatever their size: of these that is more memory than a
compaction may take. So their rows are dealt to files by ranges of the first column that they are
sorted by, and each of these is sorted alone. Memory is that of a range, or of the rows of one
ticker where these are more.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ssmd_archive.parquet.schemas import Table

RANGE_BYTES: Final = 24 << 20
_MOST_RANGES: Final = 200
"""Each is an open file."""


def write_sorted(table: Table, batches: Iterator[pa.RecordBatch], path: Path, scratch: Path) -> int:
    """Write a table's file; how many rows it has. `scratch` is a directory, used and left empty."""
    spool = scratch / "spool.arrows"
    sizes: Counter[str] = Counter()
    rows = 0
    with pa.OSFile(str(spool), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += len(batch)
            width = batch.nbytes / max(1, len(batch))
            for key, count in Counter(_keys(table, batch)).items():
                sizes[key] += int(count * width) + 1
    ranges = _ranges(sizes)
    files = [
        scratch / f"range-{number}.arrows" for number in range(max(ranges.values(), default=-1) + 1)
    ]
    _deal(table, spool, ranges, files)
    spool.unlink()
    order = [(name, "ascending") for name in table.order]
    with pq.ParquetWriter(path, table.schema, compression="zstd") as parquet:
        for one in files:
            with pa.OSFile(str(one), "rb") as file, pa.ipc.open_stream(file) as reader:
                parquet.write_table(reader.read_all().sort_by(order), table.row_group)
            one.unlink()
    return rows


def _keys(table: Table, batch: pa.RecordBatch) -> list[str]:
    """Texts that sort as the first column does; nulls come last."""
    column = batch.column(table.order[0])
    if pa.types.is_timestamp(column.type):
        # A minute's rows stay together.
        minutes = pc.floor_temporal(column, unit="minute").cast(pa.int64())
        return [f"{minute:020d}" for minute in minutes.to_pylist()]
    return ["\U0010ffff" if key is None else key for key in column.to_pylist()]


def _ranges(sizes: Counter[str]) -> dict[str, int]:
    """The number of the range that each key is in, in the order of keys."""
    most = max(RANGE_BYTES, sum(sizes.values()) // _MOST_RANGES + 1)
    found: dict[str, int] = {}
    number = filled = 0
    # As Arrow sorts texts: by their bytes.
    for key in sorted(sizes, key=str.encode):
        if filled and filled + sizes[key] > most:
            number, filled = number + 1, 0
        found[key] = number
        filled += sizes[key]
    return found


def _deal(table: Table, spool: Path, ranges: dict[str, int], files: list[Path]) -> None:
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                pa.ipc.new_stream(stack.enter_context(pa.OSFile(str(one), "wb")), table.schema)
            )
            for one in files
        ]
        source = stack.enter_context(pa.OSFile(str(spool), "rb"))
        for batch in stack.enter_context(pa.ipc.open_stream(source)):
            numbers = pa.array([ranges[key] for key in _keys(table, batch)], pa.int32())
            for number in pc.unique(numbers).to_pylist():
                writers[number].write_batch(batch.filter(pc.equal(numbers, number)))
