"""Cursors: opaque positions in a sorted list.

A cursor holds the sort order and the last row's sort keys and ticker, so that a page begins after
that row whatever was inserted meanwhile; and a digest of the list's filters, since it is a position
in that list alone.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ssmd_api import forms
from ssmd_common.columns import Kind
from ssmd_common.times import is_time

Key = str | int | None
Keys = tuple[Key, ...]


class MalformedCursor(ValueError):
    """The text is not a cursor of this list and order."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """`key` is the last row's value of the sort column, None where that is NULL; of each, where
    there are several."""

    sort: str
    key: Key | Keys
    ticker: str
    filters: str = ""

    @property
    def keys(self) -> Keys:
        """One for each sort column."""
        return self.key if isinstance(self.key, tuple) else (self.key,)


def digest(filters: Iterable[tuple[str, str]]) -> str:
    """What stands for filters in a cursor, whatever their order; empty where there are none."""
    pairs = sorted(filters)
    return hashlib.sha256(msgspec.json.encode(pairs)).hexdigest()[:16] if pairs else ""


def encode(cursor: Cursor) -> str:
    raw = msgspec.json.encode([cursor.sort, cursor.key, cursor.ticker, cursor.filters])
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str, sort: str, kind: Kind | Sequence[Kind], filters: str = "") -> Cursor:
    """Read a cursor of a list sorted by a column of that kind, a text, an integer or a time; or by
    several of these kinds.

    Raises:
        MalformedCursor: it is not one, or of a list with another order or other filters.
    """
    try:
        if not forms.CURSOR.fullmatch(text):
            raise ValueError
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        parts: Any = msgspec.json.decode(raw, type=tuple[str, Key | Keys, str, str])
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise MalformedCursor("is not a cursor that this API gave out") from error
    cursor = Cursor(*parts)
    if cursor.sort != sort:
        raise MalformedCursor(f"belongs to a list sorted by {cursor.sort[:32]!r}, not {sort!r}")
    if cursor.filters != filters:
        raise MalformedCursor("belongs to a list with other filters")
    # What PostgreSQL cannot hold is in no cursor of ours; all else a ticker may have.
    kinds = [kind] if isinstance(kind, Kind) else kind
    is_good = len(cursor.keys) == len(kinds) and all(map(_fits, cursor.keys, kinds))
    if "\0" in cursor.ticker or not is_good:
        raise MalformedCursor("is not a cursor that this API gave out")
    return cursor


def _fits(key: Key, kind: Kind) -> bool:
    if key is None:
        return True
    if kind is Kind.INTEGER:
        return isinstance(key, int) and abs(key) < 2**63
    if not isinstance(key, str) or "\0" in key:
        return False
    return kind is Kind.TEXT or is_time(key)
