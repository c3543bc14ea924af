"""Gives transitions that only REST told of their rows, once no message can tell of them any more.

REST is ahead of the messages that are on their way, so rows are made a little after REST was asked
and when all that had arrived by then is recorded. Only then is a gap closed in the tables: what a
process that ends did not get to is the next one's.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import structlog

from ssmd_common.models import Market
from ssmd_common.runtime import Runtime
from ssmd_lifecycle import metrics
from ssmd_lifecycle.clock import Due
from ssmd_lifecycle.filter import FilterFile
from ssmd_lifecycle.messages import Kind
from ssmd_lifecycle.owed import Step, metadata, owed
from ssmd_lifecycle.rows import Pool, queries, writing
from ssmd_lifecycle.turns import row_of
from ssmd_store.log import LifecycleRow, insert_owed

log = structlog.get_logger(__name__)

GRACE: Final = timedelta(seconds=3)
"""A message about what REST shows is on its way for no longer than this."""
_CHUNK: Final = 1000
_LOOK_SECONDS: Final = 0.2


@dataclass(slots=True)
class Findings:
    """What one repair found out, in the order of each market's life."""

    since: datetime
    told_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    steps: dict[str, Step | Due] = field(default_factory=dict)
    """By dedupe key: several scans tell of the same market."""

    def add(self, markets: Iterable[Market], asked_at: datetime) -> None:
        """Take what a page of REST told."""
        for market in markets:
            for step in owed(market, self.since, asked_at):
                self.steps.setdefault(step.dedupe_key, step)
        self.told_at = datetime.now(UTC)


class Bookkeeper:
    """`is_behind(moment)` says whether messages that arrived by then may be unrecorded."""

    def __init__(
        self, pool: Pool, filter_file: FilterFile, is_behind: Callable[[datetime], bool]
    ) -> None:
        self._pool = pool
        self._filter = filter_file
        self._is_behind = is_behind

    async def settle(self, runtime: Runtime, findings: Findings) -> bool:
        """Write the rows of `findings` when it is time; False when the service stops before."""
        until = findings.told_at + GRACE
        while (now := datetime.now(UTC)) < until or self._is_behind(until):
            seconds = max(_LOOK_SECONDS, (until - now) / timedelta(seconds=1))
            if await runtime.stopped_within(seconds):
                return False
        await self.write(findings)
        return True

    async def write(self, findings: Findings) -> int:
        """Write those rows that are still owed; how many they were."""
        steps = list(findings.steps.values())
        written = 0
        for start in range(0, len(steps), _CHUNK):
            written += await self._write(steps[start : start + _CHUNK])
            await asyncio.sleep(0)
        if written:
            metrics.FOUND.inc(written)
            log.info("transitions that no message told of recorded", rows=written)
        return written

    async def _write(self, steps: Sequence[Step | Due]) -> int:
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
            return await insert_owed(connection, [_row(step, now) for step in steps])


def _row(step: Step | Due, now: datetime) -> LifecycleRow:
    whole = msgspec.Raw(metadata(step))
    if isinstance(step, Due):
        return msgspec.structs.replace(row_of(step, now), metadata=whole)
    return LifecycleRow(
        market_ticker=step.ticker,
        event_ticker=step.event_ticker,
        event_type=step.kind.value,
        settled_ts=step.at if step.kind is Kind.SETTLED else None,
        result=step.result,
        metadata=whole,
        received_at=now,
        dedupe_key=step.dedupe_key,
    )
