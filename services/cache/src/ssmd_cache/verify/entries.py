"""Redis as single entries, so that what should be and what is can be compared one by one. Pure.

An entry is (key, field): of a string the value (field "value") or when it expires ("expires", in
milliseconds); of a hash, set or sorted set one member.
"""

from typing import Any, Final, NamedTuple

import msgspec

from ssmd_cache.projection.facts import DEEPEST
from ssmd_common.depth import is_deep
from ssmd_common.keys import Keys

VALUE: Final = "value"
EXPIRES: Final = "expires"
_STAMPS: Final = ("epoch", "lsn", "seq")


class Entry(NamedTuple):
    key: str
    field: str


class About(NamedTuple):
    """The row that an entry comes from; `ticker` of series_fees is the series'."""

    table: str
    ticker: str


Found = dict[Entry, Any]
"""What entries hold: None where there is nothing."""


def kind_of(key: str, keys: Keys) -> str:
    """What type a key of ours has."""
    if key in (keys.markets, keys.events):
        return "hash"
    if key == keys.expiring:
        return "zset"
    if key.startswith((keys.event_markets(""), keys.markets_by_category(""))):
        return "set"
    return "string"


def row_of(text: bytes) -> Any:
    """A value without the stream's stamps; text that is no JSON as it is."""
    if is_deep(text, DEEPEST):
        return f"(nested more than {DEEPEST} deep)"
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text.decode(errors="replace")
    if isinstance(value, dict):
        return _without_stamps(value)
    if isinstance(value, list):
        return [_without_stamps(step) if isinstance(step, dict) else step for step in value]
    return value


def _without_stamps(row: dict[str, Any]) -> dict[str, Any]:
    return {column: value for column, value in row.items() if column not in _STAMPS}
