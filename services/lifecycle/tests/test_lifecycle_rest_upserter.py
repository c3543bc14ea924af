"""What REST tells of single markets, beside what messages and the clock said."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest_asyncio
from psycopg.rows import dict_row

from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.wire import WireMarket
from ssmd_lifecycle.repair.rest_upserter import RestUpserter
from ssmd_store.sessions import Sessions

Connection = psycopg.AsyncConnection[Any]
NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
TICKER = "KXA-1-T1.5"


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def wire(status: str = "active", **fields: Any) -> WireMarket:
    times = {"open_time": at(-60).isoformat(), "close_time": at(600).isoformat()}
    return WireMarket(ticker=TICKER, event_ticker="KXA-1", status=status, **{**times, **fields})


@pytest_asyncio.fixture
async def upserter(sessions: Sessions, connection: Connection) -> AsyncIterator[RestUpserter]:
    await connection.execute("INSERT INTO series (ticker, title) VALUES ('KXA', 'A')")
    await connection.execute(
        "INSERT INTO events (event_ticker, series_ticker, title) VALUES ('KXA-1', 'KXA', 'A?')"
    )
    # Its events are known, so nothing is asked for.
    async with KalshiRest("http://127.0.0.1:1/trade-api/v2") as rest:
        yield RestUpserter(sessions, rest)


async def stored(connection: Connection) -> dict[str, Any]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT m.*, m.xmin::text, e.status AS event_status FROM markets m"
            " JOIN events e USING (event_ticker)"
        )
        row = await cursor.fetchone()
    assert row is not None
    return row


async def test_a_new_market_and_its_event_follow_rest(
    upserter: RestUpserter, connection: Connection
) -> None:
    settled = wire("finalized", result="yes", yes_bid_dollars="0.0")
    written = await upserter.upsert_markets([settled], at(1))
    assert (written.changed, dict(written.transitions)) == (1, {"created": 1})
    row = await stored(connection)
    assert (row["status"], row["result"], row["series_ticker"]) == ("settled", "yes", "KXA")
    assert (row["observed_at"], row["observed_via"], row["yes_bid"]) == (at(1), "rest", 0)
    assert row["event_status"] == "settled"


async def test_what_changes_nothing_writes_nothing(
    upserter: RestUpserter, connection: Connection
) -> None:
    await upserter.upsert_markets([wire()], at(1))
    before = await stored(connection)
    assert (await upserter.upsert_markets([wire()], at(9))).changed == 0
    assert await stored(connection) == before


async def test_a_reply_asked_for_before_a_message_came_does_not_count(
    upserter: RestUpserter, connection: Connection
) -> None:
    await upserter.upsert_markets([wire()], at(1))
    await connection.execute(
        "UPDATE markets SET status = 'open', exchange_status = 'inactive', observed_at = %s,"
        " observed_via = 'ws'",
        (at(5),),
    )
    assert (await upserter.upsert_markets([wire()], at(4.9))).changed == 0
    assert (await upserter.upsert_markets([wire()], at(5.1))).changed == 1
    assert (await stored(connection))["status"] == "active"


async def test_a_reply_on_the_heels_of_a_determination_does_not_reopen(
    upserter: RestUpserter, connection: Connection
) -> None:
    await upserter.upsert_markets([wire()], at(1))
    await connection.execute(
        "UPDATE markets SET status = 'closed', exchange_status = 'determined', observed_at = %s,"
        " observed_via = 'ws'",
        (at(5),),
    )
    assert (await upserter.upsert_markets([wire()], at(5.5))).changed == 0
    assert (await upserter.upsert_markets([wire()], at(60))).changed == 1


async def test_rest_does_not_undo_the_clock(upserter: RestUpserter, connection: Connection) -> None:
    await upserter.upsert_markets([wire()], at(1))
    for status, word, sent in (
        ("closed", "active", {"close_time": at(10).isoformat()}),
        ("active", "initialized", {"open_time": at(10).isoformat()}),
    ):
        await connection.execute(
            "UPDATE markets SET status = %s, observed_via = 'clock', observed_at = %s",
            (status, at(10)),
        )
        assert (
            await upserter.upsert_markets([wire(word, title="New", **sent)], at(10.1))
        ).changed == 1
        assert (await stored(connection))["status"] == status
        await connection.execute("UPDATE markets SET title = NULL")


async def test_only_newer_information_takes_a_market_back_from_settled(
    upserter: RestUpserter, connection: Connection
) -> None:
    said = {"updated_time": at(1).isoformat()}
    settlement = at(2).isoformat()
    await upserter.upsert_markets([wire("finalized", settlement_ts=settlement, **said)], at(3))
    assert (await upserter.upsert_markets([wire("closed", **said)], at(9))).changed == 0
    assert (await stored(connection))["status"] == "settled"
    later = wire("disputed", updated_time=at(8).isoformat())
    assert (await upserter.upsert_markets([later], at(9))).changed == 1
    assert (await stored(connection))["exchange_status"] == "disputed"


async def test_an_unknown_word_keeps_the_status(
    upserter: RestUpserter, connection: Connection
) -> None:
    await upserter.upsert_markets([wire("auction")], at(1))
    assert (await stored(connection))["status"] == "open"
    await upserter.upsert_markets([wire("active")], at(2))
    await upserter.upsert_markets([wire("auction")], at(3))
    row = await stored(connection)
    assert (row["status"], row["exchange_status"]) == ("active", "auction")


async def test_a_market_that_cannot_be_read_is_rejected_and_the_others_are_written(
    upserter: RestUpserter, connection: Connection
) -> None:
    bad = WireMarket(ticker="KXA 1", event_ticker="KXA-1", status="active")
    assert (await upserter.upsert_markets([bad, wire()], at(1))).changed == 1


async def test_a_market_that_comes_back_is_no_longer_deleted(
    upserter: RestUpserter, connection: Connection
) -> None:
    await upserter.upsert_markets([wire()], at(1))
    await connection.execute("UPDATE markets SET deleted_at = %s", (at(2),))
    assert (await upserter.upsert_markets([wire()], at(1.9))).changed == 0
    assert (await upserter.upsert_markets([wire()], at(2))).changed == 1
    assert (await stored(connection))["deleted_at"] is None
