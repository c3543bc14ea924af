"""Messages into PostgreSQL: rows and what they change, together."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest_asyncio
from psycopg.rows import dict_row

from ssmd_common.health import Health
from ssmd_common.runtime import Runtime
from ssmd_kalshi.feed import Message
from ssmd_kalshi.rest import KalshiRest
from ssmd_lifecycle.apply.message_store import MessageStore
from ssmd_lifecycle.apply.recorder import Recorder, as_text
from ssmd_lifecycle.apply.resolver import Resolver
from ssmd_lifecycle.feed.inbox import Inbox
from ssmd_lifecycle.feed.messages import LifecycleMessage
from ssmd_lifecycle.feed.parser import parse_message
from ssmd_lifecycle.filter import FilterFile
from ssmd_lifecycle.repair.rest_upserter import RestUpserter
from ssmd_lifecycle.transactions import Pool
from ssmd_stack.database import Database
from ssmd_store.sessions import Sessions

Connection = psycopg.AsyncConnection[Any]
NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
EVENT = "KXA-26NOV21"


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def said(type_: str, sent: float | None, received: float = 0, **body: Any) -> LifecycleMessage:
    sent_at = None if sent is None else at(sent)
    document: dict[str, Any] = {"type": type_, "sid": 1, "msg": body}
    if sent_at is not None:
        document["sending_ts_ms"] = int(sent_at.timestamp() * 1000)
    raw = msgspec.json.encode(document)
    return parse_message(Message(type_, 1, None, sent_at, body, raw, at(received or sent or 0)))


def event(ticker: str = EVENT, sent: float = 0, **more: Any) -> LifecycleMessage:
    body = {
        "event_ticker": ticker,
        "series_ticker": "KXA",
        "title": "What?",
        "subtitle": "Nov 21",
        "collateral_return_type": "MECNET",
        "strike_date": int(at(60).timestamp()),
    }
    return said("event_lifecycle", sent, **body, **more)


def about(
    kind: str, sent: float | None, ticker: str = f"{EVENT}-1", **body: Any
) -> LifecycleMessage:
    if kind == "created":
        body = {
            "open_ts": int(at(10).timestamp()),
            "close_ts": int(at(20).timestamp()),
            "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}],
            "additional_metadata": {
                "event_ticker": EVENT,
                "title": 'Over "97,500.99"?',
                "floor_strike": 97500.99,
                "custom_strike": {"Name": "A, B"},
            },
            **body,
        }
    return said("market_lifecycle_v2", sent, market_ticker=ticker, event_type=kind, **body)


@pytest_asyncio.fixture
async def store(pool: Pool) -> MessageStore:
    return MessageStore(pool)


async def rows(connection: Connection, query: str, *parameters: Any) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()


async def test_an_event_and_its_market_in_one_batch(
    store: MessageStore, connection: Connection
) -> None:
    outcome = await store.record([event(), about("created", 1)], at(1))
    assert (outcome.stored, outcome.unplaced) == (2, [])
    assert outcome.incomplete == {f"{EVENT}-1"}
    [series] = await rows(connection, "SELECT * FROM series")
    assert (series["ticker"], series["title"]) == ("KXA", None)
    [made] = await rows(connection, "SELECT * FROM events")
    assert (made["title"], made["sub_title"], made["status"]) == ("What?", "Nov 21", "open")
    assert made["strike_date"] == at(60)
    [market] = await rows(connection, "SELECT * FROM markets")
    assert (market["event_ticker"], market["series_ticker"]) == (EVENT, "KXA")
    assert (market["status"], market["exchange_status"]) == ("open", "initialized")
    assert market["title"] == 'Over "97,500.99"?'
    assert str(market["floor_strike"]) == "97500.99"
    assert market["custom_strike"] == {"Name": "A, B"}
    assert market["price_ranges"] == [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}]
    assert (market["open_time"], market["close_time"]) == (at(10), at(20))
    assert (market["observed_at"], market["observed_via"]) == (at(1), "ws")
    stored = await rows(connection, "SELECT * FROM market_lifecycle_events ORDER BY id")
    assert [row["event_type"] for row in stored] == ["event_lifecycle", "created"]
    assert stored[1]["metadata"]["msg"]["event_type"] == "created"
    assert (stored[1]["open_ts"], stored[1]["sent_at"]) == (at(10), at(1))


async def test_what_has_no_column_is_in_a_new_events_extra_only(
    store: MessageStore, connection: Connection
) -> None:
    query = "SELECT extra, xmin::text FROM events"
    await store.record([event(exchange_index=2)], at(1))
    before = await rows(connection, query)
    assert before[0]["extra"] == {"exchange_index": 2}
    await store.record([event(sent=2, exchange_index=3)], at(3))
    assert await rows(connection, query) == before


async def test_the_same_batch_again_writes_nothing(
    store: MessageStore, connection: Connection
) -> None:
    batch = [event(), about("created", 1), about("deactivated", 12), about("activated", 13)]
    await store.record(batch, at(14))
    before = await rows(connection, "SELECT xmin::text, * FROM markets")
    outcome = await store.record(batch + batch, at(15))
    assert (outcome.stored, outcome.duplicates) == (0, 8)
    assert await rows(connection, "SELECT xmin::text, * FROM markets") == before
    [count] = await rows(connection, "SELECT count(*) FROM market_lifecycle_events")
    assert count["count"] == 4


async def test_a_message_without_time_is_a_duplicate_only_of_the_last(
    store: MessageStore, connection: Connection
) -> None:
    pause, go = "deactivated", "activated"
    sequence = [(pause, 1), (pause, 2), (go, 3), (pause, 4), (pause, 5)]
    for kind, received in sequence:
        await store.record([about(kind, None, received=received)], at(received))
    stored = await rows(connection, "SELECT event_type FROM market_lifecycle_events ORDER BY id")
    assert [row["event_type"] for row in stored] == [pause, go, pause]
    await store.record([about(kind, None, received=r + 9) for kind, r in sequence[2:]], at(20))
    [count] = await rows(connection, "SELECT count(*) FROM market_lifecycle_events")
    assert count["count"] == 5


async def test_messages_before_their_market_wait_and_count_when_it_comes(
    store: MessageStore, connection: Connection
) -> None:
    early = await store.record(
        [about("close_date_updated", 5, close_ts=int(at(99).timestamp()))], at(5)
    )
    assert [m.event_type for m in early.unplaced] == ["close_date_updated"]
    orphan = await store.record([about("created", 1)], at(6))
    assert [m.event_type for m in orphan.unplaced] == ["created"]
    await store.record([event(sent=0)], at(7))
    placed = await store.replay(orphan.unplaced, at(8))
    assert placed.unplaced == []
    [market] = await rows(connection, "SELECT * FROM markets")
    assert market["close_time"] == at(99)


async def test_a_late_message_is_weighed_against_what_is_stored(
    store: MessageStore, connection: Connection
) -> None:
    def moved(sent: float, to: float) -> LifecycleMessage:
        return about("close_date_updated", sent, close_ts=int(at(to).timestamp()))

    await store.record([event(), about("created", 1)], at(1))
    await store.record([moved(6, 600)], at(6))
    outcome = await store.record([moved(5, 500)], at(7))
    assert (outcome.stored, outcome.duplicates) == (1, 0)
    [market] = await rows(connection, "SELECT * FROM markets")
    assert market["close_time"] == at(600)


async def test_an_event_is_settled_when_all_its_markets_are(
    store: MessageStore, connection: Connection
) -> None:
    async def status() -> str:
        [row] = await rows(connection, "SELECT status FROM events")
        return str(row["status"])

    one, two = f"{EVENT}-1", f"{EVENT}-2"
    await store.record([event(), about("created", 1, one), about("created", 1, two)], at(1))
    await store.record([about("determined", 21, one, result="yes")], at(21))
    assert await status() == "open"
    await store.record([about("determined", 21, two, result="no")], at(21))
    assert await status() == "closed"
    await store.record([about("settled", 22, one, settled_ts=1), about("settled", 22, two)], at(22))
    assert await status() == "settled"


async def test_what_was_heard_on_standby_is_stored_once(store: MessageStore) -> None:
    """The exchange may stamp each connection's copy anew, so keys do not tell."""
    batch = [event(), about("created", 1), about("deactivated", 12), about("activated", 13)]
    await store.record(batch, at(14))
    copies = [
        event(sent=0.002),
        about("created", 1.001),
        about("deactivated", 12.001),
        about("deactivated", 12.001),
        about("activated", 13.002),
        about("deactivated", 13.5),
        about("activated", 60),
    ]
    missing = await store.missing_of(copies)
    assert [(m.event_type, m.sent_at) for m in missing] == [
        ("deactivated", at(13.5)),
        ("activated", at(60)),
    ]


async def test_two_writers_never_leave_an_event_closed(
    store: MessageStore,
    connection: Connection,
    database: Database,
    eventually: Callable[..., Awaitable[Any]],
) -> None:
    """Each would see the other's market unsettled, if the event were not locked first."""
    one, two = f"{EVENT}-1", f"{EVENT}-2"
    await store.record([event(), about("created", 1, one), about("created", 1, two)], at(1))
    ends = [about("determined", 21, one, result="yes"), about("determined", 21, two, result="no")]
    await store.record(ends, at(21))
    async with database.connect(autocommit=False) as other:
        await other.execute(
            "SELECT FROM events WHERE event_ticker = %s FOR NO KEY UPDATE", (EVENT,)
        )
        await other.execute("UPDATE markets SET status = 'settled' WHERE ticker = %s", (two,))
        recording = asyncio.create_task(store.record([about("settled", 22, one)], at(22)))

        async def waits() -> bool:
            query = "SELECT FROM pg_locks WHERE NOT granted"
            return recording.done() or bool(await rows(connection, query))

        await eventually("the second writer", waits)
        await other.commit()
    await recording
    [row] = await rows(connection, "SELECT status FROM events")
    assert row["status"] == "settled"


async def test_an_event_fee_override_is_set_and_cleared(
    store: MessageStore, connection: Connection
) -> None:
    def fee(sent: float, kind: str | None, multiplier: float | None) -> LifecycleMessage:
        return said(
            "event_fee_update",
            sent,
            event_ticker=EVENT,
            fee_type_override=kind,
            fee_multiplier_override=multiplier,
        )

    await store.record([event(), fee(3, "quadratic", 0.5)], at(3))
    [row] = await rows(connection, "SELECT * FROM events")
    assert (row["fee_type_override"], str(row["fee_multiplier_override"])) == ("quadratic", "0.5")
    await store.record([fee(5, None, None), fee(4, "flat", 2)], at(5))
    [row] = await rows(connection, "SELECT * FROM events")
    assert (row["fee_type_override"], row["fee_multiplier_override"]) == (None, None)


async def test_unknown_and_multivariate_messages_are_kept_and_change_nothing(
    store: MessageStore, connection: Connection
) -> None:
    strange = said("market_lifecycle_v2", 1, market_ticker=f"{EVENT}-1", event_type="teleported")
    combo = said(
        "multivariate_market_lifecycle",
        2,
        market_ticker="KXMVE-1",
        event_type="created",
        additional_metadata={"event_ticker": "KXMVE"},
    )
    # The exchange has a channel for it; on the other one it would make rows of strangers.
    stray = said(
        "market_lifecycle_v2",
        2,
        market_ticker="KXMVE-2",
        event_type="created",
        additional_metadata={"event_ticker": "KXMVE-E2"},
    )
    over = said("market_lifecycle_v2", 2, market_ticker="KXMVE-3", event_type="settled")
    outcome = await store.record([strange, combo, stray, over], at(2))
    assert (outcome.stored, outcome.unplaced) == (4, [])
    assert await rows(connection, "SELECT * FROM markets") == []


async def test_a_message_that_postgres_does_not_take_is_kept_as_text(
    store: MessageStore, connection: Connection
) -> None:
    message = said("market_lifecycle_v2", 1, market_ticker=f"{EVENT}-1", event_type="x")
    await store.record([as_text(message)], at(1))
    [row] = await rows(connection, "SELECT * FROM market_lifecycle_events")
    assert msgspec.json.decode(row["metadata"]["unreadable"])["msg"]["event_type"] == "x"


async def test_all_or_nothing(
    store: MessageStore, connection: Connection, eventually: Callable[..., Awaitable[Any]]
) -> None:
    """A batch whose changes cannot be written leaves no row of its messages either."""
    await connection.execute("ALTER TABLE markets ADD CHECK (title <> 'forbidden')")
    bad = about("created", 1, additional_metadata={"event_ticker": EVENT, "title": "forbidden"})
    try:
        await store.record([event(), bad], at(1))
    except psycopg.errors.CheckViolation:
        pass
    else:
        raise AssertionError("the check did not bite")
    assert await rows(connection, "SELECT * FROM market_lifecycle_events") == []
    assert await rows(connection, "SELECT * FROM events") == []


async def test_a_column_whose_type_is_changed_meanwhile_is_met(
    store: MessageStore, connection: Connection
) -> None:
    await store.record([event(), about("created", 1)], at(1))
    # Statements are prepared when they come again and again.
    for second in range(2, 12):
        await store.record([about("metadata_updated", second, title=f"{second}")], at(second))
    await connection.execute(
        "DROP TRIGGER history_updated ON markets;"
        "ALTER TABLE markets ALTER COLUMN strike_type TYPE varchar(1000);"
        "SELECT history.watch('markets')"
    )
    await store.record([about("metadata_updated", 12, title="after")], at(12))
    [market] = await rows(connection, "SELECT title FROM markets")
    assert market["title"] == "after"


async def test_a_row_that_another_writer_inserts_meanwhile_is_met(
    store: MessageStore, connection: Connection, database: Database
) -> None:
    await store.record([event()], at(0))
    async with database.connect(autocommit=False) as other:
        await other.execute(
            "INSERT INTO markets (ticker, event_ticker, series_ticker, status, observed_at,"
            " observed_via, close_time) VALUES (%s, %s, 'KXA', 'active', %s, 'rest', %s)",
            (f"{EVENT}-1", EVENT, at(5), at(77)),
        )
        recording = asyncio.create_task(
            store.record([about("created", 1), about("determined", 3, result="yes")], at(3))
        )
        await asyncio.sleep(0.2)
        await other.commit()
    outcome = await recording
    assert outcome.stored == 2
    [market] = await rows(connection, "SELECT * FROM markets")
    assert (market["close_time"], market["status"], market["result"]) == (at(77), "closed", "yes")


async def test_the_recorder_says_what_is_not_recorded_yet(
    store: MessageStore,
    connection: Connection,
    database: Database,
    sessions: Sessions,
    eventually: Callable[..., Awaitable[Any]],
) -> None:
    """Rows of what REST reported wait for it: the message may be on its way to its row."""
    inbox = Inbox(10)
    inbox.lead()
    async with KalshiRest("http://127.0.0.1:1/trade-api/v2") as rest, asyncio.TaskGroup() as tasks:
        resolver = Resolver(store, RestUpserter(sessions, rest))
        recorder = Recorder(inbox, store, resolver, FilterFile(None), batch_messages=1)
        runtime = Runtime(Health("test"), tasks)
        assert not inbox.is_behind(at(99))
        await inbox.put(event(sent=1))
        await inbox.put(about("created", 2))
        assert inbox.is_behind(at(1))
        assert not inbox.is_behind(at(0.9))
        async with database.connect(autocommit=False) as other:
            await other.execute("LOCK TABLE market_lifecycle_events IN EXCLUSIVE MODE")
            running = tasks.create_task(recorder.run(runtime))

            async def waits() -> bool:
                return len(inbox) == 1

            await eventually("the first is being recorded", waits)
            assert inbox.is_behind(at(1))

        async def recorded() -> bool:
            return not inbox.is_behind(at(99))

        await eventually("both are recorded", recorded)
        query = "SELECT FROM market_lifecycle_events WHERE sent_at IS NOT NULL"
        assert len(await rows(connection, query)) == 2
        runtime.stop.set()
        await running
