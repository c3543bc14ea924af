"""Counts of the whole universe for /v1/stats: made anew when they are some seconds old, not before.

To count 90,000 markets takes a hundred times as long as to answer from what was counted.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Generic, TypeVar

from ssmd_api.rows import Row
from ssmd_api.store import Store
from ssmd_common.status import MarketStatus
from ssmd_common.times import spelled_moment

KEPT_SECONDS: Final = 5.0
_DAYS_KEPT_SECONDS: Final = 600.0
DAYS: Final = 30
_WITHIN: Final = ("1h", "24h", "7d")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OfMarkets:
    """So many markets of a series, by the category that they count under and by status; of those
    that trade or will, how many close within an hour, a day, a week."""

    series: str
    category: str | None
    status: str
    markets: int
    closing: Sequence[int]


@dataclass(frozen=True, slots=True)
class OfSeries:
    series: str
    category: str | None
    active: bool
    is_game: bool
    events: int
    volume: int | None
    """Contracts, as the exchange counts them; not of the past."""


@dataclass(frozen=True, slots=True)
class OfDays:
    """Markets of a series that were made in each of the last `DAYS` days, as 2026-02-03."""

    series: str
    days: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Counted(Generic[T]):
    counts: list[T]
    at: datetime
    documents: dict[Any, Row]
    """What was made of them, by what was asked for."""

    def document(self, asked: Any, make: Callable[[], Row]) -> Row:
        """What `make` makes of the counts, once, with the time at which they were made."""
        if asked not in self.documents:
            if len(self.documents) >= _MOST_DOCUMENTS:
                self.documents.clear()
            self.documents[asked] = {**make(), "counted_at": spelled_moment(self.at)}
        return self.documents[asked]


_MOST_DOCUMENTS: Final = 100


class _Kept(Generic[T]):
    """Counts that are made by one for all who ask meanwhile."""

    def __init__(
        self,
        count: Callable[[datetime], Awaitable[list[T]]],
        at: datetime | None,
        kept_seconds: Callable[[], float] = lambda: KEPT_SECONDS,
    ) -> None:
        self._count = count
        self._at = at
        self._kept_seconds = kept_seconds
        self._counting = asyncio.Lock()
        self._found: Counted[T] | None = None
        self._made_at = float("-inf")

    async def get(self, most_seconds: float = 0.0) -> Counted[T]:
        """What was counted within the seconds that it is kept, or within more where that does."""
        kept = max(self._kept_seconds(), most_seconds)
        async with self._counting:
            if self._found is None or time.monotonic() - self._made_at > kept:
                began, now = time.monotonic(), self._at or datetime.now(UTC)
                self._found = Counted(await self._count(now), now, {})
                self._made_at = began
            return self._found


class Counts:
    """The counts of all series and of all markets; where the store is as of a moment, `at` is
    that."""

    def __init__(self, store: Store, at: datetime | None = None) -> None:
        self._store = store
        self.markets = _Kept(partial(self._of_markets, by_series=True), at)
        self.categories = _Kept(partial(self._of_markets, by_series=False), at)
        """Of all series together: some dozens of rows instead of some ten thousand."""
        self.series = _Kept(self._of_series, at)
        self.days = _Kept(self._of_days, at, lambda: _DAYS_KEPT_SECONDS)

    async def _of_markets(self, now: datetime, *, by_series: bool) -> list[OfMarkets]:
        found = await self._store.stats_markets(now, by_series=by_series)
        return [
            OfMarkets(series, category, status, markets, closing)
            for series, category, status, markets, *closing in found
        ]

    async def _of_days(self, now: datetime) -> list[OfDays]:
        found = await self._store.created_daily(DAYS, now)
        return [OfDays(series, days) for series, days in found.items()]

    async def _of_series(self, _: datetime) -> list[OfSeries]:
        return [OfSeries(*row) for row in await self._store.stats_series()]


def markets(counts: Iterable[OfMarkets], limit: int) -> Row:
    """Markets by status, category and series (the `limit` largest), and those that close soon."""
    by_status: Counter[str] = Counter()
    by_category: dict[str | None, Counter[str]] = defaultdict(Counter)
    by_series: dict[str, Counter[str]] = defaultdict(Counter)
    closing = [0, 0, 0]
    for each in counts:
        by_status[each.status] += each.markets
        by_category[each.category][each.status] += each.markets
        by_series[each.series][each.status] += each.markets
        closing = [sum(pair) for pair in zip(closing, each.closing, strict=True)]
    return {
        "markets": by_status.total(),
        "by_status": _each(by_status),
        "by_category": [
            {"category": category, "markets": found.total(), "by_status": _each(found)}
            for category, found in _largest(by_category)
        ],
        "by_series": [
            {"series_ticker": ticker, "markets": found.total(), "by_status": _each(found)}
            for ticker, found in _largest(by_series)[:limit]
        ],
        "closing_within": dict(zip(_WITHIN, closing, strict=True)),
    }


def series(counts: Iterable[OfSeries], markets_of: Iterable[OfMarkets], limit: int) -> Row:
    """Series by category, and the `limit` that have most markets, each with its counts."""
    counts = list(counts)
    markets: Counter[str] = Counter()
    for each in markets_of:
        markets[each.series] += each.markets
    by_category: dict[str | None, list[OfSeries]] = defaultdict(list)
    for one in counts:
        by_category[one.category].append(one)
    largest = sorted(counts, key=lambda one: (-markets[one.series], one.series))
    return {
        **_summed(counts),
        "by_category": [
            {"category": category, **_summed(found)}
            for category, found in sorted(
                by_category.items(), key=lambda item: (-len(item[1]), item[0] or "")
            )
        ],
        "by_series": [
            {
                "series_ticker": one.series,
                "category": one.category,
                "active": one.active,
                "events": one.events,
                "markets": markets[one.series],
            }
            for one in largest[:limit]
        ],
    }


def _summed(counts: list[OfSeries]) -> Row:
    return {
        "series": len(counts),
        "active": sum(one.active for one in counts),
        "games": sum(one.is_game for one in counts),
    }


def _largest(counts: Mapping[Any, Counter[str]]) -> list[tuple[Any, Counter[str]]]:
    return sorted(counts.items(), key=lambda item: (-item[1].total(), item[0] or ""))


def _each(counts: Counter[str]) -> dict[str, int]:
    return {status: counts[status] for status in MarketStatus}
