"""Fewer columns, and the past, of a real API."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from client_testbed import Api

from ssmd_client import BadParameter, Client, NotFound, NotLoaded
from ssmd_stack.database import Database


async def test_rows_with_fewer_columns(api: Api) -> None:
    def asked(client: Client) -> None:
        some = client.markets(fields=["ticker", "yes_bid_dollars", "event.title"], sort="ticker")
        market = {each.ticker: each for each in some}["KXBTCD-1-T97500.99"]
        assert market.yes_bid_dollars == Decimal("0.45")
        assert market.event.title == "Bitcoin at five?"
        for lacks in (lambda: market.status, lambda: market.series, lambda: market.event.status):
            with pytest.raises(NotLoaded, match="left out"):
                lacks()
        assert some.to_arrow().column_names == ["ticker", "yes_bid_dollars", "event.title"]
        [event] = client.events(series="KXNBAGAME", exclude="extra,title")
        assert event.market_count == 3
        assert not hasattr(event, "title")
        one = client.market("KXFAR", exclude=["series", "rules_primary"])
        assert one.close_time is None
        assert one.event.event_ticker == "KXNBAGAME-1"
        assert not hasattr(one, "series")
        assert client.event("KXBTCD-1", fields="title,series.title").series.title == "Bitcoin price"
        assert client.series("KXBTCD", fields="tags").tags == ["BTC", "Hourly"]
        with pytest.raises(BadParameter, match="statu"):
            client.markets(fields="statu").all()

    await api.ask(asked)


async def test_the_past(api: Api, database: Database) -> None:
    before = datetime.now(UTC)
    async with database.connect() as connection:
        row = await (await connection.execute("SELECT clock_timestamp()")).fetchone()
        assert row is not None
        before = row[0]
        await connection.execute("UPDATE markets SET status = 'closed' WHERE ticker LIKE 'KXNBA%'")
        await connection.execute("DELETE FROM markets WHERE ticker = 'KXNBAGAME-1-PIT'")

    def asked(client: Client) -> None:
        then = client.markets(series="KXNBAGAME", status="active", as_of=before)
        assert len(then.all()) == 2
        assert client.markets(series="KXNBAGAME", status="active").all() == []
        market = client.market("KXNBAGAME-1-PIT", as_of=before)
        assert (market.status, market.volume) == ("active", None)
        with pytest.raises(NotFound):
            client.market("KXNBAGAME-1-PIT")
        found = client.lookup(["KXNBAGAME-1-PIT"], as_of=before)
        assert [each.status for each in found.markets] == ["active"]
        assert client.lookup(["KXNBAGAME-1-PIT"]).missing == ["KXNBAGAME-1-PIT"]
        removed, changed, added = client.history.market("KXNBAGAME-1-PIT")
        assert [removed.kind, changed.kind, added.kind] == ["removed", "changed", "added"]
        assert removed.data is None
        assert removed.before is not None
        assert removed.before.status == "closed"
        assert changed.changes["status"].new == "closed"
        assert added.data is not None
        assert added.data.status == "active"
        assert not hasattr(added.data, "volume")
        assert added.at <= before < changed.at
        assert [each.kind for each in client.history.event("KXBTCD-1")] == ["added"]
        assert client.history.series("KXBTCD", limit=1).first() is not None
        with pytest.raises(NotFound):
            client.history.market("KXNO").all()
        with pytest.raises(BadParameter, match="as_of"):
            client.markets(as_of=timedelta(days=1)).all()
        with pytest.raises(BadParameter):
            client.markets(as_of=timedelta(days=-9999)).all()

    await api.ask(asked)
