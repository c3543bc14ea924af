"""Cursors: opaque positions in a sorted list.

A cursor holds the sort order and the last row's sort key and ticker, so that a page begins after
that row whatever was inserted meanwhile.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import msgspec

from ssmd_common.columns import Kind
from ssmd_common.times import is_time

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


def decode(text: str, sort: str, kind: Kind) -> Cursor:
    """Read a cursor of a list sorted by a column of that kind: a text, an integer or a time.

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
    if not cursor.ticker.isprintable() or not _fits(cursor.key, kind):
        raise MalformedCursor("is not a cursor that this API gave out")
    return cursor


def _fits(key: Key, kind: Kind) -> bool:
    if key is None:
        return True
    if kind is Kind.INTEGER:
        return isinstance(key, int) and abs(key) < 2**63
    if not isinstance(key, str) or not key.isprintable():
        return False
    return kind is Kind.TEXT or is_time(key)
