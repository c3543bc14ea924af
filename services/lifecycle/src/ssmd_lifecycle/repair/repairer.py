"""The repair of gaps: reads over REST what changed since they began, and has it written."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ssmd_common.runtime import Runtime
from ssmd_kalshi.errors import InterruptedWaitError, TransientError
from ssmd_kalshi.rest import KalshiRest
from ssmd_lifecycle import metrics
from ssmd_lifecycle.feed.gaps import Gaps, Interval
from ssmd_lifecycle.repair.backfill import Backfill, Findings
from ssmd_lifecycle.repair.rest_upserter import RestUpserter

log = structlog.get_logger(__name__)

MARGIN: Final = timedelta(seconds=10)
"""Read from this much before a gap: times of arrival are later than the exchange's, and lower
bounds are exclusive whole seconds."""
_RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0)


class Repairer:
    """`run` repairs one gap after the other, `close` completes what was found and closes them."""

    def __init__(
        self, gaps: Gaps, rest: KalshiRest, upserter: RestUpserter, backfill: Backfill
    ) -> None:
        self._gaps = gaps
        self._rest = rest
        self._upserter = upserter
        self._backfill = backfill
        self._closing: asyncio.Queue[tuple[list[Interval], Findings]] = asyncio.Queue()

    async def run(self, runtime: Runtime) -> None:
        """Repair what comes, until cancelled. Gaps that wait together are read over at once."""
        while True:
            intervals = await self._gaps.take()
            since, reason = min(interval.since for interval in intervals), intervals[0].reason
            findings = await self._repaired(runtime, since, reason)
            if findings is None:
                return
            self._closing.put_nowait((intervals, findings))
            self._gaps.repaired(runtime, intervals)
            metrics.REPAIRS.labels("ok").inc(len(intervals))
            metrics.REPAIRED_ROWS.inc(findings.changed)
            log.info("gaps repaired", reason=reason, changed=findings.changed)

    async def close(self, runtime: Runtime) -> None:
        """Give what repairs found its rows and close their gaps, until the service stops."""
        while closing := await runtime.until_stop(self._closing.get()):
            intervals, findings = closing
            if not await self._backfill.complete(runtime, findings):
                return
            for interval in intervals:
                await self._gaps.close(interval, findings.changed)

    async def poll(self, runtime: Runtime, every_seconds: float) -> None:
        """Without messages: read what changed, again and again, until the service stops."""
        since = await self._gaps.known_until(datetime.now(UTC))
        while not runtime.stop.is_set():
            began_at = datetime.now(UTC)
            findings = await self._repaired(runtime, since, "poll")
            if findings is None:
                return
            await self._backfill.write(findings)
            runtime.health.set("gap", None)
            runtime.health.progress()
            since = began_at
            await runtime.stopped_within(every_seconds)

    async def _repaired(self, runtime: Runtime, since: datetime, reason: str) -> Findings | None:
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

    async def repair(self, since: datetime) -> Findings:
        """Read everything that changed since a time: what was created, updated, closed, settled."""
        bound = max(0, int((since - MARGIN).timestamp()))
        findings = Findings(datetime.fromtimestamp(bound, UTC))
        asked_at = await self._upserter.now()
        async for events in self._rest.events(min_updated_ts=bound):
            await self._upserter.upsert_events(events.items, asked_at)
            asked_at = await self._upserter.now()
        for scan in (
            self._rest.markets(min_created_ts=bound),
            self._rest.markets(min_updated_ts=bound),
            self._rest.markets(status="closed", min_close_ts=bound),
            self._rest.markets(status="settled", min_settled_ts=bound),
        ):
            asked_at = datetime.now(UTC)
            async for page in scan:
                upserted = await self._upserter.upsert_markets(page.items, asked_at)
                findings.add(upserted, asked_at)
                asked_at = datetime.now(UTC)
        metrics.WORK.inc(findings.changed)
        return findings
