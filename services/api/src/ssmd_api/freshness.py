"""How old what we say is: X-Ssmd-Age.

`observed_at` is when an observation last changed a row, so a quiet row is as fresh as the last
successful sync run that covered it.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg

from ssmd_api.rows import Row
from ssmd_api.store import Store

_REFRESH_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Run:
    """A successful sync run: all that its scope names is as fresh as its start."""

    scope: dict[str, Any]
    started_at: datetime


def age_seconds(markets: Iterable[Row], runs: Iterable[Run], now: datetime) -> int | None:
    """The age of the least fresh of some markets (with `event` and `series`); None if unknown."""
    runs = tuple(runs)
    ages = [
        (now - max(moments)).total_seconds()
        for market in markets
        if (moments := [*_observed(market), *(r.started_at for r in runs if covers(r, market))])
    ]
    return max(0, int(max(ages))) if ages else None


def covers(run: Run, market: Row) -> bool:
    """Whether a run looked at a market. A restriction that is not known covers nothing."""
    return not any(run.scope.values()) and bool(market)


def _observed(market: Row) -> list[datetime]:
    text = market["observed_at"]
    return [datetime.fromisoformat(text)] if text else []


class Freshness:
    """Knows the last successful runs; reads them again every two seconds at most."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._runs: list[Run] = []
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def age_seconds(self, markets: Iterable[Row], now: datetime) -> int | None:
        return age_seconds(markets, await self._known(), now)

    async def _known(self) -> list[Run]:
        async with self._reading:
            if time.monotonic() - self._read_at > _REFRESH_SECONDS:
                try:
                    found = await self._store.covering_runs()
                except psycopg.OperationalError:
                    # What was known is still true, only older; the cache may serve without SQL.
                    return self._runs
                self._runs = [Run(scope, datetime.fromisoformat(at)) for _, scope, at in found]
                self._read_at = time.monotonic()
        return self._runs
