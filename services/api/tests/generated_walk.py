"""Calls every operation through the generated client and says what each reply was parsed to.

Run by `test_api_generated_client.py` where the client is: `generated_walk.py BASE_URL MARKET`, the
key in the environment.
"""

import asyncio
import importlib
import json
import os
import sys
from datetime import datetime
from typing import Any

from ssmd_generated import AuthenticatedClient, models


def calls(market: str) -> dict[str, dict[str, Any]]:
    """By tag and operation."""
    event, _, _ = market.rpartition("-")
    series = event.partition("-")[0]
    return {
        "series.get_v1_series": {"limit": 2, "sort": [models.GetV1SeriesSortItem("-volume")]},
        "series.get_v1_series_ticker": {"ticker": series},
        "series.get_v1_series_ticker_history": {"ticker": series},
        "events.get_v1_events": {"status": [models.GetV1EventsStatusItem.OPEN]},
        "events.get_v1_events_event_ticker": {"event_ticker": event},
        "events.get_v1_events_event_ticker_history": {"event_ticker": event, "limit": 2},
        "markets.get_v1_markets": {
            "series": [series],
            "status": [models.GetV1MarketsStatusItem.ACTIVE, models.GetV1MarketsStatusItem.CLOSED],
            "closing_before": "24h",
        },
        "markets.post_v1_markets_lookup": {"body": models.LookupRequest(tickers=[market, "NONE"])},
        "markets.get_v1_markets_ticker": {"ticker": market},
        "markets.get_v1_markets_ticker_lifecycle": {"ticker": market},
        "markets.get_v1_markets_ticker_history": {"ticker": market},
        "markets.get_v1_markets_ticker_trades": {"ticker": market, "limit": 2},
        "markets.get_v1_markets_ticker_ticker": {"ticker": market},
        "markets.get_v1_markets_ticker_book": {"ticker": market},
        "collections.get_v1_collections": {"limit": 2},
        "collections.get_v1_collections_collection_ticker": {"collection_ticker": "KXMVEBTC-R"},
        "fees.get_v1_fees": {"tier": "default"},
        "fees.get_v1_fees_series": {"series": series, "price": "0.55", "count": "100"},
        "fees.post_v1_fees_quote": {
            "body": models.QuoteRequest(
                quotes=[
                    models.QuotedOrder(
                        ticker=market, side=models.QuotedOrderSide.YES, price="0.55", count="100"
                    )
                ]
            )
        },
        "search.get_v1_search": {"q": "bitcoin", "kind": [models.GetV1SearchKindItem.SERIES]},
        "export.get_v1_export": {"entity": models.GetV1ExportEntity.EVENTS},
        "snapshot.get_v1_snapshot": {"tables": ["series", "fees"]},
        "status.get_v1_status": {},
        "stats.get_v1_stats_series": {},
        "stats.get_v1_stats_markets": {"limit": 3},
        "stats.get_v1_stats_sync": {},
        "sync.post_v1_sync_job": {"job": "active_markets", "idempotency_key": "walk"},
        "cache.post_v1_cache_verify": {},
        "requests.get_v1_requests": {},
        "requests.get_v1_requests_id": {"id": 1},
        "keys.post_v1_keys": {"body": models.KeyRequest(name="bot", expires_at="90d")},
        "keys.get_v1_keys": {},
        "keys.get_v1_keys_audit": {},
        "keys.delete_v1_keys_id": {"id": 1},
    }


def call(client: AuthenticatedClient, name: str, **arguments: Any) -> dict[str, Any]:
    reply = importlib.import_module(f"ssmd_generated.api.{name}").sync_detailed(
        client=client, **arguments
    )
    parsed = reply.parsed
    return {
        "status": reply.status_code,
        "type": type(parsed).__name__,
        "document": parsed.to_dict() if hasattr(parsed, "to_dict") else parsed,
    }


async def in_async(client: AuthenticatedClient, market: str) -> None:
    module = importlib.import_module("ssmd_generated.api.markets.get_v1_markets_ticker")
    found = await module.asyncio(market, client=client)
    assert found.ticker == market
    assert found.series.tags == ["BTC", "Hourly"]
    assert isinstance(found.close_time, datetime)
    assert found.status is models.MarketDetailStatus.ACTIVE


def main() -> None:
    base, market = sys.argv[1:]
    client = AuthenticatedClient(
        base, os.environ["SSMD_DATA_API_KEY"], raise_on_unexpected_status=True
    )
    said = {name: call(client, name, **given) for name, given in calls(market).items()}
    said["missing"] = call(client, "markets.get_v1_markets_ticker", ticker="NONE")
    said["bad"] = call(client, "markets.get_v1_markets", closing_before="tomorrow")
    wrong = AuthenticatedClient(base, "sk_no")
    said["wrong key"] = call(wrong, "status.get_v1_status")
    asyncio.run(in_async(AuthenticatedClient(base, os.environ["SSMD_DATA_API_KEY"]), market))
    sys.stdout.write(json.dumps(said))


main()
