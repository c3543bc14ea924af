"""Cursors: opaque positions in a sorted list.

A cursor holds the sort order and the last row's sort key and ticker, so that a page begins after
that row whatever was inserted meanwhile.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import msgspec

Key = str | int | None


class MalformedCursor(ValueError):
    """The text is not a cursor of this list and order."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """`key` is the last row's value of the sort column, None where that is NULL."""

    sort: str
    key: Key
    ticker: str


def encode(cursor: Cursor) -> str:
    raw = msgspec.json.encode([cursor.sort, cursor.key, cursor.ticker])
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str, sort: str) -> Cursor:
    """Read a cursor.

    Raises:
        MalformedCursor: it is not one, or of a list with another order.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        parts: Any = msgspec.json.decode(raw, type=tuple[str, str | int | None, str])
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise MalformedCursor("is not a cursor that this API gave out") from error
    cursor = Cursor(*parts)
    if cursor.sort != sort:
        raise MalformedCursor(f"belongs to a list sorted by {cursor.sort[:32]!r}, not {sort!r}")
    if any(not part.isprintable() for part in (cursor.ticker, str(cursor.key))):
        raise MalformedCursor("is not a cursor that this API gave out")
    return cursor
