"""One unreadable field of a message costs itself; what is said counts wherever it stands."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from psycopg.rows import dict_row
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_kalshi.feed import Message, Unreadable
from ssmd_kalshi.frames import decode_frame
from ssmd_kalshi.unread import KEPT_CHARACTERS
from ssmd_lifecycle import metrics
from ssmd_lifecycle.apply.message_store import MessageStore
from ssmd_lifecycle.feed.gaps import Gaps
from ssmd_lifecycle.feed.inbox import Inbox
from ssmd_lifecycle.feed.listener import Listener
from ssmd_lifecycle.feed.messages import Kind, LifecycleMessage
from ssmd_lifecycle.feed.parser import parse_message, parse_stored, parse_unreadable
from ssmd_lifecycle.feed.silence import Silence
from ssmd_lifecycle.transactions import Pool
from ssmd_stack.database import Database

Connection = psycopg.AsyncConnection[Any]
NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
DEEP = '{"a":' * 2000 + "1" + "}" * 2000


def heard(raw: str | bytes, second: float = 0) -> LifecycleMessage:
    raw = raw.encode() if isinstance(raw, str) else raw
    frame = decode_frame(raw)
    at = NOW + timedelta(seconds=second)
    return parse_message(
        Message(
            frame.type, frame.sid, frame.seq, frame.sent_at, frame.body, raw, at, frame.document
        )
    )


def market(body: str, second: float = 0) -> LifecycleMessage:
    msg = f'{{"market_ticker":"KXA-1-A",{body}}}'
    return heard(f'{{"type":"market_lifecycle_v2","sid":1,"msg":{msg}}}', second)


def event(body: str) -> LifecycleMessage:
    return heard(f'{{"type":"event_lifecycle","msg":{{{body}}}}}')


def rejected(message: LifecycleMessage) -> dict[str, tuple[str, ...]]:
    return {field.field: field.columns for field in message.rejected}


@pytest_asyncio.fixture
async def store(database: Database) -> AsyncIterator[MessageStore]:
    pool: Pool = await postgres.open_pool(
        SecretStr(database.url), "test", budget_seconds=30, max_size=2
    )
    yield MessageStore(pool)
    await pool.close()


async def row(connection: Connection, table: str = "markets") -> dict[str, Any]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(f"SELECT *, xmin::text FROM {table}")
        [found] = await cursor.fetchall()
    return found


async def add_market(connection: Connection, **columns: Any) -> None:
    await connection.execute("INSERT INTO series (ticker) VALUES ('KXA')")
    await connection.execute(
        "INSERT INTO events (event_ticker, series_ticker) VALUES ('KXA-1', 'KXA')"
    )
    await connection.execute(
        "INSERT INTO markets (ticker, event_ticker, series_ticker, status, exchange_status, title,"
        " close_time, floor_strike, custom_strike) VALUES ('KXA-1-A', 'KXA-1', 'KXA', 'active',"
        " 'active', 'Old', '2030-01-01Z', 5, '{\"a\": 1}')"
    )


async def test_a_stored_market_keeps_the_column_and_takes_the_others(
    store: MessageStore, connection: Connection
) -> None:
    await add_market(connection)
    body = (
        '"event_type":"metadata_updated","title":7,"close_ts":"soon","custom_strike":' + DEEP + ","
        '"floor_strike":97499.99,"cap_strike":"98","yes_sub_title":"above","surprise":[NaN]'
    )
    message = market(body, 1)
    assert message.kind is Kind.METADATA_UPDATED
    assert rejected(message) == {
        "title": ("title",),
        "close_ts": ("close_time",),
        "custom_strike": ("custom_strike",),
    }
    outcome = await store.record([message], NOW)
    assert outcome.stored == 1
    found = await row(connection)
    assert (found["title"], found["custom_strike"]) == ("Old", {"a": 1})
    assert found["close_time"] == datetime(2030, 1, 1, tzinfo=UTC)
    assert (found["floor_strike"], found["cap_strike"]) == (Decimal("97499.99"), 98)
    assert found["yes_sub_title"] == "above"
    kept = await row(connection, "market_lifecycle_events")
    words = kept["metadata"]["msg"]
    assert (kept["event_type"], words["title"], words["close_ts"]) == (
        "metadata_updated",
        7,
        "soon",
    )
    beginning = words["custom_strike"]["unreadable"]
    assert beginning.startswith('{"a": ' * 30)
    assert len(beginning) <= KEPT_CHARACTERS
    # The same bad frame again is no news, and writes nothing.
    again = await store.record([market(body, 1)], NOW)
    assert again.stored == 0
    assert await row(connection) == found


async def test_a_new_market_has_null_where_its_message_cannot_be_read(
    store: MessageStore, connection: Connection
) -> None:
    announced = event('"event_ticker":"KXA-1","series_ticker":"KXA","title":5')
    created = market(
        '"event_type":"created","open_ts":-5,"close_ts":4102444800,"additional_metadata":'
        r'{"event_ticker":"KXA-1","title":"a\u0000b","rules_primary":"R","can_close_early":"true",'
        r'"rules_secondary":"\ud800","floor_strike":1}',
        1,
    )
    outcome = await store.record([announced, created], NOW)
    assert (outcome.stored, outcome.unplaced, outcome.incomplete) == (2, [], {"KXA-1-A"})
    found = await row(connection)
    for column in ("title", "open_time", "can_close_early", "extra"):
        assert found[column] is None, column
    assert (found["rules_primary"], found["floor_strike"]) == ("R", 1)
    assert found["close_time"] == datetime(2100, 1, 1, tzinfo=UTC)
    assert (await row(connection, "events"))["title"] is None


@pytest.mark.parametrize(
    "body",
    [
        '"event_type":"teleported"',
        '"event_type":["created"]',
        '"event_type":"settled","market_ticker":5',
        '"event_type":"settled","market_ticker":""',
        r'"event_type":"settled","market_ticker":"a\u0000"',
        r'"event_type":"settled","market_ticker":"\udfff"',
        '"event_type":"settled","market_ticker":"A B"',
        '"event_type":"settled","market_ticker":' + DEEP,
        r'"event_type":"\u0000\ud800"',
    ],
)
async def test_only_who_and_what_make_a_message_unreadable(
    store: MessageStore, connection: Connection, body: str
) -> None:
    message = market(body)
    assert (message.kind, message.applies) == (Kind.UNKNOWN, False)
    assert message.fault
    assert (await store.record([message], NOW)).stored == 1
    assert len((await row(connection, "market_lifecycle_events"))["event_type"]) <= 32


async def test_a_stored_message_reads_back_with_the_same_claims() -> None:
    message = market(
        '"event_type":"created","title":"a\\u0000b","close_ts":5,"custom_strike":{"a":NaN},'
        '"price_ranges":[{"a":"' + "x" * 20_000 + '"}],"additional_metadata":' + DEEP
    )
    again = parse_stored(
        message.whole.encode(), message.sent_at, message.received_at, message.dedupe_key
    )
    assert again is not None
    assert again.whole == message.whole
    assert (again.columns, again.times) == (message.columns, message.times)
    assert again.content_key == message.content_key
    unreadable = {"title", "custom_strike", "price_ranges"}
    assert set(rejected(again)) == set(rejected(message)) == unreadable


async def test_a_message_with_an_unreadable_number_outweighs_a_late_one(
    store: MessageStore, connection: Connection
) -> None:
    await add_market(connection)

    def paused(kind: str, second: int, envelope: str) -> LifecycleMessage:
        sent = int((NOW + timedelta(seconds=second)).timestamp() * 1000)
        msg = f'{{"market_ticker":"KXA-1-A","event_type":"{kind}","odd":[{DEEP}]}}'
        start = f'{{"type":"market_lifecycle_v2","sending_ts_ms":{sent},{envelope},"msg":'
        return heard(f"{start}{msg}}}", 60)

    await store.record([paused("deactivated", 9, '"sid":1,"seq":"x","id":{}')], NOW)
    await store.record([paused("activated", 8, '"sid":1,"seq":2')], NOW)
    assert (await row(connection))["exchange_status"] == "inactive"


async def test_what_is_no_frame_is_kept_as_escaped_cut_text(
    store: MessageStore, connection: Connection
) -> None:
    raw = b'{"type":"\x00\xff\xc3\xa9' + b"[" * 100_000
    await store.record([parse_unreadable(Unreadable(raw, "why", NOW))], NOW)
    text = (await row(connection, "market_lifecycle_events"))["metadata"]["unreadable"]
    assert text.startswith('{"type":"\\u0000\\xffé[[')
    assert len(text) < 17_000


async def test_rejected_fields_are_counted_by_name(pool: Pool) -> None:
    before = {name: metrics.REJECTED.labels(name)._value.get() for name in ("title", "settled_ts")}
    listener = Listener(Inbox(10), Silence(), Gaps(pool))
    await listener.keep(market('"event_type":"settled","title":5,"settled_ts":true,"odd":1e999'))
    for name, count in before.items():
        assert metrics.REJECTED.labels(name)._value.get() == count + 1


# --- where a value stands -------------------------------------------------------------------------


async def test_a_result_that_stands_only_in_the_metadata_counts(
    store: MessageStore, connection: Connection
) -> None:
    await add_market(connection)
    body = (
        '"event_type":"determined","result":"","additional_metadata":{"result":"yes",'
        '"settlement_value":"0.5600","determination_ts":1763694000}'
    )
    outcome = await store.record([market(body)], NOW)
    assert outcome.incomplete == set()
    found = await row(connection)
    assert (found["status"], found["result"]) == ("closed", "yes")
    assert found["settlement_value_dollars"] == Decimal("0.56")
    kept = await row(connection, "market_lifecycle_events")
    assert (kept["result"], kept["determined_ts"]) == ("yes", datetime(2025, 11, 21, 3, tzinfo=UTC))


async def test_every_field_counts_in_the_metadata_and_the_message_itself_wins() -> None:
    inner = {
        "open_ts": 1763694000,
        "close_ts": 1763694001,
        "settled_ts": 1763694002,
        "price_level_structure": "deci_cent",
        "price_ranges": [{"start": "0"}],
        "title": "inner",
        "yes_sub_title": "inner",
    }
    body = (
        f'"event_type":"metadata_updated","title":"own","additional_metadata":{json.dumps(inner)}'
    )
    claims = market(body).columns
    assert (claims["title"], claims["yes_sub_title"]) == ("own", "inner")
    assert claims["close_time"] == datetime(2025, 11, 21, 3, 0, 1, tzinfo=UTC)
    assert set(claims) >= {"open_time", "settled_time", "price_level_structure", "price_ranges"}


async def test_a_determination_without_a_readable_result_is_asked_for(
    store: MessageStore, connection: Connection
) -> None:
    await add_market(connection)
    outcome = await store.record([market('"event_type":"determined","result":5')], NOW)
    assert (await row(connection))["exchange_status"] == "determined"
    assert outcome.incomplete == {"KXA-1-A"}


# --- events without a series ----------------------------------------------------------------------

WITHOUT_SERIES = [
    '"series_ticker":""',
    '"series_ticker":null',
    '"series_ticker":7',
    r'"series_ticker":"\u0000"',
    '"exchange_index":0',
]


@pytest.mark.parametrize("series", WITHOUT_SERIES)
async def test_an_event_without_a_series_is_applied_where_it_is_known(
    store: MessageStore, connection: Connection, series: str
) -> None:
    await add_market(connection)
    await connection.execute("UPDATE events SET title = 'Old', sub_title = 'Old'")
    body = (
        '"event_ticker":"KXA-1","title":"a made-up title","subtitle":"","strike_date":0,' + series
    )
    outcome = await store.record([event(body)], NOW)
    assert (outcome.stored, outcome.unplaced) == (1, [])
    found = await row(connection, "events")
    assert (found["title"], found["sub_title"]) == ("a made-up title", "Old")
    assert (found["series_ticker"], found["strike_date"]) == ("KXA", None)


@pytest.mark.parametrize("series", WITHOUT_SERIES)
async def test_an_event_without_a_series_is_asked_for_where_it_is_unknown(
    store: MessageStore, connection: Connection, series: str
) -> None:
    body = '"event_ticker":"KXA-1","title":"T",' + series
    message = event(body)
    assert message.applies
    outcome = await store.record([message], NOW)
    assert outcome.unplaced == [message]
    # REST knows it: what waited is applied.
    await add_market(connection)
    assert (await store.replay(outcome.unplaced, NOW)).unplaced == []
    assert (await row(connection, "events"))["title"] == "T"


async def test_rests_later_version_of_an_event_stands(
    store: MessageStore, connection: Connection
) -> None:
    await add_market(connection)
    await connection.execute(
        "UPDATE events SET title = 'Newer', exchange_updated_at = %s", (NOW + timedelta(hours=1),)
    )
    body = '"event_ticker":"KXA-1","series_ticker":"KXA","title":"T","subtitle":"S"'
    await store.record([event(body)], NOW)
    found = await row(connection, "events")
    assert (found["title"], found["sub_title"]) == ("Newer", "S")
