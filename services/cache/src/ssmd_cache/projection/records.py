"""What Redis keeps of a row beside its value: the layout of the bookkeeping, in this place alone.

A record stands packed (a MessagePack array of its fields, in their order) under the row's ticker in
a hash in `secmaster:_cache:*`, as long as the row has a key, and for a while after (a tombstone: an
older message must not bring the row back). Texts are as Redis has them; an empty one stands for
"none" everywhere.

Lua knows the fields by the names that `lua_constants` gives them: `record[M_EVENT]` is the field
`event` of a MarketRecord. Another layout needs another `VERSION` in `writer/position.py`.

The rest of the bookkeeping: `expiries`, a sorted set of what the sweep must look at, by when;
`uncategorised:<series>`, the set of its events without a category of their own.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import ClassVar, Final

import msgspec

from ssmd_stream.change import Position


class _Record(msgspec.Struct, array_like=True, gc=False):
    position: str = ""
    """Of the change that was the last to write it, as `sortable` has it; "~" and more follow it for
    a row that was read in place of the next message."""
    generation: str = ""
    """Of the warm-up that the row was there in."""
    key: str = ""
    """Of its value; empty for a row that has none, whose category may still count."""


class MarketRecord(_Record, gc=False):
    event: str = ""
    series: str = ""
    listed: str = "0"
    """ "1" for a market in its category's set and, with a close time, among the expiring."""
    category: str = ""
    """The one whose set it is in: its event's, else its series'."""
    closes: str = ""
    """close_time in seconds since 1970, as a sorted set's score is written."""
    expires: str = ""
    """When the key ends, in epoch milliseconds."""


class EventRecord(_Record, gc=False):
    series: str = ""
    category: str = ""
    expires: str = ""


class SeriesRecord(_Record, gc=False):
    category: str = ""
    expires: ClassVar[str] = ""


class FeeStep(msgspec.Struct, array_like=True, gc=False):
    """The record of a schedule is the list of its steps, in the order of `start`."""

    start: int
    """effective_from in microseconds since 1970."""
    position: str = ""
    generation: str = ""
    json: str = ""
    """The step as readers get it; empty for a tombstone."""


RowRecord = MarketRecord | EventRecord | SeriesRecord
Record = RowRecord | FeeStep

KINDS: Final = {"series": "s", "events": "e", "markets": "m", "series_fees": "f"}
"""How the script calls the tables."""
TABLES_BY_KIND: Final = {kind: table for table, kind in KINDS.items()}

_CONSTANTS: Final = {
    "R": _Record, "M": MarketRecord, "E": EventRecord, "S": SeriesRecord, "F": FeeStep,
}  # fmt: skip


def lua_constants() -> str:
    """The places of fields: `local R_POSITION = 1` …; R_ for those that all but fees have."""
    return "\n".join(_constants())


def _constants() -> Iterator[str]:
    shared = _Record.__struct_fields__
    for prefix, record in _CONSTANTS.items():
        for at, field in enumerate(record.__struct_fields__, 1):
            if prefix in "RF" or field not in shared:
                yield f"local {prefix}_{field.upper()} = {at}"


@lru_cache(maxsize=4)
def sortable(position: Position) -> str:
    """Fixed-width text whose order is the order of positions."""
    return f"{sortable_epoch(position.epoch)}{position.lsn:016x}{position.seq:08x}"


def sortable_epoch(epoch: int) -> str:
    """The part of `sortable` that tells the epoch."""
    return f"{epoch:08x}"


def position_of(text: str) -> Position:
    """The position that `sortable` was given."""
    return Position(
        int(text[:8] or "0", 16), int(text[8:24] or "0", 16), int(text[24:32] or "0", 16)
    )
