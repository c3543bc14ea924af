"""Lines of the archive as columns.

Many lines are read at once by Arrow's reader of JSON, outside of Python's lock. Where it refuses
them they are halved, until the one is found that does not fit: that one is rejected, with the
reason, and nothing is lost or rounded.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from ssmd_archive import lines as archive_lines
from ssmd_archive.parquet.schemas import COUNT, LEVELS, OTHERS, PRICE, TEXT, TIME, Origin, Table

_THREADS: Final = 2
_STORED_AT: Final = "_stored_at"
_PAIRS: Final = pa.list_(pa.list_(TEXT))


class Rejected(NamedTuple):
    """A line that its table cannot have, without its end, and why."""

    text: bytes
    why: str


class Block(NamedTuple):
    """Whole lines of one folder, with their ends, and the chain that they are of."""

    chain: int
    raw: bytes


class Read(NamedTuple):
    batches: list[pa.RecordBatch]
    rejected: list[Rejected]


class _DoesNotFit(Exception):
    """Some line does not fit the table."""


class Reader:
    """Of the lines of one table."""

    def __init__(self, table: Table) -> None:
        self.table = table
        fields = {name: TEXT if name != "v" else pa.int64() for name, _ in table.says}
        fields |= {one.name: _as_read(one.type) for one in table.of(Origin.MESSAGE)}
        self._message = _options(fields)
        self._row = _options({one.name: _as_read(one.type) for one in table.of(Origin.ROW)})
        self._json = [one.name for one in table.of(Origin.JSON)]
        self._decode = msgspec.json.Decoder(
            msgspec.defstruct("Json", [(name, msgspec.Raw, _ABSENT) for name in self._json])
        ).decode

    def read(self, block: Block) -> Read:
        """All lines of a block, each in a batch or rejected."""
        try:
            return Read([self._batch(block)], [])
        except (_DoesNotFit, pa.ArrowInvalid, msgspec.MsgspecError, UnicodeDecodeError) as error:
            whole = block.raw.splitlines(keepends=True) if block.raw.count(b"\n") > 1 else []
            if not whole:
                why = str(error).partition("\n")[0]
                return Read([], [Rejected(block.raw.removesuffix(b"\n"), why)])
        half = len(whole) // 2
        parts = [
            self.read(Block(block.chain, b"".join(part))) for part in (whole[:half], whole[half:])
        ]
        return Read(
            [batch for part in parts for batch in part.batches],
            [line for part in parts for line in part.rejected],
        )

    def _batch(self, block: Block) -> pa.RecordBatch:
        count = block.raw.count(b"\n")
        found = _parsed(block.raw, self._message, count)
        for name, value in self.table.says:
            said = pc.equal(found[name], int(value) if name == "v" else value)
            if not pc.all(pc.fill_null(said, fill_value=False)).as_py():
                raise _DoesNotFit(f"{name} is not {value}")
        json = self._texts(block.raw)
        row = _parsed(_rows(json["data"]), self._row, count) if self._row else None
        arrays = []
        for column in self.table.columns:
            match column.origin:
                case Origin.ARCHIVE:
                    array = pa.repeat(pa.scalar(block.chain, column.type), count)
                case Origin.JSON:
                    array = pa.array(json[column.name], TEXT)
                case Origin.ROW:
                    assert row is not None
                    array = _cast(row[column.name], column.type)
                case Origin.MESSAGE if column.name == _STORED_AT:
                    array = _cut(found[column.name])
                case Origin.MESSAGE:
                    array = _cast(found[column.name], column.type)
            if column.required and array.null_count:
                raise _DoesNotFit(f"{column.name} is missing")
            arrays.append(array)
        return pa.record_batch(arrays, schema=self.table.schema)

    def _texts(self, raw: bytes) -> dict[str, list[str | None]]:
        """JSON as it stands in the lines; None where there is none, or null."""
        if not self._json:
            return {}
        members = [self._decode(text) for text in raw.splitlines()]
        return {name: [_text(getattr(one, name)) for one in members] for name in self._json}


def others(chain: int, folder: str, rejected: Iterable[Rejected]) -> pa.RecordBatch:
    """Rows of the table `other`.

    Raises:
        UnreadableLine: it is no line of the archive.
    """
    rows: dict[str, list[Any]] = {column.name: [] for column in OTHERS.columns}
    for text, why in rejected:
        line = archive_lines.decode(text)
        values = (
            chain, line.sequence, line.stored_at_ns // 1000, folder, line.subject, line.payload, why
        )  # fmt: skip
        for name, value in zip(rows, values, strict=True):
            rows[name].append(value)
    return pa.record_batch(
        [pa.array(rows[column.name], column.type) for column in OTHERS.columns],
        schema=OTHERS.schema,
    )


def read_all(
    reader: Reader, blocks: Iterable[Block], reject: Callable[[int, list[Rejected]], None]
) -> Iterator[pa.RecordBatch]:
    """Batches in the order of the blocks, which are read ahead by a few threads."""
    source = iter(blocks)
    with ThreadPoolExecutor(_THREADS) as pool:

        def begun(block: Block) -> tuple[int, Future[Read]]:
            return block.chain, pool.submit(reader.read, block)

        ahead = [begun(block) for block in islice(source, _THREADS + 1)]
        while ahead:
            chain, future = ahead.pop(0)
            found = future.result()
            ahead.extend(begun(block) for block in islice(source, 1))
            if found.rejected:
                reject(chain, found.rejected)
            yield from found.batches


_ABSENT: Final = msgspec.Raw(b"null")


def _options(fields: dict[str, pa.DataType]) -> Any:
    if not fields:
        return None
    return pyarrow.json.ParseOptions(
        explicit_schema=pa.schema(list(fields.items())), unexpected_field_behavior="ignore"
    )


def _parsed(raw: bytes, options: Any, count: int) -> pa.Table:
    # One block: an object must not lie in two.
    reading = pyarrow.json.ReadOptions(use_threads=False, block_size=len(raw) + 1)
    found = pyarrow.json.read_json(
        pa.BufferReader(raw), read_options=reading, parse_options=options
    )
    if found.num_rows != count:
        raise _DoesNotFit("a line is no object")
    return found.combine_chunks()


def _as_read(kind: pa.DataType) -> pa.DataType:
    """As what JSON has a value of a column's type: decimals and times are texts there."""
    if kind == LEVELS:
        return _PAIRS
    return TEXT if pa.types.is_decimal(kind) or kind == TIME else kind


def _cast(array: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """ArrowInvalid where a value would not be the same."""
    found = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if kind == LEVELS:
        return _levels(found)
    return found if found.type == kind else found.cast(kind)


def _cut(array: pa.ChunkedArray) -> pa.Array:
    """Nine digits to six; never later than it was."""
    nanoseconds = array.combine_chunks().cast(pa.timestamp("ns", "UTC"))
    return pc.floor_temporal(nanoseconds, unit="microsecond").cast(TIME)


def _levels(pairs: pa.Array) -> pa.Array:
    """Lists of pairs as lists of structs."""
    flat = pairs.flatten()
    if flat.null_count or pc.all(pc.equal(pc.list_value_length(flat), 2)).as_py() not in (
        True,
        None,
    ):
        raise _DoesNotFit("a level is no pair of price and count")
    price = pc.list_element(flat, 0).cast(PRICE)
    count = pc.list_element(flat, 1).cast(COUNT)
    if price.null_count or count.null_count:
        raise _DoesNotFit("a level has no price, or no count")
    structs = pa.StructArray.from_arrays([price, count], fields=list(LEVELS.value_type))
    # Of the lists that there are: their lengths; a null one has none.
    lengths = pc.fill_null(pc.list_value_length(pairs), 0)
    ends = pc.cumulative_sum(lengths.cast(pa.int32()))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends.cast(pa.int32())])
    return pa.ListArray.from_arrays(offsets, structs, type=LEVELS, mask=pairs.is_null())


def _rows(data: list[str | None]) -> bytes:
    """Rows as lines; an empty one where there is none."""
    return "".join(f"{row or '{}'}\n" for row in data).encode()


def _text(raw: msgspec.Raw) -> str | None:
    text = bytes(raw).decode()
    return None if text == "null" else text
