"""The clock's transitions in PostgreSQL."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from ssmd_common.status import NOT_YET_CLOSED
from ssmd_lifecycle.clock import BACK_BEYOND, STATUS_AFTER, TURNED_BACK, Due, TooEarly, Turn
from ssmd_lifecycle.rows import Pool, in_transaction, writing
from ssmd_store import clock, log
from ssmd_store.log import LifecycleRow
from ssmd_store.messages import EVENTS
from ssmd_store.parents import LOCK_MARKETS, Connection
from ssmd_store.rules import OPENING_GRACE, STAMPED_AHEAD

CHUNK: Final = 1500
"""Markets in one transaction: enough to be fast, few enough to hold no lock for long."""
AT_ONCE: Final = 2
"""Transactions side by side when many markets are due; they share no event."""
_MOST: Final = 20_000

T = TypeVar("T", Due, TooEarly)


class Turns:
    """Finds what is due, and makes it so: the row's status and its lifecycle row together."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def due(self, turn: Turn, now: datetime) -> list[Due]:
        """Transitions that are due, the oldest first, up to a bound."""
        async with self._pool.connection() as connection:
            given = {"now": now, "limit": _MOST, "grace": OPENING_GRACE, "ahead": STAMPED_AHEAD}
            cursor = await connection.execute(clock.DUE[turn.value], given)
            return [Due(turn, *row) for row in await cursor.fetchall()]

    async def due_at(self, moment: datetime) -> list[Due]:
        """What will be due at one moment to come."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(clock.QUERIES.due_at, {"moment": moment})
            return [Due(Turn(row[0]), *row[1:]) for row in await cursor.fetchall()]

    async def note(self, expected: Sequence[Due], now: datetime) -> int:
        """Record transitions that were expected and that another writer made first: the exchange
        answers REST with them from the same moment on. How many there were."""
        if not expected:
            return 0
        async with writing(self._pool) as connection:
            cursor = await connection.execute(
                clock.QUERIES.turned_by_others,
                {
                    "turns": [due.turn for due in expected],
                    "tickers": [due.ticker for due in expected],
                    "moments": [due.at for due in expected],
                },
            )
            done = set(await cursor.fetchall())
            noted = [due for due in expected if (due.turn, due.ticker) in done]
            return len(await log.insert(connection, [row_of(due, now) for due in noted]))

    async def next_due(self, now: datetime) -> datetime | None:
        """When something will be due next, after `now`."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(clock.QUERIES.next_due, {"now": now})
            row = await cursor.fetchone()
            assert row is not None
            return row[0]  # type: ignore[no-any-return]

    async def too_early(self, now: datetime) -> list[TooEarly]:
        """What was turned before its time, up to a bound: by a clock that was wrong."""
        async with self._pool.connection() as connection:
            return await _too_early(connection, None, now)

    async def turn_back(self, chosen: Sequence[TooEarly]) -> list[TooEarly]:
        """Give those that still are turned too early their status back; returns them."""
        turned: list[TooEarly] = []
        for chunk in chunked(chosen):
            turned += await self._turn_back(chunk, datetime.now(UTC))
        return turned

    async def _turn_back(self, chosen: Sequence[TooEarly], now: datetime) -> list[TooEarly]:

        async def attempt(connection: Connection) -> list[TooEarly]:
            events = await EVENTS.lock(connection, sorted({e.event_ticker for e in chosen}))
            tickers = [early.ticker for early in chosen]
            await connection.execute(LOCK_MARKETS, {"tickers": tickers})
            found = await _too_early(connection, tickers, now)
            turned = [early for early in found if early.event_ticker in events]
            if turned:
                keys = [key for early in turned for key in early.early_keys(now)]
                await log.free_keys(connection, keys)
                await log.insert(connection, [row_back(early, now) for early in turned])
                for status in NOT_YET_CLOSED:
                    tickers = [e.ticker for e in turned if e.status_before(now) == status]
                    await clock.turn(connection, tickers, status, now, list(events))
            return turned

        return await in_transaction(self._pool, attempt)

    async def make(self, turn: Turn, chosen: Sequence[Due]) -> list[Due]:
        """Make those transitions that still are due; returns them."""
        side_by_side = asyncio.Semaphore(AT_ONCE)

        async def make_chunk(chunk: Sequence[Due]) -> list[Due]:
            async with side_by_side:
                return await self._make(turn, chunk, datetime.now(UTC))

        made = await asyncio.gather(*(make_chunk(chunk) for chunk in chunked(chosen)))
        return [due for chunk in made for due in chunk]

    async def _make(self, turn: Turn, chosen: Sequence[Due], now: datetime) -> list[Due]:

        async def attempt(connection: Connection) -> list[Due]:
            events = await EVENTS.lock(connection, sorted({due.event_ticker for due in chosen}))
            tickers = [due.ticker for due in chosen]
            still_due = await clock.lock_due(connection, turn.value, tickers, now)
            locked = [Due(turn, *row) for row in still_due]
            # A market that moved to another event meanwhile is met at the next look.
            made = [due for due in locked if due.event_ticker in events]
            if made:
                # A key that is there already: the exchange took the transition back and it came
                # again.
                await log.insert(connection, [row_of(due, now) for due in made])
                tickers = [due.ticker for due in made]
                await clock.turn(connection, tickers, STATUS_AFTER[turn], now, list(events))
            return made

        return await in_transaction(self._pool, attempt)


async def _too_early(
    connection: Connection, tickers: Sequence[str] | None, now: datetime
) -> list[TooEarly]:
    cursor = await connection.execute(
        clock.QUERIES.turned_too_early,
        {
            "tickers": None if tickers is None else list(tickers),
            "after": now + BACK_BEYOND,
            "margin": BACK_BEYOND,
            "limit": _MOST,
        },
    )
    return [TooEarly(Turn(row[0]), *row[1:]) for row in await cursor.fetchall()]


def chunked(chosen: Sequence[T]) -> list[list[T]]:
    """Chunks of about `CHUNK` transitions; one event's are all in one chunk."""
    chunks: list[list[T]] = []
    last_event: str | None = None
    for due in sorted(chosen, key=lambda due: (due.event_ticker, due.ticker)):
        if not chunks or (len(chunks[-1]) >= CHUNK and due.event_ticker != last_event):
            chunks.append([])
        chunks[-1].append(due)
        last_event = due.event_ticker
    return chunks


def row_back(early: TooEarly, now: datetime) -> LifecycleRow:
    """The row of a transition that is taken back."""
    return LifecycleRow(
        market_ticker=early.ticker,
        event_ticker=early.event_ticker,
        event_type=TURNED_BACK,
        open_ts=early.at if early.turn is Turn.OPENED else None,
        close_ts=early.at if early.turn is Turn.CLOSED else None,
        metadata=msgspec.Raw(early.metadata(now)),
        received_at=now,
        dedupe_key=early.dedupe_key(now),
    )


def row_of(due: Due, now: datetime) -> LifecycleRow:
    """The row of a transition that the clock made, or that is the clock's."""
    return LifecycleRow(
        market_ticker=due.ticker,
        event_ticker=due.event_ticker,
        event_type=due.turn.value,
        open_ts=due.at if due.turn is Turn.OPENED else None,
        close_ts=due.at if due.turn is Turn.CLOSED else None,
        metadata=msgspec.Raw(due.metadata(now)),
        received_at=now,
        dedupe_key=due.dedupe_key,
    )
