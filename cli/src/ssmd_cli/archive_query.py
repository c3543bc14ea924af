"""What `ssmd archive query` prints: rows as other commands print them, as they are made."""

import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from ssmd_cli import output
from ssmd_cli.archive_compact import not_installed
from ssmd_cli.archive_place import parse_day
from ssmd_cli.archive_root import remote_of
from ssmd_cli.exporting import format_of
from ssmd_cli.output import Format, Row
from ssmd_common.errors import ConfigurationError
from ssmd_common.times import spelled_moment

if TYPE_CHECKING:
    from ssmd_archive.parquet.query import Answer

_MOST_IN_A_TABLE: Final = 10_000


def query(root: Path, sql: str, style: Format, file: Path | None, days: list[str]) -> None:
    """Print the rows, or write them to a file, which appears when it is whole; where no format is
    chosen, the file's name chooses it.

    With `days` tables have these only. Of an archive in a bucket the Parquet of the tables that the
    question names is brought first.

    Raises:
        ConfigurationError: the libraries are not installed, or Parquet would go to a terminal.
        QueryRefused: it is no statement that only reads, or DuckDB refuses it.
        QueryFailed: DuckDB cannot answer it.
        NotArchived: no day is compacted, or none of these.
        ArchiveDamaged, BucketRefused, BucketUnreachable: Parquet cannot be brought.
    """
    days = [parse_day(day) for day in days]
    try:
        from ssmd_archive.parquet import query as parquet
    except ImportError as error:
        raise not_installed(error) from error
    if file is not None and style is Format.TABLE:
        style = format_of(None, file)
    if style is Format.PARQUET and file is None and sys.stdout.isatty():
        raise ConfigurationError("Parquet is not for terminals: give --file, or use a pipe")
    only = None
    if (remote := remote_of(root)) is not None:
        remote.records()
        only = parquet.tables_of(root, sql, days)
        found = parquet.files(root, days)
        remote.parquet(
            {path for table in only for paths in found[table].values() for path in paths}
        )
    with parquet.opened(root, days, only) as database:
        answer = parquet.ask(database, sql)
        if file is None:
            _write(answer, style, sys.stdout)
            return
        part = file.with_name(f".{file.name}.part")
        try:
            with part.open("w", encoding="utf-8", newline="") as opened:
                _write(answer, style, opened)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)


def _write(answer: "Answer", style: Format, to: IO[str]) -> None:
    names = answer.schema.names
    match style:
        case Format.PARQUET:
            _parquet(answer, to)
        case Format.TABLE:
            _table(answer, names)
        case Format.JSONL:
            to.writelines(output.encode(row) + "\n" for row in _rows(answer))
        case Format.JSON:
            before = "["
            for row in _rows(answer):
                to.write(before + output.encode(row))
                before = ",\n"
            to.write("[]\n" if before == "[" else "]\n")
        case Format.CSV:
            import csv

            writer_of_rows = csv.writer(to, lineterminator="\n")
            writer_of_rows.writerow(names)
            for row in _rows(answer):
                writer_of_rows.writerow([output.cell(row[name]) for name in names])
    to.flush()


def _parquet(answer: "Answer", to: IO[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    binary = to.buffer  # type: ignore[attr-defined] # of a text file there is one
    try:
        writer = pq.ParquetWriter(binary, answer.schema, compression="zstd")
    except pa.ArrowNotImplementedError as error:
        raise ConfigurationError(f"--output parquet: {error}") from error
    with writer:
        for batch in answer.batches():
            writer.write_batch(batch)


def _table(answer: "Answer", names: list[str]) -> None:
    """Its width is that of all rows: so many at most."""
    rows = _rows(answer)
    shown = [row for row, _ in zip(rows, range(_MOST_IN_A_TABLE), strict=False)]
    output.rows(shown, names, Format.TABLE)
    if next(chain(rows), None) is not None:
        output.note(f"the first {_MOST_IN_A_TABLE:,} rows; --output jsonl or csv has all")


def _rows(answer: "Answer") -> Iterator[Row]:
    for batch in answer.batches():
        for row in batch.to_pylist():
            yield {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    """Times as everywhere else; numbers stay exact."""
    match value:
        case datetime() if value.tzinfo is not None:
            return spelled_moment(value)
        case date() | time() | timedelta() | UUID():
            # Their texts, which JSON alone puts between quotation marks.
            return msgspec.to_builtins(value)
        case (months, days, nanoseconds) if isinstance(value, tuple):
            # An interval, which is no span of time before somebody says how long a month is.
            return f"P{months}M{days}DT{Decimal(nanoseconds) / 10**9:f}S"
        case list():
            return [_plain(each) for each in value]
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case bytes():
            return value.decode(errors="backslashreplace")
        case _:
            return value
