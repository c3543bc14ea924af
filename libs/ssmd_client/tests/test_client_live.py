"""A live view against a running system: what it answers, what it tells, and how it ends."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import nats
import observers
import pytest
import pytest_asyncio
from client_testbed import QUICK, System, assert_view_is_tables, running
from client_universe import fill

from ssmd_client import (
    Client,
    Closed,
    MarketNotActive,
    MarketNotFound,
    NotLoaded,
    Secmaster,
    Unauthorized,
    Unreachable,
)
from ssmd_client.live.messages import Change
from ssmd_stack.ports import free_port

ACTIVE = "KXBTCD-1-T97500.99"
HOUSTON, PITTSBURGH = "KXNBAGAME-1-HOU", "KXNBAGAME-1-PIT"


@pytest_asyncio.fixture
async def system(database: Any, nats_server: Any) -> Any:
    async with database.connect() as connection:
        await fill(connection)
    async with running(database.url, nats_server.url, f"s_{database.name}") as made:
        yield made


async def change(system: System, statement: str) -> None:
    async with await system.connect() as connection:
        await connection.execute(statement)


async def test_what_a_view_knows_and_tells(system: System) -> None:
    """One test for all: what is slow is to start a system."""
    async with (
        system.view("http") as whole,
        system.view("direct", categories=["Crypto", "Sports"]) as some,
        system.view("http", series="KXNBAGAME") as one,
        system.view("direct", series="KXNBAGAME") as same,
    ):
        look_around(whole)
        await load(whole)
        await load(some)
        assert {m.ticker for m in some.markets} == {
            ACTIVE, "KXBTCD-1-T98000", HOUSTON, PITTSBURGH, "KXFAR"
        }  # fmt: skip
        for view in (one, same):
            assert {m.ticker for m in view.markets} == {HOUSTON, PITTSBURGH, "KXFAR"}
            assert view.get(ACTIVE) is None
            # Its type pays makers, and half of what others do.
            assert view.fee(HOUSTON, "taker", "0.5", 100) == Decimal("0.8750")
            assert view.fee(HOUSTON, "maker", "0.5", 100) == Decimal("0.2188")
        await fees_are_those_of_the_api(system, whole)
        await changes_are_told(system, [whole, some, one, same])
        await what_cannot_be_read_is_read_elsewhere(system, [whole, some])
        await categories_change(system, some)


def look_around(view: Secmaster) -> None:
    market = view.require_active(ACTIVE)
    assert market.yes_bid_dollars == Decimal("0.45")
    assert view.category(market) == "Crypto"
    event, series = view.event("KXBTCD-1"), view.series("KXBTCD")
    assert event is not None
    assert event.title == "Bitcoin at five?"
    assert series is not None
    assert series.tags == ["BTC", "Hourly"]
    with pytest.raises(MarketNotFound):
        view.require_active("KXNO")
    with pytest.raises(MarketNotActive) as settled:
        view.require_active("KXBTCD-0-T90000")
    assert settled.value.status == "settled"
    for lacks in (lambda: market.rules_primary, lambda: market.extra, lambda: series.extra):
        with pytest.raises(NotLoaded, match="load"):
            lacks()
    found = {m.ticker for m in view.find(closing_within=timedelta(hours=6), tag="Basketball")}
    assert found == {HOUSTON}
    assert {m.ticker for m in view.find(status="active", is_game=False)} == {ACTIVE}
    assert view.age.is_following
    assert view.age.seconds < 60


async def load(view: Secmaster) -> None:
    market = await view.load(ACTIVE)
    assert market.rules_primary == "If so."
    assert market.custom_strike["big"] == 12345678901234567890123
    with pytest.raises(MarketNotFound):
        await view.load("KXNO")


async def fees_are_those_of_the_api(system: System, view: Secmaster) -> None:
    def asked() -> list[Any]:
        with Client(system.api.url, system.key, retries=QUICK) as client:
            return [
                client.fees.fill(ticker, price, count).cost
                for ticker in ("KXBTCD", "KXNBAGAME")
                for price, count in (("0.01", 1), ("0.55", "7.5"), ("1", 3))
            ]

    costs = await asyncio.to_thread(asked)
    for market in (ACTIVE, HOUSTON):
        for price, count in (("0.01", 1), ("0.55", "7.5"), ("1", 3)):
            cost = costs.pop(0)
            assert view.fee(market, "taker", price, count) == cost.taker_dollars
            assert view.fee(market, "maker", price, count) == cost.maker_dollars


async def changes_are_told(system: System, views: list[Secmaster]) -> None:
    readers = [view.changes(market=HOUSTON, type="market_settled") for view in views]
    called: list[Change] = []
    off = views[0].on("market_settled", called.append)
    waiting = [
        asyncio.create_task(view.wait_until(HOUSTON, "settled", timeout_seconds=60))
        for view in views
    ]
    with pytest.raises(TimeoutError):
        await views[0].wait_until(PITTSBURGH, "closed", timeout_seconds=0.01)
    await change(system, f"UPDATE markets SET title = 'x' WHERE ticker = '{PITTSBURGH}'")
    await change(
        system, f"UPDATE markets SET status = 'settled', result = 'no' WHERE ticker = '{HOUSTON}'"
    )
    for market in await asyncio.gather(*waiting):
        assert market.result == "no"
    for reader in readers:
        item = await anext(reader)
        assert isinstance(item, Change)
        assert {"status", "result"} <= item.columns
        assert (item.before.status, item.row.status) == ("active", "settled")
        assert item.envelope.ticker == HOUSTON
        reader.close()
        with pytest.raises(StopAsyncIteration):
            await anext(reader)
    assert [each.ticker for each in called] == [HOUSTON]
    off()
    gone = [asyncio.create_task(view.wait_until(PITTSBURGH, "settled")) for view in views]
    await change(system, f"UPDATE markets SET deleted_at = now() WHERE ticker = '{PITTSBURGH}'")
    for each in gone:
        with pytest.raises(MarketNotFound):
            await each


async def what_cannot_be_read_is_read_elsewhere(system: System, views: list[Secmaster]) -> None:
    """A stranger's message stands for a row that differs from what the view has."""
    for view in views:
        view._picture.remove("markets", ACTIVE)
    client = await nats.connect(system.nats_url)
    try:
        subject = "cdc.markets.update.KXBTCD.KXBTCD-1.KXBTCD-1-T97500%2E99"
        await client.jetstream(timeout=60).publish(subject, b"no JSON")
    finally:
        await client.close()

    async def shown() -> None:
        assert all(view.get(ACTIVE) for view in views), [view.age for view in views]

    await observers.eventually(shown, 60)


async def categories_change(system: System, view: Secmaster) -> None:
    """What comes into scope was never read: the picture is renewed."""
    assert view.get("KXBTCD-0-T90000") is None
    await change(system, "UPDATE events SET category = NULL WHERE event_ticker = 'KXBTCD-0'")

    async def shown() -> None:
        assert view.get("KXBTCD-0-T90000") is not None
        # The stranger's message makes cdc begin a new epoch: that may renew it, too.
        assert view.age.renewals > 0

    await observers.eventually(shown, 60)
    await assert_view_is_tables(view, system.database_url)


async def test_a_view_ends_where_trying_again_is_no_use(system: System) -> None:
    with pytest.raises(Unauthorized):
        async with Secmaster.connect(system.api.url, "sk_test_00000000_x"):
            pass
    nowhere = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match="does not answer"):
        async with Secmaster.connect(nowhere, "k", patience_seconds=0.3):
            pass
    with pytest.raises(Closed):
        async with system.view("http") as view:
            told = asyncio.create_task(anext(view.changes()))
            waits = asyncio.create_task(view.wait_until(ACTIVE, "settled"))
            await change(system, "UPDATE api_keys SET revoked_at = now()")
            # Its key is remembered for a while.
            for each in (told, waits):
                with pytest.raises(Closed):
                    await each
            assert not view.age.is_following
            # What it knows it still tells.
            assert view.get(ACTIVE) is not None
