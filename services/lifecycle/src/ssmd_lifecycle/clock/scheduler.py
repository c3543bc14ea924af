"""The loop that opens and closes markets in time: sleeps until one is due, and makes it so."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
import structlog
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.errors import UpstreamUnavailable
from ssmd_common.runtime import Runtime
from ssmd_lifecycle import metrics
from ssmd_lifecycle.clock.timed import (
    EARLY_BEYOND,
    EarlyTransition,
    TimedKind,
    TimedTransition,
)
from ssmd_lifecycle.clock.timed_store import TimedStore, count_timed
from ssmd_lifecycle.transactions import queries
from ssmd_lifecycle.wake import Wake

log = structlog.get_logger(__name__)

RECHECK_SECONDS: Final = 5.0
"""The longest sleep. What becomes due sooner is announced by the database, whoever wrote it: the
notification covers the next ten seconds (migrations/004_lifecycle_due.sql), so nothing falls
between."""

EARLY_SECONDS: Final = 30.0
"""How often it is looked for what was made before its time, where the clock was not set."""

AHEAD_SECONDS: Final = 0.5
"""This long before something is due, what will be due is read: if another writer learns of it from
REST in the very moment, the transition still has its row."""


class Scheduler:
    """`run` makes the transitions, `listen` hears of markets that became due soon."""

    def __init__(self, store: TimedStore) -> None:
        self._store = store
        self._wake = Wake()
        self._early_at = self._set_to = float("-inf")
        self.looked_at = asyncio.get_running_loop().time()
        """When the clock last looked, in the event loop's time."""

    async def run(self, runtime: Runtime) -> None:
        """Make each transition when it is due."""
        expected: list[TimedTransition] = []
        while not runtime.stop.is_set():
            self._wake.clear()
            self.looked_at = asyncio.get_running_loop().time()
            # One instant for both questions: what is due now, and what is due after it. Timers may
            # fire a little early, and between two readings of the clock something would be lost.
            now = datetime.now(UTC)
            await self._look_for_early(now)
            made = set(await self.catch_up(now))
            await self._store.note([d for d in expected if d.at <= now and d not in made], now)
            expected = [due for due in expected if due.at > now]
            next_due = await self._store.next_due(now)
            pause = RECHECK_SECONDS
            if next_due is not None:
                left = (next_due - datetime.now(UTC)) / timedelta(seconds=1)
                if left > AHEAD_SECONDS:
                    pause = min(pause, left - AHEAD_SECONDS / 2)
                else:
                    expected = await self._store.due_at(next_due)
                    pause = (next_due - datetime.now(UTC)) / timedelta(seconds=1)
            if pause > 0:
                await self._wake.sleep(runtime, pause)

    async def _look_for_early(self, now: datetime) -> None:
        """At first, now and then, and whenever the clock was set."""
        looked_at = asyncio.get_running_loop().time()
        set_to = now.timestamp() - looked_at
        if looked_at < self._early_at and abs(set_to - self._set_to) < EARLY_BEYOND.total_seconds():
            return
        self._early_at, self._set_to = looked_at + EARLY_SECONDS, set_to
        await self.reverse_early(now)

    async def reverse_early(self, now: datetime) -> list[EarlyTransition]:
        """Give all that a wrong clock opened or closed before its time its status back."""
        all_reversed: list[EarlyTransition] = []
        while chosen := await self._store.early(now):
            done = await self._store.reverse(chosen)
            if not done:
                break
            all_reversed += done
            for early in done:
                metrics.TRANSITIONS.labels("clock", early.status_before(now)).inc()
        if all_reversed:
            metrics.WORK.inc(len(all_reversed))
            log.warning(
                "transitions reversed that a wrong clock made before their time",
                markets=len(all_reversed),
                earliest_seconds=round((all_reversed[0].at - now).total_seconds()),
            )
        return all_reversed

    async def catch_up(self, now: datetime) -> list[TimedTransition]:
        """Make all that is due by `now`; a market due for both opens, then closes."""
        all_made: list[TimedTransition] = []
        for kind in TimedKind:
            while chosen := await self._store.due(kind, now):
                made = await self._store.make(kind, chosen)
                if not made:
                    break
                all_made += made
                done = datetime.now(UTC)
                count_timed(made, done)
                log.info(
                    "transitions made by the clock",
                    kind=kind.value,
                    markets=len(made),
                    latest_ms=round((done - made[0].at).total_seconds() * 1000),
                )
        return all_made

    async def listen(self, url: SecretStr, *, budget_seconds: float) -> None:
        """Wake when a writer makes a market due within seconds; ends only with an error."""
        connection = await postgres.connect(
            url, "ssmd-lifecycle-listen", budget_seconds=budget_seconds
        )
        async with connection:
            await connection.execute(queries.listen)
            self._wake.set()
            try:
                async for _ in connection.notifies():
                    self._wake.set()
            except psycopg.OperationalError as error:
                raise UpstreamUnavailable(
                    "the connection on which PostgreSQL announces due markets is gone: "
                    "check that PostgreSQL runs"
                ) from error
