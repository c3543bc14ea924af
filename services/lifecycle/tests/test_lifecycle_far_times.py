"""Times that PostgreSQL can hold and Python cannot: one row never stops the others, nor itself."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.connections.loaders import forgive_values
from ssmd_kalshi.feed import Message
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.wire import WireEvent, WireMarket
from ssmd_lifecycle.apply.message_store import MessageStore
from ssmd_lifecycle.apply.recorder import Recorder
from ssmd_lifecycle.apply.resolver import Resolver
from ssmd_lifecycle.clock.scheduler import Scheduler
from ssmd_lifecycle.clock.timed import TimedKind
from ssmd_lifecycle.clock.timed_store import TimedStore
from ssmd_lifecycle.feed.gaps import Gaps
from ssmd_lifecycle.feed.inbox import Inbox
from ssmd_lifecycle.feed.messages import LifecycleMessage
from ssmd_lifecycle.feed.parser import parse_message
from ssmd_lifecycle.filter import FilterFile
from ssmd_lifecycle.repair.rest_upserter import RestUpserter
from ssmd_lifecycle.transactions import Pool
from ssmd_stack.database import Database
from ssmd_store.sessions import Sessions

Connection = psycopg.AsyncConnection[Any]
NOW = datetime.now(UTC).replace(microsecond=0)
FAR = ["-infinity", "infinity", "0044-03-15 12:00:00+00 BC", "15000-06-01 00:00:00+00"]
each_far_time = pytest.mark.parametrize("far", FAR)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest_asyncio.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    opened = await postgres.open_pool(
        SecretStr(database.url), "t", budget_seconds=30, max_size=3, configure=forgive_values
    )
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def recorder(pool: Pool, sessions: Sessions) -> AsyncIterator[Recorder]:
    store = MessageStore(pool)
    async with KalshiRest("http://127.0.0.1:1/trade-api/v2") as rest:
        resolver = Resolver(store, RestUpserter(sessions, rest))
        yield Recorder(Inbox(10), store, resolver, FilterFile(None), batch_messages=100)


async def times_of(connection: Connection, table: str) -> list[str]:
    cursor = await connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        " AND atttypid = 'timestamptz'::regtype ORDER BY attnum",
        (table,),
    )
    return [name for (name,) in await cursor.fetchall()]


async def add_event(connection: Connection) -> None:
    await connection.execute("INSERT INTO series (ticker, title) VALUES ('KXA', 'A')")
    await connection.execute(
        "INSERT INTO events (event_ticker, series_ticker, title) VALUES ('KXA-1', 'KXA', 'A?')"
    )


async def add(connection: Connection, ticker: str, **columns: Any) -> None:
    given = {
        "status": "active",
        "exchange_status": "active",
        "open_time": at(-900),
        "close_time": at(-60),
        "observed_at": at(-900),
        "observed_via": "rest",
        **columns,
    }
    await connection.execute(
        sql.SQL(
            "INSERT INTO markets (ticker, event_ticker, series_ticker, {})"
            " VALUES (%s, 'KXA-1', 'KXA', {})"
        ).format(
            sql.SQL(", ").join(map(sql.Identifier, given)),
            sql.SQL(", ").join([sql.Placeholder()] * len(given)),
        ),
        (ticker, *given.values()),
    )


async def add_one_for_each_time(connection: Connection, far: str, **columns: Any) -> list[str]:
    """A market `KXA-1-<column>` for each time column; the columns' names."""
    await add_event(connection)
    names = await times_of(connection, "markets")
    for name in names:
        await add(connection, f"KXA-1-{name}", **{**columns, name: far})
    return names


async def far_columns(connection: Connection, names: list[str], far: str) -> set[str]:
    """Those of the markets that still have the time that they were given."""
    held = set()
    for name in names:
        query = sql.SQL("SELECT {} = %s::timestamptz FROM markets WHERE ticker = %s")
        cursor = await connection.execute(
            query.format(sql.Identifier(name)), (far, f"KXA-1-{name}")
        )
        if (await cursor.fetchone()) == (True,):
            held.add(name)
    return held


async def words(connection: Connection) -> dict[str, tuple[str, str]]:
    cursor = await connection.execute("SELECT ticker, status, exchange_status FROM markets")
    return {ticker: (status, word) for ticker, status, word in await cursor.fetchall()}


def frame(number: int, ticker: str, event_type: str, **body: Any) -> LifecycleMessage:
    body = {"market_ticker": ticker, "event_type": event_type, **body}
    sent = {"sending_ts_ms": int(at(number).timestamp() * 1000)}
    raw = msgspec.json.encode({"type": "market_lifecycle_v2", "sid": 1, **sent, "msg": body})
    return parse_message(
        Message("market_lifecycle_v2", 1, number, at(number), body, raw, at(number))
    )


@each_far_time
async def test_the_clock_turns_all_others(pool: Pool, connection: Connection, far: str) -> None:
    names = await add_one_for_each_time(connection, far)
    await add(connection, "KXA-1-later", close_time=at(30))
    scheduler = Scheduler(TimedStore(pool))
    await scheduler.catch_up(NOW)
    expected = {f"KXA-1-{name}": "closed" for name in names} | {"KXA-1-later": "active"}
    expected |= {f"KXA-1-{name}": "active" for name in ("close_time", "deleted_at")}
    assert {t: status for t, (status, _) in (await words(connection)).items()} == expected
    assert await far_columns(connection, names, far) >= set(names) - {"observed_at", "updated_at"}
    # Nothing is due again and again, and what is due next is a time.
    assert await TimedStore(pool).due(TimedKind.CLOSED, NOW) == []
    assert await TimedStore(pool).next_due(NOW) == at(30)
    assert await TimedStore(pool).next_due(at(60)) is None


@each_far_time
async def test_the_clock_opens_all_others(pool: Pool, connection: Connection, far: str) -> None:
    waiting = {"status": "open", "exchange_status": "initialized", "open_time": at(-5)}
    names = await add_one_for_each_time(connection, far, **waiting, close_time=at(86_400))
    await Scheduler(TimedStore(pool)).catch_up(NOW)
    expected = {f"KXA-1-{name}": "active" for name in names}
    expected |= {f"KXA-1-{name}": "open" for name in ("open_time", "deleted_at")}
    assert {t: status for t, (status, _) in (await words(connection)).items()} == expected
    assert await TimedStore(pool).due(TimedKind.OPENED, NOW) == []


@each_far_time
async def test_a_frame_is_applied_to_a_row_with_such_a_time(
    recorder: Recorder, connection: Connection, far: str
) -> None:
    names = await add_one_for_each_time(connection, far, close_time=at(86_400))
    await recorder.record([frame(i, f"KXA-1-{n}", "deactivated") for i, n in enumerate(names)])
    for ticker, found in (await words(connection)).items():
        assert found == ("open", "inactive"), ticker
    # Only what the frame is about is written: the time stands as it stood.
    assert await far_columns(connection, names, far) == set(names) - {"observed_at", "updated_at"}
    cursor = await connection.execute(
        "SELECT count(*) FROM market_lifecycle_events WHERE metadata ? 'unreadable'"
    )
    assert await cursor.fetchone() == (0,)


@each_far_time
async def test_a_frame_replaces_such_a_time(
    recorder: Recorder, connection: Connection, far: str
) -> None:
    await add_event(connection)
    await add(connection, "KXA-1-1", close_time=far)
    to = int(at(900).timestamp())
    await recorder.record([frame(1, "KXA-1-1", "close_date_updated", close_ts=to)])
    cursor = await connection.execute("SELECT close_time FROM markets")
    assert await cursor.fetchone() == (at(900),)


@each_far_time
async def test_event_messages_are_applied_to_events_with_such_a_time(
    recorder: Recorder, connection: Connection, far: str
) -> None:
    await add_event(connection)
    names = await times_of(connection, "events")
    messages = []
    for number, name in enumerate(names):
        await connection.execute(
            sql.SQL(
                "INSERT INTO events (event_ticker, series_ticker, {}) VALUES (%s, 'KXA', %s)"
            ).format(sql.Identifier(name)),
            (f"KXA-{name}", far),
        )
        body = {
            "event_ticker": f"KXA-{name}",
            "fee_type_override": "flat",
            "fee_multiplier_override": 2,
        }
        raw = msgspec.json.encode({"type": "event_fee_update", "sid": 1, "msg": body})
        messages.append(
            parse_message(Message("event_fee_update", 1, None, at(number), body, raw, NOW))
        )
    await recorder.record(messages)
    cursor = await connection.execute(
        "SELECT count(*) FROM events WHERE fee_type_override = 'flat'"
    )
    assert await cursor.fetchone() == (len(names),)


@each_far_time
async def test_stored_messages_with_such_a_time_keep_no_later_one_from_counting(
    recorder: Recorder, connection: Connection, pool: Pool, far: str
) -> None:
    await add_event(connection)
    names = await times_of(connection, "market_lifecycle_events")
    messages = []
    for number, name in enumerate(names):
        ticker = f"KXA-1-{name}"
        await add(connection, ticker, close_time=at(86_400))
        await recorder.record([frame(number, ticker, "deactivated")])
        await connection.execute(
            sql.SQL(
                "UPDATE market_lifecycle_events SET {} = %s::timestamptz WHERE market_ticker = %s"
            ).format(sql.Identifier(name)),
            (far, ticker),
        )
        messages.append(frame(number + 60, ticker, "activated"))
    assert set((await words(connection)).values()) == {("open", "inactive")}
    await recorder.record(messages)
    assert set((await words(connection)).values()) == {("active", "active")}
    assert await Gaps(pool).known_until(at(86_400)) == max(m.received_at for m in messages)


@each_far_time
async def test_gaps_and_runs_with_such_a_time_are_read(
    pool: Pool, connection: Connection, far: str
) -> None:
    await connection.execute(
        "INSERT INTO sync_runs (job, scope, started_at, outcome) VALUES"
        " ('a', '{}', %s, 'ok'), ('b', '{}', %s, 'ok')",
        (far, at(-5)),
    )
    await connection.execute(
        "INSERT INTO lifecycle_gaps (reason, began_at) VALUES ('start', %s)", (far,)
    )
    store = Gaps(pool)
    assert await store.known_until(at(0)) == at(-5)
    [interval] = await store.unrepaired()
    # All may be missing.
    assert interval.since == datetime(1970, 1, 1, tzinfo=UTC)


@each_far_time
async def test_rest_writes_rows_with_such_a_time(
    sessions: Sessions, connection: Connection, far: str
) -> None:
    names = await add_one_for_each_time(connection, far, close_time=at(86_400))
    await connection.execute(
        "UPDATE events SET exchange_updated_at = %s, strike_date = %s", (far, far)
    )
    async with KalshiRest("http://127.0.0.1:1/trade-api/v2") as rest:
        upserter = RestUpserter(sessions, rest)
        event = WireEvent(
            event_ticker="KXA-1", series_ticker="KXA", title="New", last_updated_ts=NOW.isoformat()
        )
        assert await upserter.upsert_events([event], await upserter.now()) == {"KXA-1"}
        told = [
            WireMarket(
                ticker=f"KXA-1-{name}",
                event_ticker="KXA-1",
                status="active",
                title="New",
                close_time=at(700).isoformat(),
                updated_time=NOW.isoformat(),
            )
            for name in names
        ]
        assert (await upserter.upsert_markets(told, NOW)).changed == len(names)
        assert (await upserter.upsert_markets(told, NOW)).changed == 0
    cursor = await connection.execute("SELECT title FROM events UNION SELECT title FROM markets")
    assert await cursor.fetchall() == [("New",)]


async def test_a_message_whose_effect_is_refused_is_kept_as_it_is(
    recorder: Recorder, connection: Connection
) -> None:
    await add_event(connection)
    await add(connection, "KXA-1-1", close_time=at(86_400))
    await add(connection, "KXA-1-2", close_time=at(86_400))
    await connection.execute("ALTER TABLE markets ADD CHECK (title <> 'forbidden')")
    batch = [
        frame(1, "KXA-1-1", "metadata_updated", title="forbidden"),
        frame(2, "KXA-1-2", "deactivated"),
    ]
    await recorder.record(batch)
    cursor = await connection.execute(
        "SELECT event_type, metadata -> 'msg' ->> 'title' FROM market_lifecycle_events ORDER BY id"
    )
    assert await cursor.fetchall() == [("metadata_updated", "forbidden"), ("deactivated", None)]
    assert (await words(connection))["KXA-1-2"] == ("open", "inactive")
    # What the message would have changed REST knows.
    assert set(recorder._resolver._markets) == {"KXA-1-1"}


async def test_a_frame_is_applied_to_a_row_with_json_too_deep_for_python(
    recorder: Recorder, connection: Connection
) -> None:
    await add_event(connection)
    deep = '{"a":' * 2000 + "1" + "}" * 2000
    await add(connection, "KXA-1-1", custom_strike=deep, price_ranges=f"[{deep}]", extra=deep)
    with pytest.raises(RecursionError):
        json.loads(deep)
    await recorder.record([frame(1, "KXA-1-1", "deactivated", title="New")])
    cursor = await connection.execute(
        "SELECT exchange_status, title, custom_strike = extra, price_ranges -> 0 = extra,"
        " extra = %s::jsonb FROM markets",
        (deep,),
    )
    assert await cursor.fetchone() == ("inactive", "New", True, True, True)
