"""Counts of series and markets, by category and by series, for the page of series."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ssmd_api.counts import OfDays, OfMarkets, OfSeries
from ssmd_common.status import MarketStatus

_NONE: Final[dict[str, int]] = dict.fromkeys(map(str, MarketStatus), 0)


@dataclass(slots=True)
class Tally:
    """`closing` within an hour, a day, a week; `volume` as the exchange counts it, None where it
    says none; `made` markets in the last days."""

    name: str | None
    category: str | None = None
    active: bool = True
    series: int = 0
    events: int = 0
    volume: int | None = None
    made: int = 0
    markets: int = 0
    statuses: dict[str, int] = field(default_factory=lambda: dict(_NONE))
    closing: list[int] = field(default_factory=lambda: [0, 0, 0])

    def add(self, found: OfMarkets) -> None:
        self.markets += found.markets
        self.statuses[found.status] += found.markets
        # There are tens of thousands: a comprehension takes three times as long.
        closing, more = self.closing, found.closing
        closing[0] += more[0]
        closing[1] += more[1]
        closing[2] += more[2]


def by_category(series: Iterable[OfSeries], markets: Iterable[OfMarkets]) -> list[Tally]:
    """The largest first. A market counts under its event's category, a series under its own."""
    found: dict[str | None, Tally] = {}
    for one in series:
        tally = found.setdefault(one.category, Tally(one.category))
        tally.series += 1
        tally.events += one.events
        if one.volume is not None:
            tally.volume = (tally.volume or 0) + one.volume
    for each in markets:
        found.setdefault(each.category, Tally(each.category)).add(each)
    return sorted(found.values(), key=lambda tally: (-tally.markets, tally.name or ""))


def by_series(
    series: Iterable[OfSeries],
    markets: Iterable[OfMarkets],
    days: Iterable[OfDays],
    category: str | None = None,
) -> list[Tally]:
    """Each series, of one category or of all."""
    made = {each.series: sum(each.days.values()) for each in days}
    of: Mapping[str, list[OfMarkets]] = defaultdict(list)
    for each in markets:
        of[each.series].append(each)
    found = []
    for one in series:
        if category is not None and one.category != category:
            continue
        tally = Tally(
            one.series,
            one.category,
            one.active,
            1,
            one.events,
            one.volume,
            made.get(one.series, 0),
        )
        for each in of[one.series]:
            tally.add(each)
        found.append(tally)
    return found
