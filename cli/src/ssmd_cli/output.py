"""What commands print: data on stdout as a table, JSON or CSV; everything else on stderr."""

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

import msgspec
import typer

from ssmd_common.errors import ConfigurationError

Row = Mapping[str, Any]

_WIDE: Final = 10_000
_GAP: Final = 2
_LEAST_PROSE: Final = 12
_PROSE: Final = ("title", "tags", "name", "error")
_FRACTION = re.compile(r"(?<=T\d\d:\d\d:\d\d)\.\d+(?=Z$)")
_encoder = msgspec.json.Encoder(decimal_format="number")


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def chosen(*, as_json: bool, as_csv: bool) -> Format:
    """The format that the flags ask for."""
    if as_json and as_csv:
        raise ConfigurationError("--json and --csv exclude each other: give one")
    return Format.JSON if as_json else Format.CSV if as_csv else Format.TABLE


def rows(found: Sequence[Row], columns: Sequence[str], style: Format) -> None:
    """Print rows: a table has `columns` only, JSON and CSV all there is.

    A column `a.b` is b of what is under a.
    """
    match style:
        case Format.JSON:
            document(list(found))
        case Format.CSV:
            _csv(found, columns)
        case Format.TABLE:
            _table(found, columns)


def document(value: Any) -> None:
    """Print JSON, indented on a terminal."""
    raw = _encoder.encode(value)
    if sys.stdout.isatty():
        raw = msgspec.json.format(raw, indent=2)
    sys.stdout.write(raw.decode() + "\n")


def fields(row: Row) -> None:
    """Print a row as name and value, one a line; what is nested or null is left out."""
    shown = {name: _text(value) for name, value in row.items() if _is_scalar(value)}
    width = max(map(len, shown), default=0)
    for name, text in shown.items():
        sys.stdout.write(f"{name:<{width}}  {text}\n")


def note(text: str) -> None:
    """Say something that is no data."""
    typer.echo(text, err=True)


def logs_to_stderr() -> None:
    """Let libraries' logs not mix with data."""
    import structlog

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


def value_of(row: Row, column: str) -> Any:
    """The value under `column`, None where a part of the way is missing."""
    found: Any = row
    for part in column.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _table(found: Sequence[Row], columns: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = {name: [_text(value_of(row, name)) for row in found] for name in columns}
    least = sum(
        max(map(len, [_title(name), *cells[name]])) + _GAP for name in columns if not _prose(name)
    )
    # A pipe gets every character of every cell. On a terminal only prose gives way, since tickers
    # are there to be copied; where none of it fits it is left out.
    width = max(Console(file=sys.stdout).width, least) if sys.stdout.isatty() else _WIDE
    shown = [name for name in columns if not _prose(name) or least + _LEAST_PROSE <= width]
    # rich keeps NO_COLOR.
    console = Console(file=sys.stdout, width=width)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for name in shown:
        number = any(isinstance(value_of(row, name), int | Decimal) for row in found)
        table.add_column(
            _title(name), justify="right" if number else "left", no_wrap=not _prose(name)
        )
    for line in zip(*(cells[name] for name in shown), strict=True):
        # Text, since a title may hold what rich takes for markup.
        table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in line))
    console.print(table)


def _title(column: str) -> str:
    name = column.rpartition(".")[2]
    # yes_bid is in cents everywhere; what is in dollars says so.
    return f"{name.removesuffix('_dollars')} $" if name.endswith("_dollars") else name


def _prose(column: str) -> bool:
    return column in _PROSE


def _csv(found: Sequence[Row], columns: Sequence[str]) -> None:
    names = list(dict.fromkeys(name for row in found for name in row)) or list(columns)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in found)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _encoder.encode(value).decode()


def _text(value: Any) -> str:
    """For a terminal: one line, without characters that could steer it."""
    match value:
        case None:
            return ""
        case str():
            text = _FRACTION.sub("", value)
        case list() if all(isinstance(part, str) for part in value):
            text = ", ".join(value)
        case _:
            text = _encoder.encode(value).decode()
    return "".join(c if c.isprintable() else " " for c in text)


def _is_scalar(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping | list)
