"""Gives transitions that only REST reported their rows, once no message can announce them any more.

REST is ahead of the messages that are on their way, so rows are made a little after REST was asked
and when all that had arrived by then is recorded. Only then is a gap closed in the tables: what a
process that ends did not get to is the next one's.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ssmd_common.runtime import Runtime
from ssmd_lifecycle import metrics
from ssmd_lifecycle.clock.timed import TimedTransition
from ssmd_lifecycle.feed.inbox import Inbox
from ssmd_lifecycle.filter import FilterFile
from ssmd_lifecycle.repair.rest_upserter import Upserted
from ssmd_lifecycle.repair.steps import Step, steps_of
from ssmd_lifecycle.transactions import Pool, queries, writing
from ssmd_store.log import insert_backfilled

log = structlog.get_logger(__name__)

GRACE: Final = timedelta(seconds=3)
"""A message about what REST shows is on its way for no longer than this."""
_CHUNK: Final = 1000
_LOOK_SECONDS: Final = 0.2


@dataclass(slots=True)
class Findings:
    """What one repair did and found out, in the order of each market's life."""

    since: datetime
    changed: int = 0
    """Rows that it wrote."""
    asked_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    steps: dict[str, Step | TimedTransition] = field(default_factory=dict)
    """By dedupe key: several scans show the same market."""

    def add(self, page: Upserted, asked_at: datetime) -> None:
        """Take what a page of REST shows."""
        self.changed += page.changed
        for market in page.observed:
            for step in steps_of(market, self.since, asked_at):
                self.steps.setdefault(step.dedupe_key, step)
        self.asked_at = datetime.now(UTC)


class Backfill:
    """Writes the rows of what is followed; the inbox says what is not recorded yet."""

    def __init__(self, pool: Pool, filter_file: FilterFile, inbox: Inbox) -> None:
        self._pool = pool
        self._filter = filter_file
        self._inbox = inbox

    async def complete(self, runtime: Runtime, findings: Findings) -> bool:
        """Write the rows of `findings` when it is time; False when the service stops before."""
        until = findings.asked_at + GRACE
        while (now := datetime.now(UTC)) < until or self._inbox.is_behind(until):
            seconds = max(_LOOK_SECONDS, (until - now) / timedelta(seconds=1))
            if await runtime.stopped_within(seconds):
                return False
        await self.write(findings)
        return True

    async def write(self, findings: Findings) -> int:
        """Write those rows that still are missing; how many they were."""
        steps = list(findings.steps.values())
        written = 0
        for start in range(0, len(steps), _CHUNK):
            written += await self._write(steps[start : start + _CHUNK])
            await asyncio.sleep(0)
        if written:
            metrics.FOUND.inc(written)
            log.info("transitions that no message announced recorded", rows=written)
        return written

    async def _write(self, steps: Sequence[Step | TimedTransition]) -> int:
        now = datetime.now(UTC)
        async with writing(self._pool) as connection:
            chosen = self._filter.current
            if not chosen.is_empty:
                tickers = [step.ticker for step in steps]
                cursor = await connection.execute(queries.categories, [tickers])
                followed = {
                    ticker
                    for ticker, series, category in await cursor.fetchall()
                    if chosen.passes(series, category)
                }
                steps = [step for step in steps if step.ticker in followed]
            return await insert_backfilled(connection, [step.row(now, "rest") for step in steps])
