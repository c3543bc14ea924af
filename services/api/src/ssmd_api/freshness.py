"""How old what we say is: X-Ssmd-Age.

`observed_at` is when an observation last changed a row, so a quiet row is as fresh as the last
sync run that covered it. A run says which rows of its scope it did not read: it covers the others.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg

from ssmd_api.lists import AGED_MARKET, AGED_SERIES
from ssmd_api.rows import Row
from ssmd_api.store import Store
from ssmd_common.columns import Table
from ssmd_common.status import MarketStatus
from ssmd_common.times import moment

_REFRESH_SECONDS: Final = 2.0
_STATUSES_READ: Final = {
    "full": (MarketStatus.OPEN, MarketStatus.ACTIVE, MarketStatus.CLOSED),
    "active": (MarketStatus.ACTIVE,),
}


@dataclass(frozen=True, slots=True)
class Run:
    """A sync run that came to its end: what its scope selects is as fresh as its start, but for the
    tickers of markets, and of events with all their markets, in `unread`."""

    scope: dict[str, Any]
    started_at: datetime
    finished_at: datetime
    unread: frozenset[str] = frozenset()


def age_seconds(markets: Iterable[Row], runs: Iterable[Run], now: datetime) -> int | None:
    """The age of the least fresh of some markets, each with what `Freshness.needs` says; None if
    unknown."""
    return age_of(all_as_of(markets, runs), now)


def all_as_of(markets: Iterable[Row], runs: Iterable[Run]) -> datetime | None:
    """When the least fresh of them was last known to be as it is; None if unknown."""
    latest_first = _latest_first(runs)
    moments = [moment for market in markets if (moment := _as_of(market, latest_first)) is not None]
    return min(moments, default=None)


def age_of(moment: datetime | None, now: datetime) -> int | None:
    """Whole seconds since then; None where it is not known."""
    return None if moment is None else max(0, int((now - moment).total_seconds()))


def as_of(market: Row, runs: Iterable[Run]) -> datetime | None:
    """When a market was last known to be as it is; None if unknown."""
    return _as_of(market, _latest_first(runs))


def covers(run: Run, market: Row) -> bool:
    """Whether a run looked at a market, quotes included.

    A full run reads all that is not settled, an active one all that trades; the other modes read
    only what changed, or no markets. The selection is by the market's series.
    """
    scope = run.scope
    statuses = _STATUSES_READ.get(scope.get("mode", "full"), ())
    if "status" not in market:
        # It was read before there was a run that counts.
        return False
    return (
        market["status"] in statuses
        # No listing shows multivariate markets unless the run asked for them.
        and (not market.get("mve_collection_ticker") or _read_multivariate(scope))
        # Without its ticker it was read before a run said which it did not read.
        and (not run.unread or ("ticker" in market and _was_read(run, market)))
        # Without its series it was read before this run was known.
        and (not _selects(run) or ("series" in market and _selected(scope, market["series"])))
    )


def _read_multivariate(scope: dict[str, Any]) -> bool:
    return bool(scope.get("multivariate")) and scope.get("mode", "full") == "full"


def _latest_first(runs: Iterable[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: run.started_at, reverse=True)


def _as_of(market: Row, latest_first: Iterable[Run]) -> datetime | None:
    return max([*_observed(market), *_covered(market, latest_first)], default=None)


def _was_read(run: Run, market: Row) -> bool:
    return run.unread.isdisjoint((market["ticker"], market["event_ticker"]))


def _selects(run: Run) -> bool:
    """Whether it matters of which series a market is."""
    return any(run.scope.get(name) for name in ("categories", "tags", "games_only", "min_volume"))


def _selected(scope: dict[str, Any], series: Row) -> bool:
    other_sport = series["category"] == "Sports" and not series["is_game"]
    categories, tags = scope.get("categories"), scope.get("tags")
    return (
        (not categories or series["category"] in categories)
        and (not tags or not set(tags).isdisjoint(series["tags"] or ()))
        and not (scope.get("games_only") and other_sport)
        and (series["volume"] or 0) >= scope.get("min_volume", 0)
    )


def _observed(market: Row) -> list[datetime]:
    text = market["observed_at"]
    observed = moment(text) if text else None
    return [observed] if observed else []


def _covered(market: Row, latest_first: Iterable[Run]) -> list[datetime]:
    return next(([run.started_at] for run in latest_first if covers(run, market)), [])


class Freshness:
    """Knows the last runs that count; reads them again every two seconds at most."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._runs: list[Run] = []
        self._needs = _needed(self._runs)
        self._reading = asyncio.Lock()
        self.forget()

    def forget(self) -> None:
        """Read them again when next asked."""
        self._read_at = float("-inf")

    async def needs(self) -> tuple[Table, ...]:
        """What rows must have for their age: columns of markets, and of series where some run was
        not of all series. The same tuple until the runs are read again."""
        await self.known()
        return self._needs

    async def as_of(self, markets: Iterable[Row]) -> datetime | None:
        """Since when rows that were just read from PostgreSQL are known to be so."""
        return all_as_of(markets, await self.known())

    async def age_seconds(self, markets: Iterable[Row], now: datetime) -> int | None:
        """The age of such rows."""
        return age_of(await self.as_of(markets), now)

    async def known(self) -> list[Run]:
        """The runs that count; the same list until they are read again."""
        if time.monotonic() - self._read_at <= _REFRESH_SECONDS:
            return self._runs
        async with self._reading:
            if time.monotonic() - self._read_at > _REFRESH_SECONDS:
                try:
                    found = await self._store.covering_runs()
                except psycopg.OperationalError:
                    # What was known is still true, only older; the cache may serve without SQL.
                    self._read_at = time.monotonic()
                    return self._runs
                self._runs = [
                    Run(
                        scope,
                        datetime.fromisoformat(started),
                        datetime.fromisoformat(finished),
                        frozenset(unread),
                    )
                    for scope, started, finished, unread in found
                ]
                self._needs = _needed(self._runs)
                self._read_at = time.monotonic()
        return self._runs


def _needed(runs: list[Run]) -> tuple[Table, ...]:
    if not runs:
        return (AGED_MARKET.only("observed_at"),)
    market = AGED_MARKET
    if not any(run.unread for run in runs):
        market = market.without("ticker", "event_ticker")
    return (market, AGED_SERIES) if any(map(_selects, runs)) else (market,)
