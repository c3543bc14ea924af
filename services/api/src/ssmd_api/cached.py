"""Single reads from the Redis that the cache service fills. Redis is never needed.

Whatever is missing, unreadable or late counts as a miss, and PostgreSQL answers. A read that fails
costs itself only: whether Redis is away a probe finds out, which is more patient than a request;
while it is away no request waits for it. Reads take turns, and a read's time begins with its own.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar, cast

import redis.exceptions
import structlog

from ssmd_api import freshness, rows, schemas
from ssmd_api.document import Body
from ssmd_api.freshness import Run
from ssmd_api.marketreads import MarketReads
from ssmd_api.metrics import CACHE_READS, REDIS_UP
from ssmd_api.rows import Row
from ssmd_api.shapes import Shape
from ssmd_api.turns import NoTurn, Turns
from ssmd_common import tables, tasks, times
from ssmd_common.columns import Table
from ssmd_common.connections import redis as connections
from ssmd_common.connections import redis_rights
from ssmd_common.connections.retry import first_line
from ssmd_common.deadlines import answered_within
from ssmd_common.errors import MalformedTime
from ssmd_common.keys import Keys
from ssmd_common.metrics import ERRORS
from ssmd_common.rights import RIGHTS
from ssmd_common.settings import RedisSettings

log = structlog.get_logger(__name__)

READ_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 2.0
_MOST_KNOWN: Final = 500
_MOST_BODIES: Final = 8
_AT_ONCE: Final = 32
"""Connections that are read with: many more would all be slower."""
# So long that a process which gets little of a processor does not take its own delay for Redis'.
PROBE_SECONDS: Final = 3.0
T = TypeVar("T")

_FAILURES: Final = (redis.exceptions.RedisError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class _Read:
    """A market with its event and series, read and checked once as long as they are the same."""

    row: Row
    bodies: dict[Shape, Body] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CachedMarket:
    """A market as the cache has it; `last_sync` is the end of the last run that it knows of."""

    read: _Read
    last_sync: datetime | None

    def as_of(self, runs: Sequence[Run]) -> datetime | None:
        """When it was last known to be so; of the runs, those count that the cache knows of."""
        ended = self.last_sync
        return freshness.as_of(
            self.row, [run for run in runs if ended and run.finished_at <= ended]
        )

    @property
    def row(self) -> Row:
        """One of `shapes.ONE_MARKET`."""
        return self.read.row

    def body(self, shape: Shape) -> Body:
        """What the shape has of it."""
        body = self.read.bodies.get(shape)
        if body is None:
            body = Body(rows.encode(shape.pick(self.row)))
            if len(self.read.bodies) < _MOST_BODIES:
                self.read.bodies[shape] = body
        return body


class Cached:
    """Rows from Redis, or None."""

    def __init__(self, settings: RedisSettings, keys: Keys) -> None:
        self._client = connections.client(settings, "ssmd-api", timeout_seconds=PROBE_SECONDS)
        self._probe = connections.client(settings, "ssmd-api-probe", timeout_seconds=PROBE_SECONDS)
        self._master = connections.MasterWatch(self._probe)
        self._keys = keys
        self._turns = Turns(_AT_ONCE)
        self._reads = MarketReads(self._client, keys, self._turn)
        self._probing: asyncio.Task[None] | None = None
        self._up = True
        # Whether the user may do all that is needed is asked at first, and after each refusal.
        self._in_doubt = True
        self.refusal: str | None = None
        """Which right the user lacks, in words; None where it lacks none."""
        REDIS_UP.set(1)

    async def close(self) -> None:
        if self._probing is not None:
            await tasks.end(self._probing)
        await self._reads.close()
        await self._client.aclose()
        await self._probe.aclose()

    @property
    def up(self) -> bool:
        """Whether Redis answered when it was last probed."""
        return self._up

    async def market(self, ticker: str) -> CachedMarket | None:
        """A market with its event and series; None unless all three are there."""
        # Those that are read together take one turn.
        found = await self._try(lambda: self._market(ticker), nullcontext)
        CACHE_READS.labels("hit" if found else "miss").inc()
        return found

    async def fee_schedule(self, series: str) -> list[Row] | None:
        """A series' fee schedule; None unless Redis has one."""
        found = await self._try(lambda: self._fee_schedule(series))
        CACHE_READS.labels("hit" if found else "miss").inc()
        return found

    async def lookup(self, tickers: Sequence[str], table: Table) -> dict[str, Row]:
        """The table's columns of those markets that Redis has, by ticker."""
        found = await self._try(lambda: self._lookup(tickers, table)) or {}
        CACHE_READS.labels("hit" if len(found) == len(tickers) else "miss").inc()
        return found

    async def ping(self) -> None:
        """Find out whether Redis answers."""
        await asyncio.shield(self._probed())

    async def follow_master(self) -> None:
        """Leave a server that others take for the master no more, though it answers us still: what
        it holds grows old."""
        # Whether Redis answers at all, the probe tells.
        with contextlib.suppress(*_FAILURES):
            if await self._master.follow():
                log.warning("redis moved or was restarted: the new master is read from here on")
                await connections.leave(self._client)

    def _probed(self) -> asyncio.Task[None]:
        """The probe that runs, or a new one."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._find_out(), name="redis probe")
        return self._probing

    async def _find_out(self) -> None:
        why: str | None = None
        try:
            await cast(Any, self._probe.ping())
            if self._in_doubt:
                await self._look_at_rights()
        except _FAILURES as failure:
            why = first_line(failure)
            if redis_rights.is_denial(failure):
                why = redis_rights.denial(failure)
                self._refused(why)
        if why is not None and self._up:
            log.warning("redis does not answer, reading from sql", error=why)
        elif why is None and not self._up:
            log.info("redis answers again")
        self._up = why is None
        REDIS_UP.set(self._up)

    async def _look_at_rights(self) -> None:
        rights, prefix = RIGHTS["api"].redis, self._keys.prefix
        assert rights is not None
        if (lack := await redis_rights.missing(self._probe, rights, prefix)) is not None:
            self._refused(lack)
        else:
            self._in_doubt, self.refusal = False, None

    def _refused(self, reason: str) -> None:
        if self.refusal != reason:
            log.error("a right at redis is missing", error=reason)
        self._in_doubt, self.refusal = True, reason

    async def _market(self, ticker: str) -> CachedMarket | None:
        values, synced = await self._reads.get(ticker)
        read = None if values is None else _read(ticker, *values)
        return None if read is None else CachedMarket(read, _moment(synced))

    async def _fee_schedule(self, series: str) -> list[Row] | None:
        steps = _json(await self._client.get(self._keys.fee(series)))
        if not isinstance(steps, list):
            return None
        found = [step for step in steps if _fits(step, tables.SERIES_FEES)]
        if len(found) < len(steps):
            return None
        return [rows.pick(step, tables.SERIES_FEES) for step in found] or None

    async def _lookup(self, tickers: Sequence[str], table: Table) -> dict[str, Row]:
        keys = await cast(Any, self._client.hmget(self._keys.markets, list(tickers)))
        known = [key for key in keys if key is not None]
        values = await self._client.mget(known) if known else []
        checked = tables.MARKETS.only(*dict.fromkeys(("ticker", *rows.LOOKUP.names, *table.names)))
        read = (_row(value, checked) for value in values)
        return {row["ticker"]: rows.pick(row, table) for row in read if row is not None}

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """A turn to read, and the time for it."""
        async with self._turns.turn(_PATIENCE_SECONDS), answered_within(READ_SECONDS):
            yield

    async def _try(
        self,
        read: Callable[[], Awaitable[T]],
        turn: Callable[[], AbstractAsyncContextManager[None]] | None = None,
    ) -> T | None:
        if not self._up:
            return None
        try:
            async with (turn or self._turn)():
                # While it waited for its turn, those before it may have found that nobody answers.
                return await read() if self.up else None
        except NoTurn:
            CACHE_READS.labels("error").inc()
        except redis.exceptions.ResponseError as error:
            if redis_rights.is_denial(error):
                # Which rights, the next probe finds out.
                CACHE_READS.labels("error").inc()
                self._in_doubt = True
            else:
                # It answers: what is under a key is not what should be there.
                CACHE_READS.labels("unreadable").inc()
        except _FAILURES:
            CACHE_READS.labels("error").inc()
            ERRORS.labels("redis").inc()
            self._probed()
        return None


def _read(ticker: str, *values: bytes | None) -> _Read | None:
    """A market from its value and those of its event and series; None unless all three are there
    and belong together."""
    if not all(isinstance(value, bytes) for value in values):
        return None
    # What cannot be read is counted each time.
    key = (ticker, *values)
    read = _known.get(key)
    if read is None and (row := _joined(ticker, *values)) is not None:
        read = _known[key] = _Read(row)
        if len(_known) > _MOST_KNOWN:
            _known.popitem(last=False)
    return read


_known: OrderedDict[tuple[Any, ...], _Read] = OrderedDict()


def _joined(ticker: str, *values: bytes | None) -> Row | None:
    parents = (tables.MARKETS, tables.EVENTS, tables.SERIES)
    market, event, series = (
        _row(value, table) for value, table in zip(values, parents, strict=True)
    )
    if market is None or event is None or series is None:
        return None
    if (market["ticker"], market["event_ticker"], market["series_ticker"]) != (
        ticker,
        event["event_ticker"],
        series["ticker"],
    ):
        return None
    return rows.completed({**market, "event": event, "series": series})


def _row(value: Any, table: Table) -> Row | None:
    """These columns of a value's row; None where there is none, or none that can be read."""
    row = _json(value)
    if row is None:
        return None
    if not _fits(row, table):
        CACHE_READS.labels("unreadable").inc()
        return None
    return rows.pick(row, table)


def _fits(row: Any, table: Table) -> bool:
    """Whether what Redis holds has these columns, each as PostgreSQL would give it."""
    return isinstance(row, Mapping) and all(
        column.name in row and schemas.fits(column, row[column.name]) for column in table.columns
    )


def _json(value: Any) -> Any:
    """What a value holds; None if it holds no JSON."""
    if value is None:
        return None
    try:
        return rows.decode(value)
    except rows.Unreadable:
        CACHE_READS.labels("unreadable").inc()
        return None


def _moment(value: Any) -> datetime | None:
    with contextlib.suppress(MalformedTime, UnicodeDecodeError):
        return None if value is None else times.moment(bytes(value).decode())
    return None
