"""What commands print: data on stdout as a table, JSON, CSV or Parquet; all else on stderr."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TextIO

import msgspec
import typer

from ssmd_cli.table import Column, draw, value_of
from ssmd_common.errors import ConfigurationError

Row = Mapping[str, Any]

_PROSE: Final = ("title", "tags", "name", "error", "example")
_WRAPPED: Final = "what"
"""What changed is what a row is shown for: all of it."""
_FRACTION = re.compile(r"(?<=T\d\d:\d\d:\d\d)\.\d+(?=Z$)")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_SECONDS = re.compile(r":\d\dZ$")
_WIDE: Final = 80
_encoder = msgspec.json.Encoder(decimal_format="number")


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


def chosen(wanted: Format | None = None, *, as_json: bool = False, as_csv: bool = False) -> Format:
    """The format that the options ask for: --output, or --json and --csv for short."""
    given = (wanted, Format.JSON if as_json else None, Format.CSV if as_csv else None)
    asked = {style for style in given if style is not None}
    if len(asked) > 1:
        raise ConfigurationError("--output, --json and --csv exclude each other: give one")
    return asked.pop() if asked else Format.TABLE


def rows(
    found: Sequence[Row], columns: Sequence[str], style: Format, *, only: bool = False
) -> None:
    """Print rows: a table has `columns` only, the other formats all there is; with `only` CSV has
    the columns, too. A column `a.b` is b of what is under a.
    """
    if only and style is Format.CSV:
        found = [{name: value_of(row, name) for name in columns} for row in found]
    match style:
        case Format.JSON:
            document(list(found))
        case Format.JSONL:
            for row in found:
                sys.stdout.write(encode(row) + "\n")
        case Format.CSV:
            _csv(found, columns)
        case Format.PARQUET:
            raise ConfigurationError(
                "--output parquet: only lists of series, events and markets have it"
            )
        case Format.TABLE:
            _table(found, columns)


def document(value: Any) -> None:
    """Print JSON, indented on a terminal."""
    raw = _encoder.encode(value)
    if sys.stdout.isatty():
        raw = msgspec.json.format(raw, indent=2)
    sys.stdout.write(raw.decode() + "\n")


def encode(value: Any) -> str:
    """JSON in one line; numbers are exact."""
    return _encoder.encode(value).decode()


def fields(row: Row) -> None:
    """Print a row as name and value, one a line; what is nested or null is left out."""
    shown = {name: as_text(value) for name, value in row.items() if _is_scalar(value)}
    width = max(map(len, shown), default=0)
    for name, text in shown.items():
        sys.stdout.write(f"{name:<{width}}  {text}\n")


def note(text: str) -> None:
    """Say something that is no data."""
    typer.echo(text, err=True)


class _Stderr:
    """Whatever sys.stderr is when something is written: a progress bar puts itself in its place,
    so that lines come above it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


#: For logs, of which each line is written where stderr is then.
STDERR: Final[Any] = _Stderr()


def logs_to_stderr() -> None:
    """Let libraries' logs not mix with data."""
    import structlog

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(STDERR))


def terminal_width(file: TextIO | None = None) -> int | None:
    """How many cells a line has; None where it is no terminal, which takes every character."""
    file = file or sys.stdout
    if not file.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(file.fileno()).columns or 80
    except OSError:
        return 80


def columns_of(
    found: Sequence[Row], names: Sequence[str], width: int | None = None
) -> list[Column]:
    """Rows as a table's columns; in less than `_WIDE` cells times are said to the minute."""
    is_narrow = width is not None and width < _WIDE
    columns = []
    for name in names:
        values = [value_of(row, name) for row in found]
        is_number = any(isinstance(value, int | float | Decimal) for value in values)
        cells = [as_text(value) for value in values]
        if is_narrow:
            cells = [_SECONDS.sub("", cell).replace("T", " ") if _TIME.fullmatch(cell) else cell
                     for cell in cells]  # fmt: skip
        columns.append(
            Column(name, _title(name), cells, is_number, _is_prose(name), name == _WRAPPED)
        )
    return columns


def is_bold() -> bool:
    """Whether titles may be."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _table(found: Sequence[Row], names: Sequence[str]) -> None:
    width = terminal_width()
    drawn = draw(columns_of(found, names, width), width, bold=is_bold())
    for line in drawn.lines:
        sys.stdout.write(line + "\n")
    if drawn.left_out:
        sys.stdout.flush()
        note(f"too narrow for: {', '.join(drawn.left_out)}")


def _title(column: str) -> str:
    name = column.replace(".", " ")
    # yes_bid is in cents everywhere; what is in dollars says so.
    return f"{name.removesuffix('_dollars')} $" if name.endswith("_dollars") else name


def _is_prose(column: str) -> bool:
    return column.rpartition(".")[2] in _PROSE


def _csv(found: Sequence[Row], columns: Sequence[str]) -> None:
    import csv

    names = list(dict.fromkeys(name for row in found for name in row)) or list(columns)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([cell(row.get(name)) for name in names] for row in found)


def cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else encode(value)


def as_text(value: Any) -> str:
    """For a terminal: one line, without characters that could steer it."""
    match value:
        case None:
            return ""
        case str():
            text = _FRACTION.sub("", value)
        case list() if all(isinstance(part, str) for part in value):
            text = ", ".join(value)
        case _:
            text = encode(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " for c in text)


def _is_scalar(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping | list)
