"""Lists that no index serves are refused, with the nearest that one does.

What is asked for by `ticker`, `event` or `series` is few rows, and can be had in every order.
"""

from collections.abc import Mapping
from typing import Final

from ssmd_api.filters import EventFilter, MarketFilter
from ssmd_api.kinds import Multivariate
from ssmd_api.paging import SortKey, sort_keys
from ssmd_api.problems import Fault
from ssmd_api.ranges import LOWER, Operator, Range

_TRADED: Final = ("volume", "volume_24h", "open_interest")
"""Columns of markets that go together: what is traded much has much of each. Most have 0."""
_NOT_OF_COMBINATIONS: Final = (*_TRADED, "strike_date")
"""Columns that are null in multivariate rows."""


def refusal(wanted: EventFilter | MarketFilter, sort: str, key: str) -> Fault | None:
    """Why these rows are not to be had in this order; `key` is the column that tells them apart."""
    keys, last = sort_keys(sort, key)
    if fault := _of_what_combinations_lack(wanted, keys):
        return fault
    if not keys or _is_narrow(wanted):
        return None
    return _opposed(wanted, keys[0], key) or _unbounded(wanted, keys, last)


def _is_narrow(wanted: EventFilter | MarketFilter) -> bool:
    of_markets = wanted.ticker if isinstance(wanted, MarketFilter) else ()
    # A series of multivariate markets may have most of all markets.
    of_series = wanted.series if wanted.multivariate is Multivariate.EXCLUDE else ()
    return bool(of_markets or wanted.event or of_series)


def _of_what_combinations_lack(
    wanted: EventFilter | MarketFilter, keys: list[SortKey]
) -> Fault | None:
    """Multivariate markets have no quotes, and their events no date: they are in no such order."""
    if wanted.multivariate is Multivariate.EXCLUDE or _is_narrow(wanted):
        return None
    said = "goes by {}, which multivariate ones do not have: ask with multivariate=exclude"
    for key in keys:
        if key.name in _NOT_OF_COMBINATIONS:
            return Fault("sort", said.format(key.name))
    for name, asked in _asked(wanted).items():
        if asked.column in _NOT_OF_COMBINATIONS:
            return Fault(name, said.format(asked.column))
    return None


def _asked(wanted: EventFilter | MarketFilter) -> Mapping[str, Range]:
    """The ranges that are asked for, by the names of their parameters."""
    found = {each.name: each for each in wanted.ranges}
    if isinstance(wanted, MarketFilter):
        older = (
            ("min_volume", "volume", Operator.GTE, wanted.min_volume),
            ("closing_after", "close_time", Operator.GTE, wanted.closing_after),
            ("closing_before", "close_time", Operator.LT, wanted.closing_before),
        )
        found |= {
            name: Range(column, operator, value)
            for name, column, operator, value in older
            if value is not None
        }
    return found


def _opposed(wanted: EventFilter | MarketFilter, first: SortKey, key: str) -> Fault | None:
    """What is traded much stands at the end of orders that begin with what is traded little. And
    what is null may stand anywhere in an order by something else, and be nowhere in it."""
    for name, asked in _asked(wanted).items():
        if asked.column == first.name:
            continue
        if asked.operator is Operator.NULL:
            if not asked.value:
                continue
            return Fault("sort", f"by {first.name} has no index with {name}=true: {key} has")
        if first.name not in _TRADED or asked.column not in _TRADED:
            continue
        if asked.operator not in LOWER:
            return Fault("sort", f"by {first.name} has no index with {name}: {asked.column} has")
        if not first.descends:
            return Fault("sort", f"has no index with {name}: -{first.name} has")
    return None


def _unbounded(
    wanted: EventFilter | MarketFilter, keys: list[SortKey], last: SortKey
) -> Fault | None:
    """Of equals by the first key all have to be sorted by the others: those without it, and those
    that were never traded, are most of the table."""
    if len(keys) == 1 and keys[0].descends == last.descends:
        # That is an index's own order.
        return None
    name = keys[0].name
    for asked in _asked(wanted).values():
        if asked.column != name:
            continue
        if name not in _TRADED and not (asked.operator is Operator.NULL and asked.value):
            return None
        lowest = {Operator.GT: 0, Operator.GTE: 1}.get(asked.operator)
        if name in _TRADED and lowest is not None and asked.value >= lowest:  # type: ignore[operator]
            return None
    beside = f"{name}.gte=1" if name in _TRADED else f"{name}.null=false"
    return Fault(
        "sort", f"by several columns needs few equals: give {beside}, or event or series, beside it"
    )
