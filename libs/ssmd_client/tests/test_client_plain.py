"""The plain client against a real API."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from client_testbed import Api

from ssmd_client import BadParameter, Client, MarketNotFound, NotFound, Order, lists


async def test_lists_come_page_after_page(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "PAGE", 2)

    def asked(client: Client) -> None:
        assert [len(page) for page in client.markets().pages()] == [2, 2, 2]
        names = [market.ticker for market in client.markets(sort="-volume", status="active")]
        assert names == ["KXBTCD-1-T97500.99", "KXNBAGAME-1-PIT", "KXNBAGAME-1-HOU"]
        assert [len(page) for page in client.markets(limit=3).pages()] == [2, 1]
        assert client.markets(limit=0).all() == []
        first = client.markets(tag=["Nothing", "Basketball"], sort="ticker").first()
        assert first is not None
        assert first.ticker == "KXFAR"
        assert client.markets(series="NONE").first() is None
        assert len(client.lifecycle("KXBTCD-1-T98000").all()) == 3
        within = client.markets(closing_after=timedelta(0), closing_before=timedelta(hours=24))
        assert len(within.all()) == 3
        until = datetime.now(UTC) + timedelta(hours=3)
        assert len(client.markets(closing_after="0s", closing_before=until).all()) == 2
        assert [event.market_count for event in client.events(series="KXBTCD")] == [1, 2]
        assert [series.ticker for series in client.series_list(is_game=True)] == ["KXNBAGAME"]
        several = client.markets(series=["KXBTCD", "NONE"], trading=True, sort="-volume,ticker")
        assert [market.ticker for market in several] == ["KXBTCD-1-T97500.99"]
        soon = client.markets(
            where={"close_time.gt": timedelta(0), "close_time.lte": until, "volume.null": False}
        )
        assert all(market.volume is not None for market in soon)
        assert (soon.count(), len(soon.all())) == (len(soon.all()), soon.count())
        assert client.markets().count(estimated=True) >= 0
        with pytest.raises(BadParameter, match="no filter by itself"):
            client.markets(where={"volume": 5}).all()

    await api.ask(asked)


async def test_values_are_exact(api: Api) -> None:
    market = await api.ask(lambda client: client.market("KXBTCD-1-T97500.99"))
    assert market.yes_bid_dollars == Decimal("0.450000")
    assert market.floor_strike == Decimal("97500.990")
    assert str(market.floor_strike) == "97500.990"
    assert market.open_time == datetime(2026, 2, 3, 22, 5, 0, 120_000, UTC)
    assert market.custom_strike == {
        "a": [Decimal("1.10"), None, "x"],
        "big": 12345678901234567890123,
    }
    assert market.event.title == "Bitcoin at five?"
    assert market.series.tags == ["BTC", "Hourly"]
    assert market.series.extra["n"] == Decimal("1.10")
    far = await api.ask(lambda client: client.market("KXFAR"))
    assert far.close_time is None


async def test_single_rows(api: Api) -> None:
    def asked(client: Client) -> None:
        event = client.event("KXBTCD-1")
        assert [market.ticker for market in event.markets] == [
            "KXBTCD-1-T97500.99",
            "KXBTCD-1-T98000",
        ]
        series = client.series("KXBTCD")
        assert series.fee is not None
        assert series.fee.fee_multiplier == Decimal(1)
        assert series.counts["markets"]["active"] == 1
        found = client.lookup(["KXNONE", "KXBTCD-1-T98000", "KXNONE"])
        assert [market.status for market in found.markets] == ["open"]
        assert found.missing == ["KXNONE"]
        assert client.search("bitcoin")[0].ticker == "KXBTCD"
        assert client.stats("series")["series"] == 2
        assert "sentence" in client.status()

    await api.ask(asked)


async def test_fees(api: Api) -> None:
    def asked(client: Client) -> None:
        cost = client.fees.fill("KXBTCD", "0.55", 100).cost
        assert cost is not None
        assert cost.taker_dollars == Decimal("1.7325")
        then = client.fees.fill("KXBTCD", Decimal("0.55"), 100, as_of="2025-06-01").cost
        assert then is not None
        assert then.taker_dollars == Decimal("0.8663")
        assert len(client.fees.schedule("KXBTCD").schedule) == 2
        assert client.fees.tiers()[0].tier == "default"
        orders = [
            Order(ticker="KXBTCD-1-T98000", side="yes", price="0.55", count=100),
            Order(ticker="KXNONE", side="no", price=Decimal("0.5"), at="2025-06-01"),
        ]
        known, unknown = client.fees.quote(orders)
        assert known.fee_dollars == Decimal("1.7325")
        assert known.cost_dollars == Decimal("56.7325")
        assert (known.by, known.error, unknown.fee_dollars) == ("schedule", None, None)
        assert unknown.error is not None
        assert unknown.error.kind == "not-found"
        # More than one request takes.
        assert [quote.ticker for quote in client.fees.quote(orders * 600)] == [
            order.ticker for order in orders * 600
        ]
        with pytest.raises(BadParameter) as refused:
            client.fees.quote([*orders, Order(ticker="", side="yes", price="0.5")])
        assert list(refused.value.errors) == ["quotes[2].ticker"]

    await api.ask(asked)


async def test_what_there_is_not(api: Api) -> None:
    def asked(client: Client) -> None:
        with pytest.raises(MarketNotFound, match="KXNO") as none:
            client.market("KXNO/../x")
        assert none.value.ticker == "KXNO/../x"
        with pytest.raises(NotFound):
            client.event("KXNO")
        with pytest.raises(BadParameter) as bad:
            client.markets(sort="nothing").all()
        assert list(bad.value.errors) == ["sort"]
        assert bad.value.request_id

    await api.ask(asked)
    with pytest.raises(ValueError, match="no zone"):
        await api.ask(lambda client: client.markets(closing_before=datetime.now()).all())  # noqa: DTZ005


@pytest.mark.parametrize(("form", "lines"), [("jsonl", 2), ("csv", 3)])
async def test_an_export_is_a_file(api: Api, tmp_path: Path, form: str, lines: int) -> None:
    path = tmp_path / "markets"
    written = await api.ask(
        lambda client: client.export(path, form=form, series="KXBTCD", status=["active", "settled"])
    )
    assert path.stat().st_size == written
    assert len(path.read_text().splitlines()) == lines
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == [path]
