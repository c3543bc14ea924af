"""The exchange's official Python SDK reads our replies without an error, in both its forms."""

import asyncio
from typing import Any

import pytest

from ssmd_simulator.client import Client

REASON = "the exchange's SDK is not installed (it needs Python 3.13)"


def _walk_sync(sdk: Any, host: str) -> dict[str, int]:
    api = sdk.ApiClient(sdk.Configuration(host=host))
    markets, events = sdk.MarketApi(api), sdk.EventsApi(api)
    exchange, history = sdk.ExchangeApi(api), sdk.HistoricalApi(api)
    counts = {"markets": 0, "events": 0}
    cursor = None
    while cursor != "":
        page = markets.get_markets(limit=1000, cursor=cursor)
        counts["markets"] += len(page.markets)
        cursor = page.cursor
    cursor = None
    while cursor != "":
        listed = events.get_events(limit=200, with_nested_markets=True, cursor=cursor)
        counts["events"] += len(listed.events)
        cursor = listed.cursor
    counts["series"] = len(markets.get_series_list(include_volume=True).series)
    counts["historical"] = len(history.get_historical_markets(limit=200).markets)
    markets.get_market(page.markets[0].ticker)
    markets.get_series("KXBTC15M")
    events.get_event(listed.events[0].event_ticker)
    events.get_event_metadata(listed.events[0].event_ticker)
    events.get_multivariate_events()
    events.get_event_fee_changes()
    history.get_historical_cutoff()
    exchange.get_exchange_status()
    exchange.get_exchange_schedule()
    exchange.get_series_fee_changes(show_historical=True)
    return counts


async def test_the_synchronous_sdk(client: Client) -> None:
    sdk = pytest.importorskip("kalshi_python_sync", reason=REASON)
    counts = await asyncio.to_thread(_walk_sync, sdk, client.sim.base_url)
    assert counts["series"] == len(client.sim.universe.series)
    assert counts["markets"] == len(await client.all("/markets", "markets", limit=1000))
    assert counts["events"] == len(await client.all("/events", "events"))
    assert counts["historical"] == 200


async def test_the_asynchronous_sdk(client: Client) -> None:
    sdk = pytest.importorskip("kalshi_python_async", reason=REASON)
    async with sdk.ApiClient(sdk.Configuration(host=client.sim.base_url)) as api:
        markets, events = sdk.MarketApi(api), sdk.EventsApi(api)
        page = await markets.get_markets(limit=1000, status="open")
        assert len(page.markets) == 1000
        assert (await markets.get_market(page.markets[0].ticker)).market == page.markets[0]
        assert (await markets.get_series_list()).series
        listed = await events.get_events(limit=200, with_nested_markets=True)
        assert len(listed.events) == 200
        assert await events.get_event(listed.events[0].event_ticker)
