"""Reads a simulated exchange with the exchange's own SDK; prints what it counted as JSON.

Run by `test_simulator_sdk.py` in the SDK's own environment: `sdk_walk.py sync|async BASE_URL`.
"""

import asyncio
import inspect
import json
import sys
from types import ModuleType
from typing import Any


async def walk(sdk: ModuleType, base_url: str) -> dict[str, int]:
    """Read with the synchronous or the asynchronous form."""
    client = sdk.ApiClient(sdk.Configuration(host=base_url))
    if hasattr(client, "__aenter__"):
        async with client as api:
            return await _walk(sdk, api)
    with client as api:
        return await _walk(sdk, api)


async def _walk(sdk: ModuleType, api: Any) -> dict[str, int]:
    markets, events = sdk.MarketApi(api), sdk.EventsApi(api)
    exchange, history = sdk.ExchangeApi(api), sdk.HistoricalApi(api)
    search, account = sdk.SearchApi(api), sdk.AccountApi(api)
    counts = {"markets": 0, "events": 0, "nested": 0}
    cursor = None
    while cursor != "":
        page = await _answer(markets.get_markets(limit=1000, cursor=cursor))
        counts["markets"] += len(page.markets)
        cursor = page.cursor
    cursor = None
    while cursor != "":
        listed = await _answer(
            events.get_events(limit=200, with_nested_markets=True, status="open", cursor=cursor)
        )
        counts["events"] += len(listed.events)
        counts["nested"] += sum(len(event.markets or []) for event in listed.events)
        cursor = listed.cursor
    series = await _answer(markets.get_series_list(include_volume=True))
    counts["series"] = len(series.series)
    historical = await _answer(history.get_historical_markets(limit=200))
    counts["historical"] = len(historical.markets)
    event = listed.events[0].event_ticker
    for answer in (
        markets.get_market(page.markets[0].ticker),
        markets.get_series("KXBTC15M"),
        events.get_event(event),
        events.get_event_metadata(event),
        events.get_multivariate_events(),
        events.get_event_fee_changes(),
        history.get_historical_cutoff(),
        history.get_historical_market(historical.markets[0].ticker),
        exchange.get_exchange_status(),
        exchange.get_exchange_schedule(),
        exchange.get_series_fee_changes(show_historical=True),
        # Not the tags of the categories: the exchange has null there, which its SDK refuses.
        search.get_filters_for_sports(),
        account.get_account_endpoint_costs(),
    ):
        assert await _answer(answer) is not None
    return counts


async def _answer(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


if __name__ == "__main__":
    form, url = sys.argv[1:]
    sdk = __import__(f"kalshi_python_{form}")
    sys.stdout.write(json.dumps(asyncio.run(walk(sdk, url))))
