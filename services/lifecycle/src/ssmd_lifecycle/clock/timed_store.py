"""The clock's transitions in PostgreSQL: the row's status and its lifecycle row together."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

from ssmd_common.status import NOT_YET_CLOSED
from ssmd_lifecycle import metrics
from ssmd_lifecycle.clock.timed import (
    EARLY_BEYOND,
    STATUS_AFTER,
    EarlyTransition,
    TimedKind,
    TimedTransition,
)
from ssmd_lifecycle.transactions import Pool, in_transaction, writing
from ssmd_store import clock, log
from ssmd_store.messages import EVENTS
from ssmd_store.parents import LOCK_MARKETS, Connection
from ssmd_store.rules import OPENING_GRACE, STAMPED_AHEAD

CHUNK: Final = 1500
"""Markets in one transaction: enough to be fast, few enough to hold no lock for long."""
AT_ONCE: Final = 2
"""Transactions side by side when many markets are due; they share no event."""
_MOST: Final = 20_000

T = TypeVar("T", TimedTransition, EarlyTransition)


class TimedStore:
    """Finds what is due or was made too early, and makes or reverses it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def due(self, kind: TimedKind, now: datetime) -> list[TimedTransition]:
        """Transitions that are due, the oldest first, up to a bound."""
        async with self._pool.connection() as connection:
            given = {"now": now, "limit": _MOST, "grace": OPENING_GRACE, "ahead": STAMPED_AHEAD}
            cursor = await connection.execute(clock.DUE[kind.value], given)
            return [TimedTransition(kind, *row) for row in await cursor.fetchall()]

    async def due_at(self, moment: datetime) -> list[TimedTransition]:
        """What will be due at one moment to come."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(clock.QUERIES.due_at, {"moment": moment})
            return [TimedTransition(TimedKind(row[0]), *row[1:]) for row in await cursor.fetchall()]

    async def next_due(self, now: datetime) -> datetime | None:
        """When something will be due next, after `now`."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(clock.QUERIES.next_due, {"now": now})
            row = await cursor.fetchone()
            assert row is not None
            return row[0]  # type: ignore[no-any-return]

    async def make(
        self, kind: TimedKind, chosen: Sequence[TimedTransition]
    ) -> list[TimedTransition]:
        """Make those transitions that still are due; returns them."""
        side_by_side = asyncio.Semaphore(AT_ONCE)

        async def make_chunk(chunk: Sequence[TimedTransition]) -> list[TimedTransition]:
            async with side_by_side:
                return await self._make(kind, chunk, datetime.now(UTC))

        made = await asyncio.gather(*(make_chunk(chunk) for chunk in chunked(chosen)))
        return [transition for chunk in made for transition in chunk]

    async def _make(
        self, kind: TimedKind, chosen: Sequence[TimedTransition], now: datetime
    ) -> list[TimedTransition]:

        async def attempt(connection: Connection) -> list[TimedTransition]:
            events = await EVENTS.lock(connection, sorted({t.event_ticker for t in chosen}))
            tickers = [transition.ticker for transition in chosen]
            still_due = await clock.lock_due(connection, kind.value, tickers, now)
            locked = [TimedTransition(kind, *row) for row in still_due]
            # A market that moved to another event meanwhile is met at the next look.
            made = [transition for transition in locked if transition.event_ticker in events]
            if made:
                # A key that is there already: the exchange took the transition back and it came
                # again.
                await log.insert(connection, [transition.row(now) for transition in made])
                tickers = [transition.ticker for transition in made]
                status = STATUS_AFTER[kind]
                await clock.transition(connection, tickers, status, now, list(events))
            return made

        return await in_transaction(self._pool, attempt)

    async def note(self, expected: Sequence[TimedTransition], now: datetime) -> int:
        """Record transitions that were expected and that another writer made first: the exchange
        answers REST with them from the same moment on. How many there were."""
        if not expected:
            return 0
        async with writing(self._pool) as connection:
            cursor = await connection.execute(
                clock.QUERIES.made_by_others,
                {
                    "kinds": [transition.kind for transition in expected],
                    "tickers": [transition.ticker for transition in expected],
                    "moments": [transition.at for transition in expected],
                },
            )
            done = set(await cursor.fetchall())
            rows = [t.row(now) for t in expected if (t.kind, t.ticker) in done]
            return len(await log.insert(connection, rows))

    async def early(self, now: datetime) -> list[EarlyTransition]:
        """What was made before its time, up to a bound: by a clock that was wrong."""
        async with self._pool.connection() as connection:
            return await _early(connection, None, now)

    async def reverse(self, chosen: Sequence[EarlyTransition]) -> list[EarlyTransition]:
        """Give the markets of those that still are too early their status back; returns them."""
        reversed_: list[EarlyTransition] = []
        for chunk in chunked(chosen):
            reversed_ += await self._reverse(chunk, datetime.now(UTC))
        return reversed_

    async def _reverse(
        self, chosen: Sequence[EarlyTransition], now: datetime
    ) -> list[EarlyTransition]:

        async def attempt(connection: Connection) -> list[EarlyTransition]:
            events = await EVENTS.lock(connection, sorted({e.event_ticker for e in chosen}))
            tickers = [early.ticker for early in chosen]
            await connection.execute(LOCK_MARKETS, {"tickers": tickers})
            found = await _early(connection, tickers, now)
            still_early = [early for early in found if early.event_ticker in events]
            if still_early:
                keys = [key for early in still_early for key in early.early_keys(now)]
                await log.free_keys(connection, keys)
                await log.insert(connection, [early.reversal(now) for early in still_early])
                for status in NOT_YET_CLOSED:
                    tickers = [e.ticker for e in still_early if e.status_before(now) == status]
                    await clock.transition(connection, tickers, status, now, list(events))
            return still_early

        return await in_transaction(self._pool, attempt)


async def _early(
    connection: Connection, tickers: Sequence[str] | None, now: datetime
) -> list[EarlyTransition]:
    cursor = await connection.execute(
        clock.QUERIES.early_transitions,
        {
            "tickers": None if tickers is None else list(tickers),
            "after": now + EARLY_BEYOND,
            "margin": EARLY_BEYOND,
            "limit": _MOST,
        },
    )
    return [EarlyTransition(TimedKind(row[0]), *row[1:]) for row in await cursor.fetchall()]


def chunked(chosen: Sequence[T]) -> list[list[T]]:
    """Chunks of about `CHUNK` transitions; one event's are all in one chunk."""
    chunks: list[list[T]] = []
    last_event: str | None = None
    for transition in sorted(chosen, key=lambda one: (one.event_ticker, one.ticker)):
        full = bool(chunks) and len(chunks[-1]) >= CHUNK
        if not chunks or (full and transition.event_ticker != last_event):
            chunks.append([])
        chunks[-1].append(transition)
        last_event = transition.event_ticker
    return chunks


def count_timed(made: Sequence[TimedTransition], done: datetime) -> None:
    """Count transitions of the clock that are committed."""
    metrics.WORK.inc(len(made))
    for due in made:
        metrics.TRANSITIONS.labels("clock", STATUS_AFTER[due.kind]).inc()
        metrics.CLOCK_LATE.observe(max(0.0, (done - due.at).total_seconds()))
