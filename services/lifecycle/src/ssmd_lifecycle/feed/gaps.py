"""Intervals in which messages may have been missed: rows of `lifecycle_gaps`.

A gap is recorded when it is noticed, before any later message is: else a process that dies between
the two would vouch for what it did not hear. The service is not ready until `repair` has read what
changed since then; the gap stays open until what was found has its rows, too.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ssmd_common.runtime import Runtime
from ssmd_common.skew import WARNED_SECONDS
from ssmd_lifecycle import metrics
from ssmd_lifecycle.feed.silence import is_maintenance
from ssmd_lifecycle.transactions import Pool, queries, writing

log = structlog.get_logger(__name__)

MAINTENANCE: Final = "maintenance"
"""The reason of a gap in the exchange's scheduled window: expected, and nothing to alarm about."""
_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Where a gap begins whose stored beginning is no time that Python can hold."""
_TOLERATED: Final = timedelta(seconds=WARNED_SECONDS)
_READ_AGAIN: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Interval:
    """A gap as it is worked on; `id` is its row of `lifecycle_gaps`."""

    id: int
    since: datetime
    reason: str


class Gaps:
    """The feed adds gaps, the repair takes them. On standby they are not recorded: who takes over
    reads all that changed since the last message that is stored."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: asyncio.Queue[Interval] = asyncio.Queue()
        self._unrepaired = 0
        self._known_until: datetime | None = None
        """Up to when nothing is missing that was sent before the lead; None on standby."""
        self._subscribed = False

    async def lead(self, runtime: Runtime) -> None:
        """From now on gaps are recorded. The first are those that a former process left, and the
        time since the last message that is stored."""
        now = datetime.now(UTC)
        known_until = await self.known_until(now)
        for interval in await self.unrepaired():
            self._hand_over(interval)
        self._known_until = known_until
        # Where no subscription is confirmed yet, its confirmation brings this gap.
        if self._subscribed:
            await self.add(runtime, "start", known_until, now)

    async def known_until(self, now: datetime) -> datetime:
        """Up to when nothing can have been missed, by what is stored."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(queries.last_heard)).fetchone()
        return vouched(row[0] if row else None, now)

    async def add(
        self, runtime: Runtime, reason: str, since: datetime | None, until: datetime
    ) -> None:
        """Record a gap and have it repaired; the service is not ready from now on. `since` is None
        for the one that the first subscription ends."""
        self._subscribed |= since is None
        if self._known_until is None:
            return
        since = since or self._known_until
        if is_maintenance(until) and reason in ("closed", "silence"):
            reason = MAINTENANCE
        metrics.GAPS.labels(reason).inc()
        runtime.health.set("gap", f"messages since {since.isoformat()} may be missing ({reason})")
        say = log.info if reason in (MAINTENANCE, "start") else log.warning
        say("gap", reason=reason, since=since.isoformat(), until=until.isoformat())
        async with writing(self._pool) as connection:
            cursor = await connection.execute(
                queries.open_gap, {"reason": reason, "began_at": since, "ended_at": until}
            )
            [number] = await cursor.fetchone() or [0]
        self._hand_over(Interval(number, since, reason))

    def _hand_over(self, interval: Interval) -> None:
        self._unrepaired += 1
        self._waiting.put_nowait(interval)

    async def take(self) -> list[Interval]:
        """The gaps that wait for their repair, at least one."""
        intervals = [await self._waiting.get()]
        while not self._waiting.empty():
            intervals.append(self._waiting.get_nowait())
        return intervals

    def repaired(self, runtime: Runtime, intervals: list[Interval]) -> None:
        """What changed in them is read and written; the service is ready when none is left."""
        self._unrepaired -= len(intervals)
        if not self._unrepaired:
            runtime.health.set("gap", None)

    async def unrepaired(self) -> list[Interval]:
        """Gaps whose repair a former process did not finish."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(queries.unrepaired_gaps)
            return [
                Interval(number, since or _1970, reason)
                for number, since, reason in await cursor.fetchall()
            ]

    async def close(self, interval: Interval, changed: int) -> None:
        """Write into a gap's row that it is repaired."""
        async with writing(self._pool) as connection:
            await connection.execute(
                queries.close_gap,
                {"id": interval.id, "repaired_at": datetime.now(UTC), "changed": changed},
            )


def vouched(last_heard: datetime | None, now: datetime) -> datetime:
    """Up to when nothing can have been missed, by the newest stamp of what was heard.

    One that is ahead of us comes from a clock that was wrong, nobody knows since when.
    """
    if last_heard is None:
        return now
    ahead = last_heard - now
    return last_heard if ahead <= _TOLERATED else now - max(_READ_AGAIN, 2 * ahead)
