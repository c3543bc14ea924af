"""Single reads from the Redis that the cache service fills. Redis is never needed.

Whatever is missing, unreadable or late counts as a miss, and PostgreSQL answers. After an error
Redis is left alone for a moment, so that an outage costs a request its timeout only now and then.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar, cast

import redis.asyncio as aioredis
import redis.exceptions
import structlog

from ssmd_api import rows
from ssmd_api.metrics import CACHE_READS, REDIS_UP
from ssmd_api.rows import Row
from ssmd_api.store import MarketDetail
from ssmd_common.connections.retry import first_line
from ssmd_common.keys import Keys
from ssmd_common.metrics import ERRORS

log = structlog.get_logger(__name__)

_PAUSE_SECONDS: Final = 1.0
T = TypeVar("T")

_FAILURES: Final = (redis.exceptions.RedisError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class CachedMarket:
    """A market as the cache has it; `last_sync` is the end of the last run that it knows of."""

    detail: MarketDetail
    last_sync: datetime | None


class Cached:
    """Rows from Redis, or None."""

    def __init__(self, client: aioredis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._paused_until = 0.0
        self._up = True
        REDIS_UP.set(1)

    @property
    def up(self) -> bool:
        return self._up

    async def market(self, ticker: str) -> CachedMarket | None:
        """A market with its event and series; None unless all three are there."""
        found = await self._try(lambda: self._market(ticker))
        CACHE_READS.labels("hit" if found else "miss").inc()
        return found

    async def fee_schedule(self, series: str) -> list[Row] | None:
        """A series' fee schedule; None unless Redis has one."""
        found = await self._try(lambda: self._fee_schedule(series))
        CACHE_READS.labels("hit" if found else "miss").inc()
        return found

    async def lookup(self, tickers: Sequence[str]) -> dict[str, Row]:
        """The columns `rows.LOOKUP` of those markets that Redis has, by ticker."""
        found = await self._try(lambda: self._lookup(tickers)) or {}
        CACHE_READS.labels("hit" if len(found) == len(tickers) else "miss").inc()
        return found

    async def ping(self) -> None:
        """Find out, at once, whether Redis answers."""
        self._paused_until = 0.0
        await self._try(self._ping)

    async def _ping(self) -> None:
        await cast(Any, self._client.ping())

    async def _market(self, ticker: str) -> CachedMarket | None:
        key: bytes | None = await cast(Any, self._client.hget(self._keys.markets, ticker))
        if key is None:
            return None
        # The key of a market begins with its event's, and that with its series'.
        event_key, _, _ = key.rpartition(b":")
        series_key, _, _ = event_key.rpartition(b":")
        *values, synced = await self._client.mget(key, event_key, series_key, self._keys.last_sync)
        market, event, series = (_decoded(value) for value in values)
        try:
            detail = MarketDetail(
                rows.pick(market, rows.MARKETS),
                rows.pick(event, rows.EVENTS),
                rows.pick(series, rows.SERIES),
            )
        except KeyError:
            return None
        return CachedMarket(detail, _moment(synced))

    async def _fee_schedule(self, series: str) -> list[Row] | None:
        value = await self._client.get(self._keys.fee(series))
        steps = _json(value)
        try:
            return [rows.pick(step, rows.SERIES_FEES) for step in steps] or None
        except (KeyError, TypeError):
            return None

    async def _lookup(self, tickers: Sequence[str]) -> dict[str, Row]:
        keys = await cast(Any, self._client.hmget(self._keys.markets, list(tickers)))
        known = [key for key in keys if key is not None]
        values = await self._client.mget(known) if known else []
        found = {}
        for value in values:
            try:
                row = rows.pick(_decoded(value), rows.LOOKUP)
            except KeyError:
                continue
            found[row["ticker"]] = row
        return found

    async def _try(self, read: Callable[[], Awaitable[T]]) -> T | None:
        if time.monotonic() < self._paused_until:
            return None
        try:
            found = await read()
        except _FAILURES as error:
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            CACHE_READS.labels("error").inc()
            ERRORS.labels("redis").inc()
            if self._up:
                log.warning("redis does not answer, reading from sql", error=first_line(error))
            self._up = False
            REDIS_UP.set(0)
            return None
        if not self._up:
            log.info("redis answers again")
        self._up = True
        REDIS_UP.set(1)
        return found


def _decoded(value: Any) -> Mapping[str, Any]:
    """A value's row; empty where there is none."""
    found = _json(value)
    return found if isinstance(found, dict) else {}


def _json(value: Any) -> Any:
    """What a value holds; None if it holds no JSON."""
    try:
        return None if value is None else rows.decode(value)
    except rows.Unreadable:
        return None


def _moment(value: Any) -> datetime | None:
    try:
        return None if value is None else datetime.fromisoformat(bytes(value).decode())
    except ValueError:
        return None
