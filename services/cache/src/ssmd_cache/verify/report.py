"""What a verification says: each difference, and each row that readers cannot be given."""

from typing import Any, Final

import msgspec

from ssmd_cache.verify.entries import EXPIRES, Entry
from ssmd_cache.writer.names import printable

_TOLERANCE_MS: Final = 1000


class Difference(msgspec.Struct, frozen=True):
    """One field of one key: a column of a value, `expires` in milliseconds, or a member."""

    key: str
    field: str
    expected: Any
    found: Any


class Unread(msgspec.Struct, frozen=True, order=True):
    """A row of PostgreSQL that Redis cannot show, and why; of a fee schedule the series' ticker.

    That it has no key is right and no difference.
    """

    table: str
    ticker: str
    reason: str


class Report(msgspec.Struct, frozen=True):
    """`rows` of PostgreSQL and `entries` of Redis were compared."""

    rows: int
    entries: int
    differences: list[Difference]
    unreadable: list[Unread] = []


def is_same(entry: Entry, expected: Any, found: Any) -> bool:
    """Equal, with a tolerance in when a key expires."""
    if entry.field == EXPIRES and isinstance(expected, int) and isinstance(found, int):
        return abs(expected - found) <= _TOLERANCE_MS
    return bool(expected == found)


def differences_of(entry: Entry, expected: Any, found: Any) -> list[Difference]:
    """A value's columns one by one."""
    key = printable(entry.key)
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            Difference(key, column, expected.get(column), found.get(column))
            for column in sorted(expected.keys() | found.keys())
            if expected.get(column) != found.get(column)
            or (column in expected) != (column in found)
        ]
    return [Difference(key, printable(entry.field), expected, found)]
