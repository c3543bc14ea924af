"""The loop that opens and closes markets in time: sleeps until one is due, and makes it so."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
import structlog
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.errors import UpstreamUnavailable
from ssmd_common.runtime import Runtime
from ssmd_lifecycle import metrics
from ssmd_lifecycle.clock import BACK_BEYOND, STATUS_AFTER, Due, TooEarly, Turn
from ssmd_lifecycle.rows import queries
from ssmd_lifecycle.turns import Turns
from ssmd_lifecycle.wake import Wake

log = structlog.get_logger(__name__)

RECHECK_SECONDS: Final = 5.0
"""The longest sleep. What becomes due sooner is announced by the database, whoever wrote it: the
notification covers the next ten seconds (migrations/004_lifecycle_due.sql), so nothing falls
between."""

BACK_SECONDS: Final = 30.0
"""How often it is looked for what was turned before its time, where the clock was not set."""

AHEAD_SECONDS: Final = 0.5
"""This long before something is due, what will be due is read: if another writer learns of it from
REST in the very moment, the transition still has its row."""


class Scheduler:
    """`run` makes the transitions, `listen` hears of markets that became due soon."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._wake = Wake()
        self._back_at = self._set_to = float("-inf")
        self.looked_at = asyncio.get_running_loop().time()
        """When the clock last looked, in the event loop's time."""

    def wake(self) -> None:
        """Look again at what is due."""
        self._wake.set()

    async def run(self, runtime: Runtime) -> None:
        """Make each transition when it is due."""
        expected: list[Due] = []
        while not runtime.stop.is_set():
            self._wake.clear()
            self.looked_at = asyncio.get_running_loop().time()
            # One instant for both questions: what is due now, and what is due after it. Timers may
            # fire a little early, and between two readings of the clock something would be lost.
            now = datetime.now(UTC)
            await self._turn_back(now)
            made = set(await self.catch_up(now))
            await self._turns.note([d for d in expected if d.at <= now and d not in made], now)
            expected = [due for due in expected if due.at > now]
            next_due = await self._turns.next_due(now)
            pause = RECHECK_SECONDS
            if next_due is not None:
                left = (next_due - datetime.now(UTC)) / timedelta(seconds=1)
                if left > AHEAD_SECONDS:
                    pause = min(pause, left - AHEAD_SECONDS / 2)
                else:
                    expected = await self._turns.due_at(next_due)
                    pause = (next_due - datetime.now(UTC)) / timedelta(seconds=1)
            if pause > 0:
                await self._wake.sleep(runtime, pause)

    async def _turn_back(self, now: datetime) -> None:
        """At first, now and then, and whenever the clock was set."""
        looked_at = asyncio.get_running_loop().time()
        set_to = now.timestamp() - looked_at
        if looked_at < self._back_at and abs(set_to - self._set_to) < BACK_BEYOND.total_seconds():
            return
        self._back_at, self._set_to = looked_at + BACK_SECONDS, set_to
        await self.turn_back(now)

    async def turn_back(self, now: datetime) -> list[TooEarly]:
        """Give all that a wrong clock turned before its time its status back."""
        all_turned: list[TooEarly] = []
        while chosen := await self._turns.too_early(now):
            turned = await self._turns.turn_back(chosen)
            if not turned:
                break
            all_turned += turned
            for early in turned:
                metrics.TRANSITIONS.labels("clock", early.status_before(now)).inc()
        if all_turned:
            metrics.WORK.inc(len(all_turned))
            log.warning(
                "markets turned back that a clock turned before their time",
                markets=len(all_turned),
                earliest_seconds=round((all_turned[0].at - now).total_seconds()),
            )
        return all_turned

    async def catch_up(self, now: datetime) -> list[Due]:
        """Make all that is due by `now`; a market due for both opens, then closes."""
        all_made: list[Due] = []
        for turn in Turn:
            while chosen := await self._turns.due(turn, now):
                made = await self._turns.make(turn, chosen)
                if not made:
                    break
                all_made += made
                done = datetime.now(UTC)
                count_turned(made, done)
                log.info(
                    "markets turned by the clock",
                    turn=turn.value,
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
            self.wake()
            try:
                async for _ in connection.notifies():
                    self.wake()
            except psycopg.OperationalError as error:
                raise UpstreamUnavailable(
                    "the connection on which PostgreSQL announces due markets is gone: "
                    "check that PostgreSQL runs"
                ) from error


def count_turned(made: Sequence[Due], done: datetime) -> None:
    """Count transitions of the clock that are committed."""
    metrics.WORK.inc(len(made))
    for due in made:
        metrics.TRANSITIONS.labels("clock", STATUS_AFTER[due.turn]).inc()
        metrics.CLOCK_LATE.observe(max(0.0, (done - due.at).total_seconds()))
