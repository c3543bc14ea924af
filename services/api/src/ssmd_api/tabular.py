"""Rows as lines: CSV and JSON lines."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, Final

from ssmd_api import rows
from ssmd_api.shapes import Shape

CONTENT_TYPES: Final = {"csv": "text/csv", "jsonl": "application/x-ndjson"}


def header(form: str, shape: Shape) -> bytes:
    """What stands before the lines of rows of the shape: parents' columns are `event.title`."""
    return _csv([shape.leaves]) if form == "csv" else b""


def lines(form: str, page: Iterable[bytes]) -> bytes:
    """A line for each row, given as JSON. In CSV null is an empty field, and arrays and jsonb are
    JSON."""
    if form == "csv":
        return _csv([_cell(value) for value in _flat(row)] for row in page)
    return b"".join([row + b"\n" for row in page])


def _flat(row: bytes) -> Iterator[Any]:
    for name, value in rows.decode(row, rows.ROW_DEPTH).items():
        if name in ("event", "series") and isinstance(value, dict):
            yield from value.values()
        else:
            yield value


def _csv(records: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(records)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else rows.encode(value).decode()
