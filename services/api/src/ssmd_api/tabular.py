"""Rows as lines: CSV and JSON lines."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ssmd_api import rows
from ssmd_api.rows import Row

CONTENT_TYPES: Final = {"csv": "text/csv", "jsonl": "application/x-ndjson"}


def header(form: str, example: Row) -> bytes:
    """What stands before the lines of rows that have the example's shape."""
    return _csv([flat(example)]) if form == "csv" else b""


def lines(form: str, page: Iterable[Row]) -> bytes:
    """A line for each row. In CSV null is an empty field, and arrays and jsonb are JSON."""
    if form == "csv":
        return _csv([_cell(value) for value in flat(row).values()] for row in page)
    return b"".join(rows.encode(row) + b"\n" for row in page)


def flat(row: Mapping[str, Any]) -> Row:
    """A row whose parents' columns are columns of its own, as `event.title`."""
    found: Row = {}
    for name, value in row.items():
        if name in ("event", "series") and isinstance(value, dict):
            found |= {f"{name}.{inner}": part for inner, part in value.items()}
        else:
            found[name] = value
    return found


def _csv(records: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(records)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else rows.encode(value).decode()
