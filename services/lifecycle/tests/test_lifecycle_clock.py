"""The clock's transitions in PostgreSQL."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import class_row
from pydantic import SecretStr

from ssmd_common.health import Health
from ssmd_common.runtime import Runtime
from ssmd_lifecycle.apply.transitions import MarketState
from ssmd_lifecycle.clock.scheduler import Scheduler
from ssmd_lifecycle.clock.timed import TimedKind, TimedTransition, due
from ssmd_lifecycle.clock.timed_store import TimedStore, chunked
from ssmd_lifecycle.transactions import Pool
from ssmd_stack.database import Database
from ssmd_store import clock
from ssmd_store.rules import OPENING_GRACE, STAMPED_AHEAD

Connection = psycopg.AsyncConnection[Any]
NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)


async def add(connection: Connection, ticker: str, **columns: Any) -> None:
    await connection.execute("INSERT INTO series (ticker) VALUES ('KXA') ON CONFLICT DO NOTHING")
    await connection.execute(
        "INSERT INTO events (event_ticker, series_ticker) VALUES ('KXA-1', 'KXA')"
        " ON CONFLICT DO NOTHING"
    )
    given = {
        "status": "open",
        "exchange_status": "initialized",
        "open_time": None,
        "close_time": None,
        "observed_at": NOW - timedelta(days=1),
        "observed_via": "ws",
        "deleted_at": None,
        **columns,
    }
    names = ", ".join(given)
    await connection.execute(
        f"INSERT INTO markets (ticker, event_ticker, series_ticker, {names})"
        f" VALUES (%s, 'KXA-1', 'KXA', {', '.join(['%s'] * len(given))})",
        (ticker, *given.values()),
    )


async def test_the_query_and_the_rule_agree(pool: Pool, connection: Connection) -> None:
    moments = [None, NOW - timedelta(hours=1), NOW, NOW + timedelta(seconds=1)]
    observed = [("ws", NOW), ("rest", NOW - timedelta(hours=1)), ("rest", NOW), (None, None)]
    # By a clock that was wrong: it proves nothing.
    observed.append(("rest", NOW + timedelta(hours=1)))
    words = [
        ("open", "initialized"),
        ("open", None),
        ("open", "inactive"),
        ("active", "active"),
        ("active", "initialized"),
        ("closed", "active"),
        ("settled", "finalized"),
        ("open", "auction"),
    ]
    for number, (opens, closes, (via, seen), (status, word), gone) in enumerate(
        itertools.product(moments, moments, observed, words, [None, NOW])
    ):
        await add(
            connection,
            f"KXA-1-{number}",
            status=status,
            exchange_status=word,
            open_time=opens,
            close_time=closes,
            observed_at=seen,
            observed_via=via,
            deleted_at=gone,
        )
    async with connection.cursor(row_factory=class_row(MarketState)) as cursor:
        await cursor.execute(
            "SELECT ticker, event_ticker, series_ticker, status, exchange_status, open_time,"
            " close_time, observed_at, observed_via, deleted_at FROM markets"
        )
        markets = await cursor.fetchall()
    expected = {market.ticker: due(market, NOW) for market in markets}
    store = TimedStore(pool)
    opening = {found.ticker for found in await store.due(TimedKind.OPENED, NOW)}
    closing = {found.ticker for found in await store.due(TimedKind.CLOSED, NOW)}
    assert opening == {t for t, d in expected.items() if d and d.kind is TimedKind.OPENED}
    # What is due for both opens first, and closes at the next look.
    assert closing - opening == {t for t, d in expected.items() if d and d.kind is TimedKind.CLOSED}
    assert len(opening) > 20
    assert len(closing) > 20


async def test_a_market_that_slept_through_both_opens_and_closes_once(
    pool: Pool, connection: Connection
) -> None:
    opened, closed = NOW - timedelta(hours=2), NOW - timedelta(hours=1)
    await add(connection, "KXA-1-1", open_time=opened, close_time=closed)
    scheduler = Scheduler(TimedStore(pool))
    assert len(await scheduler.catch_up(NOW)) == 2
    assert await scheduler.catch_up(NOW) == []
    rows = await (
        await connection.execute(
            "SELECT event_type, open_ts, close_ts, event_ticker, metadata ->> 'source'"
            " FROM market_lifecycle_events ORDER BY id"
        )
    ).fetchall()
    assert rows == [
        ("opened", opened, None, "KXA-1", "clock"),
        ("closed", None, closed, "KXA-1", "clock"),
    ]
    [row] = await (
        await connection.execute("SELECT status, exchange_status, observed_via FROM markets")
    ).fetchall()
    assert row == ("closed", "initialized", "clock")
    [(event,)] = await (await connection.execute("SELECT status FROM events")).fetchall()
    assert event == "closed"


async def test_a_transition_that_comes_again_has_one_row(
    pool: Pool, connection: Connection
) -> None:
    await add(connection, "KXA-1-1", open_time=NOW)
    scheduler = Scheduler(TimedStore(pool))
    await scheduler.catch_up(NOW)
    await connection.execute("UPDATE markets SET status = 'open'")
    await scheduler.catch_up(NOW)
    [(status,)] = await (await connection.execute("SELECT status FROM markets")).fetchall()
    [(count,)] = await (
        await connection.execute("SELECT count(*) FROM market_lifecycle_events")
    ).fetchall()
    assert (status, count) == ("active", 1)


async def test_more_than_one_chunk_is_made_at_once(pool: Pool, connection: Connection) -> None:
    await add(connection, "KXA-1-0", open_time=NOW)
    await connection.execute(
        "INSERT INTO markets (ticker, event_ticker, series_ticker, status, exchange_status,"
        " open_time, observed_via) SELECT 'KXA-1-' || n, 'KXA-1', 'KXA', 'open', 'initialized',"
        " %s, 'ws' FROM generate_series(1, 4500) n",
        (NOW,),
    )
    assert len(await Scheduler(TimedStore(pool)).catch_up(NOW)) == 4501
    [(count,)] = await (
        await connection.execute(
            "SELECT count(*) FROM markets m JOIN market_lifecycle_events l"
            " ON l.market_ticker = m.ticker WHERE m.status = 'active'"
        )
    ).fetchall()
    assert count == 4501


def test_a_chunk_never_shares_its_events_with_another() -> None:
    sizes = {"KXA-1": 900, "KXA-2": 900, "KXA-3": 5000, "KXA-4": 1}
    chosen = [
        TimedTransition(TimedKind.OPENED, f"{event}-{number}", event, NOW)
        for number in range(5000)
        for event, size in sizes.items()
        if number < size
    ]
    chunks = chunked(chosen)
    assert [len(chunk) for chunk in chunks] == [1800, 5000, 1]
    assert sorted(map(str, chosen)) == sorted(str(due) for chunk in chunks for due in chunk)
    assert chunked([]) == []


async def test_next_due_is_the_earliest_of_opening_and_closing(
    pool: Pool, connection: Connection
) -> None:
    store = TimedStore(pool)
    assert await store.next_due(NOW) is None
    await add(connection, "KXA-1-1", status="active", close_time=NOW + timedelta(seconds=9))
    await add(connection, "KXA-1-2", close_time=NOW + timedelta(seconds=8))
    assert await store.next_due(NOW) == NOW + timedelta(seconds=8)
    await add(connection, "KXA-1-3", open_time=NOW + timedelta(seconds=7))
    await add(connection, "KXA-1-4", open_time=NOW)
    assert await store.next_due(NOW) == NOW + timedelta(seconds=7)


@pytest.mark.parametrize("query", ["due_openings", "due_closings", "next_due"])
async def test_the_clocks_queries_use_their_indexes(connection: Connection, query: str) -> None:
    await add(connection, "KXA-1-0", open_time=NOW)
    await connection.execute(
        "INSERT INTO markets (ticker, event_ticker, series_ticker, status, exchange_status,"
        " open_time, close_time) SELECT 'KXA-1-' || n, 'KXA-1', 'KXA',"
        " CASE n %% 20 WHEN 0 THEN 'open' WHEN 1 THEN 'active' ELSE 'settled' END, 'initialized',"
        " %s + n * interval '1 s', %s + n * interval '2 s' FROM generate_series(1, 20000) n",
        (NOW, NOW),
    )
    await connection.execute("ANALYZE markets")
    plan = await (
        await connection.execute(
            "EXPLAIN " + getattr(clock.QUERIES, query),
            {"now": NOW, "limit": 2000, "grace": OPENING_GRACE, "ahead": STAMPED_AHEAD},
        )
    ).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "Seq Scan" not in text, text


async def test_a_transition_that_rest_showed_first_has_its_row(
    pool: Pool, connection: Connection
) -> None:
    store = TimedStore(pool)
    closes = NOW + timedelta(seconds=9)
    await add(connection, "KXA-1-1", open_time=NOW, close_time=closes)
    await add(connection, "KXA-1-2", open_time=NOW, close_time=closes)
    expected = await store.due_at(NOW)
    assert [(due.kind, due.ticker) for due in sorted(expected, key=lambda d: d.ticker)] == [
        (TimedKind.OPENED, "KXA-1-1"),
        (TimedKind.OPENED, "KXA-1-2"),
    ]
    await connection.execute(
        "UPDATE markets SET status = 'active', observed_via = 'rest' WHERE ticker = 'KXA-1-1'"
    )
    assert await store.note(expected, NOW) == 1
    assert await store.note(expected, NOW) == 0
    await connection.execute("UPDATE markets SET close_time = %s", (NOW,))
    closing = await store.due_at(NOW)
    await connection.execute("UPDATE markets SET status = 'settled', close_time = now()")
    # It closed at another time than was expected: that is another transition.
    assert await store.note([due for due in closing if due.kind is TimedKind.CLOSED], NOW) == 0
    rows = await (
        await connection.execute("SELECT event_type, market_ticker FROM market_lifecycle_events")
    ).fetchall()
    assert rows == [("opened", "KXA-1-1")]


class _Recording(TimedStore):
    """Only notes which instants it was asked about."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, datetime]] = []
        self.runtime: Runtime | None = None

    async def due(self, kind: TimedKind, now: datetime) -> list[Any]:
        self.asked.append(("due", now))
        return []

    async def early(self, now: datetime) -> list[Any]:
        return []

    async def next_due(self, now: datetime) -> datetime | None:
        self.asked.append(("next", now))
        assert self.runtime is not None
        self.runtime.stop.set()
        return None


async def test_nothing_falls_between_two_readings_of_the_clock() -> None:
    store = _Recording()
    async with asyncio.TaskGroup() as tasks:
        store.runtime = Runtime(Health("test"), tasks)
        await Scheduler(store).run(store.runtime)
    assert [what for what, _ in store.asked] == ["due", "due", "next"]
    assert len({now for _, now in store.asked}) == 1


async def test_the_clock_hears_of_what_is_due_soon(
    database: Database,
    connection: Connection,
    pool: Pool,
    eventually: Callable[..., Awaitable[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It sleeps for an hour; nobody but the database wakes it."""
    monkeypatch.setattr("ssmd_lifecycle.clock.scheduler.RECHECK_SECONDS", 3600.0)
    scheduler = Scheduler(TimedStore(pool))
    async with asyncio.TaskGroup() as tasks:
        runtime = Runtime(Health("test"), tasks)
        listening = tasks.create_task(scheduler.listen(SecretStr(database.url), budget_seconds=30))
        running = tasks.create_task(scheduler.run(runtime))

        async def listens() -> bool:
            query = "SELECT FROM pg_stat_activity WHERE query ~ 'LISTEN ssmd' AND state = 'idle'"
            return bool(await (await connection.execute(query)).fetchall())

        await eventually("it listens", listens)
        looked_at = scheduler.looked_at
        await add(connection, "KXA-1-1", open_time=datetime.now(UTC) + timedelta(seconds=1))

        async def opened() -> bool:
            query = "SELECT FROM markets WHERE status = 'active'"
            return bool(await (await connection.execute(query)).fetchall())

        await eventually("an open market", opened)
        assert scheduler.looked_at > looked_at
        runtime.stop.set()
        await running
        listening.cancel()


async def test_another_writers_market_that_is_due_soon_is_announced(
    database: Database,
    connection: Connection,
    pool: Pool,
    eventually: Callable[..., Awaitable[Any]],
) -> None:
    """By the database, to whoever listens."""
    announced: list[str] = []
    note = announced.append

    async def listen() -> None:
        async with database.connect() as listener:
            await listener.execute("LISTEN ssmd_due")
            announced.append("listening")
            async for notice in listener.notifies():
                note(notice.channel)

    async def heard(count: int) -> bool:
        return len(announced) >= count

    task = asyncio.create_task(listen())
    await eventually("listening", lambda: heard(1))
    real_now = datetime.now(UTC)
    await add(connection, "KXA-1-1", open_time=real_now + timedelta(hours=1))
    await add(connection, "KXA-1-2", open_time=real_now + timedelta(seconds=3))
    await eventually("an insert is announced", lambda: heard(2))
    await connection.execute(
        "UPDATE markets SET close_time = now() + interval '2 s' WHERE ticker = 'KXA-1-1'"
    )
    await eventually("an update is announced", lambda: heard(3))
    await connection.execute("UPDATE markets SET title = 'x'")
    await connection.execute("UPDATE markets SET status = 'closed'")
    await connection.execute("NOTIFY ssmd_due")
    await eventually("the last one", lambda: heard(4))
    assert announced == ["listening", *["ssmd_due"] * 3]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
