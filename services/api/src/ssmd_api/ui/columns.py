"""The columns that a table of markets can have, and how each is shown."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any, Final

from markupsafe import Markup

from ssmd_api.shapes import MARKETS
from ssmd_common import tables
from ssmd_common.columns import Column, Kind

_KINDS: Final = {Kind.TIME: "time", Kind.INTEGER: "number", Kind.NUMERIC: "number"}
_LEAVES: Final = frozenset(MARKETS.leaves)
_SORTED_BY: Final = {
    column.exact: column.name for column in tables.MARKETS.columns if column.exact and column.sorts
}
"""Exact values are sorted by the rounded ones, which have the index."""

_LABELS: Final = {
    "title": "market",
    "yes_sub_title": "outcome",
    "event.title": "event",
    "event.category": "category",
    "series.title": "series",
    "event_ticker": "event ticker",
    "series_ticker": "series ticker",
    "yes_bid_dollars": "bid",
    "yes_ask_dollars": "ask",
    "no_bid_dollars": "no bid",
    "no_ask_dollars": "no ask",
    "last_price_dollars": "last",
    "volume_fp": "volume",
    "volume_24h_fp": "vol 24 h",
    "open_interest_fp": "open int.",
    "settlement_value_dollars": "settled at",
    "open_time": "opens",
    "close_time": "closes",
    "expected_expiration_time": "expected end",
    "settled_time": "settled",
    "floor_strike": "floor",
    "cap_strike": "cap",
    "price_level_structure": "ticks",
    "exchange_status": "exchange says",
    "observed_at": "observed",
    "updated_at": "changed",
}
OFFERED: Final = ("ticker", "status", "result", *_LABELS)
DEFAULT: Final = (
    "title",
    "status",
    "close_time",
    "yes_bid_dollars",
    "yes_ask_dollars",
    "last_price_dollars",
    "volume_24h_fp",
    "open_interest_fp",
    "ticker",
)
NEEDED: Final = ("ticker", "title", "yes_sub_title", "status")
"""What each row is linked and named by."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A column of a table: `kind` says how its cells are written."""

    name: str
    label: str
    kind: str
    sort: str = ""
    """What the list is sorted by for it; empty where no index has that order."""

    @property
    def is_number(self) -> bool:
        return self.kind in ("price", "count", "number", "time")

    @property
    def of(self) -> Callable[[Mapping[str, Any]], Any]:
        """What gives its value of a row, which may be a parent's."""
        member, _, name = self.name.rpartition(".")
        return (lambda row: (row[member] or {}).get(name)) if member else itemgetter(name)


def shown(names: Sequence[str]) -> list[Shown]:
    """Columns by their names; of names that are none nothing is made."""
    return [_shown(name) for name in names if name in _LEAVES]


def choices(chosen: Container[str]) -> Markup:
    """A box to tick for each column that can be chosen."""
    return Markup("").join([_choice(name, chosen=name in chosen) for name in OFFERED])


@cache
def _choice(name: str, *, chosen: bool) -> Markup:
    # A list's page has them all each time: a template takes as long for them as for its rows.
    return Markup('<label><input type="checkbox" name="fields" value="{}"{}> {}</label>').format(
        name, Markup(" checked") if chosen else "", _shown(name).label
    )


@cache
def _shown(name: str) -> Shown:
    column = _column(name)
    sort = name if column.sorts else _SORTED_BY.get(name, "")
    label = _LABELS.get(name) or name.replace("_", " ").replace(".", " ")
    return Shown(name, label, kind_of(column, name), "" if "." in name else sort)


def kind_of(column: Column, name: str) -> str:
    """How a value of a column is written."""
    if name in ("title", "status"):
        return name
    if name.endswith("_dollars") or name in ("yes_bid", "yes_ask", "no_bid", "no_ask"):
        return "price" if name.endswith("_dollars") else "number"
    if name.endswith("_fp") or name.startswith(("volume", "open_interest")):
        return "count"
    if "ticker" in name:
        return "ticker"
    return _KINDS.get(column.kind, "json" if column.kind is Kind.JSON else "text")


def _column(name: str) -> Column:
    member, _, own = name.rpartition(".")
    table = MARKETS.members[member] if member else MARKETS.table
    assert table is not None
    return table[own]
