"""Intervals in which messages may have been missed, and their repair over REST.

A gap is recorded when it is noticed, and the service is not ready until everything that changed
since its beginning has been read. It stays open until what was found has its rows, too.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ssmd_common.runtime import Runtime
from ssmd_kalshi.errors import InterruptedWaitError, TransientError
from ssmd_kalshi.rest import KalshiRest
from ssmd_lifecycle import metrics
from ssmd_lifecycle.bookkeeper import Bookkeeper, Findings
from ssmd_lifecycle.mirror import Mirror
from ssmd_lifecycle.rows import Pool, queries, writing
from ssmd_lifecycle.silence import is_maintenance

log = structlog.get_logger(__name__)

MARGIN: Final = timedelta(seconds=10)
"""Read from this much before a gap: times of arrival are later than the exchange's, and lower
bounds are exclusive whole seconds."""
MAINTENANCE: Final = "maintenance"
"""The reason of a gap in the exchange's scheduled window: expected, and nothing to alarm about."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Where a gap begins whose stored beginning is no time that Python can hold."""
_RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Interval:
    """A gap as it is worked on; `id` is its row of `lifecycle_gaps`."""

    id: int
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """How many rows a repair changed, and what it found out."""

    changed: int
    findings: Findings


class GapStore:
    """The rows of `lifecycle_gaps`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def last_heard(self) -> datetime | None:
        """The last moment of which the stored rows can vouch; None in an empty database."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(queries.last_heard)).fetchone()
        return None if row is None else row[0]

    async def open(self, reason: str, since: datetime, until: datetime) -> Interval:
        """Record a gap."""
        async with writing(self._pool) as connection:
            cursor = await connection.execute(
                queries.open_gap, {"reason": reason, "began_at": since, "ended_at": until}
            )
            [number] = await cursor.fetchone() or [0]
        return Interval(number, since, reason)

    async def unrepaired(self) -> list[Interval]:
        """Gaps whose repair a former process did not finish."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(queries.unrepaired_gaps)
            return [
                Interval(number, since or _EPOCH, reason)
                for number, since, reason in await cursor.fetchall()
            ]

    async def close(self, interval: Interval, changed: int) -> None:
        """Record that a gap is repaired."""
        async with writing(self._pool) as connection:
            await connection.execute(
                queries.close_gap,
                {"id": interval.id, "repaired_at": datetime.now(UTC), "changed": changed},
            )


class Repairer:
    """Repairs one gap after the other."""

    def __init__(
        self,
        store: GapStore,
        rest: KalshiRest,
        mirror: Mirror,
        bookkeeper: Bookkeeper,
    ) -> None:
        self._store = store
        self._rest = rest
        self._mirror = mirror
        self._bookkeeper = bookkeeper
        self._closing: asyncio.Queue[tuple[list[Interval], Repaired]] = asyncio.Queue()
        self._waiting: asyncio.Queue[Interval] = asyncio.Queue()
        self._pending = 0

    async def add(self, runtime: Runtime, reason: str, since: datetime, until: datetime) -> None:
        """Record a gap and have it repaired; the service is not ready from now on."""
        if is_maintenance(until) and reason in ("closed", "silence"):
            reason = MAINTENANCE
        metrics.GAPS.labels(reason).inc()
        runtime.health.set("gap", f"messages since {since.isoformat()} may be missing ({reason})")
        say = log.info if reason in (MAINTENANCE, "start") else log.warning
        say("gap", reason=reason, since=since.isoformat(), until=until.isoformat())
        self.resume(await self._store.open(reason, since, until))

    def resume(self, interval: Interval) -> None:
        """Have a recorded gap repaired."""
        self._pending += 1
        self._waiting.put_nowait(interval)

    async def run(self, runtime: Runtime) -> None:
        """Repair what comes, until cancelled. Gaps that wait together are read over at once."""
        while True:
            intervals = [await self._waiting.get()]
            while not self._waiting.empty():
                intervals.append(self._waiting.get_nowait())
            since = min(interval.since for interval in intervals)
            repaired = await self._repaired(runtime, since, intervals[0].reason)
            if repaired is None:
                return
            self._closing.put_nowait((intervals, repaired))
            self._pending -= len(intervals)
            if not self._pending:
                runtime.health.set("gap", None)
            metrics.REPAIRS.labels("ok").inc(len(intervals))
            metrics.REPAIRED_ROWS.inc(repaired.changed)
            log.info("gaps repaired", reason=intervals[0].reason, changed=repaired.changed)

    async def close(self, runtime: Runtime) -> None:
        """Give what repairs found its rows and close their gaps, until the service stops."""
        while closing := await runtime.until_stop(self._closing.get()):
            intervals, repaired = closing
            if not await self._bookkeeper.settle(runtime, repaired.findings):
                return
            for interval in intervals:
                await self._store.close(interval, repaired.changed)

    async def poll(self, runtime: Runtime, since: datetime, every_seconds: float) -> None:
        """Without messages: read what changed, again and again, until the service stops."""
        while not runtime.stop.is_set():
            began_at = datetime.now(UTC)
            repaired = await self._repaired(runtime, since, "poll")
            if repaired is None:
                return
            await self._bookkeeper.write(repaired.findings)
            runtime.health.set("gap", None)
            runtime.health.progress()
            since = began_at
            await runtime.stopped_within(every_seconds)

    async def _repaired(self, runtime: Runtime, since: datetime, reason: str) -> Repaired | None:
        """What a repair did; None when the service stops before it succeeds."""
        tries = 0
        while True:
            try:
                return await self.repair(since)
            except InterruptedWaitError:
                return None
            except TransientError as error:
                metrics.REPAIRS.labels("failed").inc()
                runtime.health.failed("repair", error)
                runtime.health.set("gap", f"what changed cannot be read over REST: {error}")
                log.warning("repair failed", reason=reason, error=str(error))
            pause = _RETRY_SECONDS[min(tries, len(_RETRY_SECONDS) - 1)]
            tries += 1
            if await runtime.stopped_within(pause):
                return None

    async def repair(self, since: datetime) -> Repaired:
        """Read everything that changed since a time: what was created, updated, closed, settled."""
        bound = max(0, int((since - MARGIN).timestamp()))
        changed = 0
        findings = Findings(datetime.fromtimestamp(bound, UTC))
        asked_at = await self._mirror.now()
        async for events in self._rest.events(min_updated_ts=bound):
            await self._mirror.events(events.items, asked_at)
            asked_at = await self._mirror.now()
        transitions: Counter[str] = Counter()
        for scan in (
            self._rest.markets(min_created_ts=bound),
            self._rest.markets(min_updated_ts=bound),
            self._rest.markets(status="closed", min_close_ts=bound),
            self._rest.markets(status="settled", min_settled_ts=bound),
        ):
            asked_at = datetime.now(UTC)
            async for page in scan:
                mirrored = await self._mirror.markets(page.items, asked_at)
                changed += mirrored.changed
                transitions += mirrored.transitions
                findings.add(mirrored.told, asked_at)
                asked_at = datetime.now(UTC)
        for status, count in transitions.items():
            metrics.TRANSITIONS.labels("rest", status).inc(count)
        metrics.WORK.inc(changed)
        return Repaired(changed, findings)
