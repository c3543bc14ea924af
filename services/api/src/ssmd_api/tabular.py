"""Rows in the forms that programs and spreadsheets read: JSON, lines of JSON, CSV (RFC 4180)."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from ssmd_api import rows
from ssmd_api.formats import Chosen, Form
from ssmd_api.shapes import MANY, Shape

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
_EMPTY: Final = "\0"
"""Stands for an empty text until the line is written: no text of PostgreSQL has one."""


class Written:
    """Rows of a shape in one form, as they come: `begin`, any number of `lines`, `end`."""

    def __init__(self, chosen: Chosen, name: str, shape: Shape) -> None:
        """`name` is what the envelope calls the rows."""
        self._form = chosen.form
        self._neutral = chosen.neutral
        self._name = name
        self._shape = shape
        self._follows = False

    def begin(self) -> bytes:
        match self._form:
            case Form.JSON:
                return b'{"%b":[' % self._name.encode()
            case Form.ARRAY:
                return b"["
            case Form.CSV:
                # Parents' columns are `event.title`.
                return _csv([self._shape.cells])
        return b""

    def lines(self, page: Iterable[bytes]) -> bytes:
        """Of rows that are given as JSON."""
        match self._form:
            case Form.JSONL:
                return b"".join([row + b"\n" for row in page])
            case Form.CSV:
                return _csv([self._cell(value) for value in self._flat(row)] for row in page)
        written = b",".join(page)
        if written and self._follows:
            return b"," + written
        self._follows |= bool(written)
        return written

    def end(self) -> bytes:
        """What makes the whole list of it: there is no next page."""
        return {Form.JSON: b'],"cursor":null}', Form.ARRAY: b"]"}.get(self._form, b"")

    def _flat(self, row: bytes) -> Iterator[Any]:
        found = rows.decode(row, rows.ROW_DEPTH)
        for name in self._shape.table.names:
            yield found[name]
        for member, table in self._shape.members.items():
            value = found[member]
            if table is None or member in MANY:
                yield value
            else:
                yield from [None if value is None else value[name] for name in table.names]

    def _cell(self, value: Any) -> str:
        """Null is an empty field and an empty text a quoted one; arrays and jsonb are JSON."""
        if value is None:
            return ""
        text = value if isinstance(value, str) else rows.encode(value).decode()
        return (neutral(text) if self._neutral else text) or _EMPTY


def neutral(text: str) -> str:
    """A text that a spreadsheet would run has an apostrophe before it, which shows it as it is."""
    if text.lstrip(" ").startswith(_FORMULA) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def _csv(records: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(records)
    return text.getvalue().replace(_EMPTY, '""').encode()
