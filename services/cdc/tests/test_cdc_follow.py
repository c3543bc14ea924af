"""The stream replayed equals the tables, whatever transactions do."""

import asyncio
from typing import Any

import pytest
from psycopg import sql

from ssmd_cdc import publisher as publisher_module
from ssmd_cdc import session

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
    send, slow = session.Session._send, {"snapshot_begin", "insert"}

    async def send_slowly(self: Any, message: Any) -> None:
        if message.op in slow:
            slow.remove(message.op)
            await asyncio.sleep(1)
        await send(self, message)

    monkeypatch.setattr(session.Session, "_send", send_slowly)
    publisher = bench.start()
    stream = await bench.assert_faithful(publisher)
    assert stream.epochs == {1}
    assert not slow


async def test_what_commits_while_the_state_is_announced_is_told_once(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot has it, so the snapshot must not, although it is read later."""
    open_snapshot = publisher_module.open_snapshot

    async def open_snapshot_late(settings: Any, name: str) -> Any:
        async with bench.database.connect() as db:
            await db.execute(SERIES, ("KXB", "between"))
            await db.execute("UPDATE series SET title = 'changed' WHERE ticker = 'KXA'")
        return await open_snapshot(settings, name)

    monkeypatch.setattr(publisher_module, "open_snapshot", open_snapshot_late)
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
