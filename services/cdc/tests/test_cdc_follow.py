"""The stream replayed equals the tables, whatever transactions do."""

import asyncio
import re
from typing import Any

import pytest
from psycopg import sql

from ssmd_cdc import supervisor
from ssmd_cdc.publish.stream_publisher import StreamPublisher

SERIES = "INSERT INTO series (ticker, title) VALUES (%s, %s)"
EVENT = "INSERT INTO events (event_ticker, series_ticker, title) VALUES (%s, %s, %s)"
MARKET = (
    "INSERT INTO markets (ticker, event_ticker, series_ticker, status, yes_bid_dollars, extra)"
    " VALUES (%s, %s, %s, 'active', 0.4500, '{\"a\": [1, null, \"x\"]}')"
)


async def test_first_start_announces_what_is_there_and_then_follows(bench: Any) -> None:
    async with bench.database.connect() as db:
        await db.execute(SERIES, ("KXA", "before"))
        publisher = bench.start()
        await publisher.ready()
        await db.execute(SERIES, ("KXB", "after"))
        stream = await bench.assert_faithful(publisher)
    assert {body["epoch"] for body in stream.bodies} == {1}
    begin = [body for body in stream.bodies if body["op"] == "snapshot_begin"]
    final = [body for body in stream.bodies if body.get("final")]
    assert len(begin) == 6
    assert len(final) == 1
    by_ticker = {body["ticker"]: body for body in stream.bodies if body["table"] == "series"}
    assert by_ticker["KXA"]["xid"] is None
    assert by_ticker["KXB"]["xid"] > 0
    fee = next(b for b in stream.bodies if b["table"] == "fees" and b["op"] == "insert")
    assert fee["data"] == {"tier": "default", "maker_fee": "0.017500", "taker_fee": "0.070000"}


@pytest.mark.parametrize("setting", ["statement_timeout", "idle_in_transaction_session_timeout"])
async def test_an_announcement_may_take_longer_than_a_statement(
    bench: Any, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """NATS is slow while the snapshot is open, and while more is read than all buffers hold."""
    async with bench.database.connect() as db:
        await db.execute(
            "INSERT INTO series (ticker, title)"
            " SELECT 'S' || g, repeat('x', 500000) FROM generate_series(1, 60) g"
        )
        await db.execute(
            sql.SQL("ALTER DATABASE {} SET {} = '500ms'").format(
                sql.Identifier(bench.database.name), sql.Identifier(setting)
            )
        )
    send, slow = StreamPublisher.send, {"snapshot_begin", "insert"}

    async def send_slowly(self: Any, messages: Any) -> None:
        for op in {message.op for message in messages} & slow:
            slow.remove(op)
            await asyncio.sleep(1)
        await send(self, messages)

    monkeypatch.setattr(StreamPublisher, "send", send_slowly)
    publisher = bench.start()
    stream = await bench.assert_faithful(publisher)
    assert stream.epochs == {1}
    assert not slow


async def test_what_commits_while_the_state_is_announced_is_told_once(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot has it, so the snapshot must not, although it is read later."""
    open_snapshot = supervisor.open_snapshot

    async def open_snapshot_late(settings: Any, name: str, beside: Any) -> Any:
        async with bench.database.connect() as db:
            await db.execute(SERIES, ("KXB", "between"))
            await db.execute("UPDATE series SET title = 'changed' WHERE ticker = 'KXA'")
        return await open_snapshot(settings, name, beside)

    monkeypatch.setattr(supervisor, "open_snapshot", open_snapshot_late)
    async with bench.database.connect() as db:
        await db.execute(SERIES, ("KXA", "before"))
    stream = await bench.assert_faithful(bench.start())
    told = [(b["op"], b["ticker"], b["xid"] is None) for b in stream.bodies if b["ticker"]]
    assert [one for one in told if one[1] in ("KXA", "KXB")] == [
        ("insert", "KXA", True),
        ("insert", "KXB", False),
        ("update", "KXA", False),
    ]


async def test_a_day_in_the_life_of_a_market(bench: Any) -> None:
    publisher = bench.start()
    await publisher.leading()
    async with bench.database.connect() as db:
        async with db.transaction():
            await db.execute(SERIES, ("KXA", 'quote " backslash \\ newline \n emoji 🎲'))
            await db.execute(EVENT, ("KXA-1", "KXA", None))
            await db.execute(MARKET, ("KXA-1.5", "KXA-1", "KXA"))
        for change in (
            "status = 'closed', exchange_status = 'closed'",
            "exchange_status = 'determined', result = 'yes'",
            "status = 'settled', exchange_status = 'finalized', settled_time = now()",
            "deleted_at = now()",
            "deleted_at = NULL",
        ):
            await db.execute(f"UPDATE markets SET {change}")
        await db.execute("DELETE FROM markets")
    stream = await bench.assert_faithful(publisher)
    markets = [body for body in stream.bodies if body["table"] == "markets" and body["xid"]]
    assert [body["type"] for body in markets] == [
        "market_added",
        "market_closed",
        "market_determined",
        "market_settled",
        "market_removed",
        "market_added",
        "market_removed",
    ]
    subjects = [subject for _, subject, _, body in stream.messages if body["table"] == "markets"]
    assert "cdc.markets.update.KXA.KXA-1.KXA-1%2E5" in subjects
    closed = markets[1]
    assert closed["changes"]["status"] == {"old": "active", "new": "closed"}
    assert closed["data"]["yes_bid_dollars"] == "0.450000"


STATE_TABLES = ("series", "events", "markets", "series_fees", "fees")


async def fill_the_log(bench: Any, count: int, age: str = "1 minute") -> None:
    async with bench.database.connect() as db:
        await db.execute(
            "INSERT INTO market_lifecycle_events"
            " (market_ticker, event_type, metadata, received_at, dedupe_key)"
            " SELECT 'M' || g, 'activated', jsonb_build_object('text', repeat('x', 3000)),"
            "        now() - %s::interval, %s || g"
            " FROM generate_series(1, %s) g",
            (age, age, count),
        )


async def test_a_long_log_does_not_push_the_state_out_of_the_stream(bench: Any) -> None:
    """Three times what the stream keeps; the state before it is whole, and the epoch ends."""
    async with bench.database.connect() as db:
        await db.execute(SERIES, ("KXA", "x" * 100_000))
        await db.execute(
            "INSERT INTO series (ticker) SELECT 'S' || g FROM generate_series(1, 300) g"
        )
    await fill_the_log(bench, 1000)
    publisher = bench.start(cdc_stream_max_bytes=1 << 20)
    await publisher.ready()
    stream = await bench.settled(publisher)
    stream.assert_in_order()
    assert (stream.first, stream.epochs) == (1, {1})
    [*_, last] = stream.bodies
    assert (last["op"], last["table"], last["final"]) == (
        "snapshot_end", "market_lifecycle_events", True
    )  # fmt: skip
    replayed, tables = stream.replay(), await bench.tables()
    for table in STATE_TABLES:
        assert replayed.get(table, {}) == tables[table], table
    # The newest of the log, and no more than an eighth of the stream.
    told = [row["market_ticker"] for row in replayed["market_lifecycle_events"].values()]
    assert 20 < len(told) < (1 << 20) // 8 // 3000
    assert told == [f"M{number}" for number in range(1001 - len(told), 1001)]
    assert publisher.health.degraded == {}


async def test_of_the_log_nothing_is_announced_that_the_stream_would_have_dropped(
    bench: Any,
) -> None:
    await fill_the_log(bench, 3, age="8 days")
    await fill_the_log(bench, 2, age="6 days")
    publisher = bench.start()
    stream = await bench.settled(publisher)
    told = [b for b in stream.bodies if b["op"] == "insert" and b["ticker"]]
    assert [body["data"]["market_ticker"] for body in told] == ["M1", "M2"]
    # From now on every row is, as ever.
    await fill_the_log(bench, 1, age="9 days")
    stream = await bench.settled(publisher)
    assert stream.bodies[-1]["type"] == "lifecycle_recorded"


async def test_a_stream_too_small_for_the_state_says_so(bench: Any) -> None:
    async with bench.database.connect() as db:
        await db.execute(
            "INSERT INTO series (ticker, title)"
            " SELECT 'S' || g, repeat('x', 3000) FROM generate_series(1, 500) g"
        )
    await fill_the_log(bench, 10)
    publisher = bench.start(cdc_stream_max_bytes=1 << 20)
    await publisher.ready()
    stream = await bench.settled(publisher)
    # It ends all the same, once, without the log.
    assert stream.first > 1
    assert stream.epochs == {1}
    assert stream.bodies[-1]["final"]
    assert not [b for b in stream.bodies if b["type"] == "lifecycle_recorded"]
    assert "CDC_STREAM_MAX_BYTES is too small" in publisher.health.degraded["stream"]
    counted = int(re.search(r"takes (\d+) bytes", publisher.health.degraded["stream"])[1])
    assert 1_600_000 < counted < 2_500_000
