"""Random writers at once: history tells every copy that was taken meanwhile."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
import pytest
from history_witness import Witness, notice

WRITERS: Final = 4
EXPECTED: Final = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.ExclusionViolation,
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
)
"""What writers do to each other with or without history."""

Statement = tuple[str, Sequence[Any]]
Change = Callable[[random.Random], Statement]


def market(r: random.Random) -> str:
    return f"M{r.randrange(12)}"


def event(r: random.Random) -> str:
    return f"E{r.randrange(4)}"


def series(r: random.Random) -> str:
    return f"S{r.randrange(3)}"


def text(r: random.Random) -> str:
    return str(r.random())


CHANGES: Final[Sequence[tuple[float, Change]]] = (
    (
        6,
        lambda r: (
            (
                "INSERT INTO series (ticker, title) VALUES (%s, %s)"
                " ON CONFLICT (ticker) DO UPDATE SET title = excluded.title, volume = 5"
            ),
            (series(r), text(r)),
        ),
    ),
    (
        8,
        lambda r: (
            (
                "INSERT INTO events (event_ticker, series_ticker, title) VALUES (%s, %s, %s)"
                " ON CONFLICT (event_ticker) DO UPDATE SET title = excluded.title"
            ),
            (event(r), series(r), text(r)),
        ),
    ),
    (
        26,
        lambda r: (
            (
                "INSERT INTO markets (ticker, event_ticker, series_ticker, title,"
                " extra, price_ranges)"
                " SELECT %s, event_ticker, series_ticker, %s, %s::jsonb, '[1, null, {\"a\": null}]'"
                " FROM events WHERE event_ticker = %s ON CONFLICT (ticker)"
                " DO UPDATE SET title = excluded.title, extra = excluded.extra, yes_bid = 4"
            ),
            (market(r), text(r), r.choice(['{"a": 1}', '{"a": {"b": null}}', None]), event(r)),
        ),
    ),
    (
        20,
        lambda r: (
            (
                "UPDATE markets SET status = %s, close_time = now() + '1 day', floor_strike = %s,"
                " cap_strike = 'NaN', open_time = 'infinity' WHERE ticker = %s"
            ),
            (r.choice(["open", "active", "closed"]), r.choice(["1.50", "2"]), market(r)),
        ),
    ),
    (
        10,
        lambda r: (
            "UPDATE markets SET yes_bid = %s WHERE ticker = %s",
            (r.randrange(99), market(r)),
        ),
    ),
    (6, lambda r: ("DELETE FROM markets WHERE ticker = %s", (market(r),))),
    (4, lambda r: ("UPDATE markets SET ticker = %s WHERE ticker = %s", (market(r), market(r)))),
    (3, lambda r: ("UPDATE series SET ticker = %s WHERE ticker = %s", (series(r), series(r)))),
    (
        3,
        lambda r: (
            (
                "UPDATE markets m SET event_ticker = e.event_ticker, series_ticker ="
                " e.series_ticker"
                " FROM events e WHERE e.event_ticker = %s AND m.ticker = %s"
            ),
            (event(r), market(r)),
        ),
    ),
    (2, lambda r: ("DELETE FROM events WHERE event_ticker = %s", (event(r),))),
    (
        4,
        lambda r: (
            (
                "INSERT INTO series_fees (series_ticker, fee_type, fee_multiplier, effective_from)"
                " VALUES (%s, 'q', %s, now()) ON CONFLICT (series_ticker,"
                " effective_from) DO NOTHING"
            ),
            (series(r), r.randrange(5)),
        ),
    ),
    (3, lambda r: ("DELETE FROM series_fees WHERE series_ticker = %s", (series(r),))),
    (1, lambda r: ("UPDATE fees SET maker_fee = %s", (r.randrange(9) / 1000,))),
    (1, lambda r: ("UPDATE markets SET title = title || 'x'", ())),
    (
        1,
        lambda r: (
            (
                "INSERT INTO markets (ticker, event_ticker, series_ticker)"
                " SELECT 'B' || g, event_ticker, series_ticker FROM events,"
                " generate_series(1, 200) g"
                " WHERE event_ticker = %s ON CONFLICT DO NOTHING"
            ),
            (event(r),),
        ),
    ),
    (0.5, lambda r: ("DELETE FROM markets WHERE ticker LIKE 'B%%'", ())),
    (
        1.5,
        lambda r: (
            (
                "UPDATE markets SET deleted_at = CASE WHEN deleted_at IS NULL THEN now() END"
                " WHERE ticker = %s"
            ),
            (market(r),),
        ),
    ),
)


class Writer:
    """Transactions of random changes, some of them taken back; between two it can be held."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], seed: int) -> None:
        self.connection = connection
        self.random = random.Random(seed)
        self.is_idle = asyncio.Lock()
        self.transactions = 0
        self.stopped = False

    async def run(self) -> None:
        while not self.stopped:
            async with self.is_idle:
                with contextlib.suppress(*EXPECTED):
                    await self._transaction()
                await self.connection.execute("ROLLBACK")
                self.transactions += 1
            await asyncio.sleep(0)

    async def _transaction(self) -> None:
        r, execute = self.random, self.connection.execute
        await execute(
            f"BEGIN ISOLATION LEVEL {r.choice(['READ COMMITTED'] * 2 + ['REPEATABLE READ'])}"
        )
        for _ in range(r.choice([1, 1, 1, 2, 3, 6])):
            in_savepoint = r.random() < 0.3
            if in_savepoint:
                await execute("SAVEPOINT one")
            [(_, change)] = r.choices(CHANGES, [weight for weight, _ in CHANGES])
            await execute(*change(r))
            if in_savepoint:
                await execute(r.choice(["ROLLBACK TO one", "RELEASE one"]))
        if r.random() < 0.8:
            await execute("COMMIT")


@pytest.mark.parametrize(
    ("seed", "copies"),
    [
        (1, 30),
        *(
            pytest.param(seed, 200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])
            for seed in range(2, 8)
        ),
    ],
)
async def test_history_tells_every_copy(database: Any, seed: int, copies: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        connection = await stack.enter_async_context(database.connect())
        await notice(connection)
        writers = [
            Writer(await stack.enter_async_context(database.connect()), seed * 100 + n)
            for n in range(WRITERS)
        ]
        witness = Witness(connection)
        r = random.Random(seed)
        async with asyncio.TaskGroup() as group:
            for writer in writers:
                group.create_task(writer.run())
            for number in range(copies):
                quiet = number % 4 == 0
                async with contextlib.AsyncExitStack() as held:
                    if quiet:
                        for writer in writers:
                            await held.enter_async_context(writer.is_idle)
                    await witness.look(quiet=quiet)
                # As much happens in between as chance has it.
                until = sum(w.transactions for w in writers) + r.randrange(12)
                while sum(w.transactions for w in writers) < until:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            for writer in writers:
                writer.stopped = True
        await witness.check()
