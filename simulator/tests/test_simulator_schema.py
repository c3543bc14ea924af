"""Every reply and every frame fits the exchange's own specifications."""

import asyncio
from typing import Any

import aiohttp
import pytest

from ssmd_simulator.client import Client
from ssmd_simulator.messages import LIFECYCLE, MULTIVARIATE
from ssmd_simulator.server import Simulator

from .specification import Specification

ASK_ALL = {"include_volume": "true", "include_product_metadata": "true"}
NESTED = {"with_nested_markets": "true", "limit": 50}
LISTINGS: list[tuple[str, dict[str, Any], str]] = [
    ("/series", {}, "GetSeriesListResponse"),
    (
        "/series",
        {"include_volume": "true", "include_product_metadata": "true"},
        "GetSeriesListResponse",
    ),
    ("/events", {"limit": 200}, "GetEventsResponse"),
    (
        "/events",
        {"status": "open", "with_nested_markets": "true", "limit": 50},
        "GetEventsResponse",
    ),
    (
        "/events",
        {"status": "settled", "with_nested_markets": "true", "limit": 50},
        "GetEventsResponse",
    ),
    ("/events/multivariate", {"with_nested_markets": "true"}, "GetMultivariateEventsResponse"),
    (
        "/events/multivariate",
        {"collection_ticker": "KXMVESPORTSMULTIGAMEEXTENDED-R"},
        "GetMultivariateEventsResponse",
    ),
    ("/multivariate_event_collections", {}, "GetMultivariateEventCollectionsResponse"),
    ("/markets", {"status": "open", "limit": 1000}, "GetMarketsResponse"),
    ("/markets", {"status": "unopened", "limit": 1000}, "GetMarketsResponse"),
    ("/markets", {"status": "paused", "limit": 1000}, "GetMarketsResponse"),
    ("/markets", {"status": "closed", "limit": 1000}, "GetMarketsResponse"),
    ("/markets", {"status": "settled", "limit": 300}, "GetMarketsResponse"),
    ("/markets", {"mve_filter": "only"}, "GetMarketsResponse"),
    ("/historical/markets", {"limit": 300}, "GetMarketsResponse"),
    ("/historical/cutoff", {}, "GetHistoricalCutoffResponse"),
    ("/search/filters_by_sport", {}, "GetFiltersBySportsResponse"),
    ("/series/fee_changes", {"show_historical": "true"}, "GetSeriesFeeChangesResponse"),
    ("/events/fee_changes", {}, "GetEventFeeChangesResponse"),
    ("/exchange/status", {}, "ExchangeStatus"),
    ("/exchange/schedule", {}, "GetExchangeScheduleResponse"),
    ("/account/endpoint_costs", {}, "GetAccountEndpointCostsResponse"),
]


@pytest.mark.parametrize(("path", "query", "schema"), LISTINGS)
async def test_listings_fit_the_specification(
    client: Client, openapi: Specification, path: str, query: dict[str, Any], schema: str
) -> None:
    body = await client.get(path, **query)
    openapi.check(schema, body)
    assert any(body.values()), "an empty reply proves nothing"


async def test_a_collection_fits_the_specification(client: Client, openapi: Specification) -> None:
    for ticker in list(client.sim.universe.collections)[:3]:
        body = await client.get(f"/multivariate_event_collections/{ticker}")
        openapi.check("GetMultivariateEventCollectionResponse", body)


async def test_single_replies_fit_the_specification(client: Client, openapi: Specification) -> None:
    universe = client.sim.universe
    for series in list(universe.series.values())[:20]:
        openapi.check("GetSeriesResponse", await client.get(f"/series/{series.ticker}"))
    for event in list(universe.events.values())[::40]:
        openapi.check("GetEventResponse", await client.get(f"/events/{event.ticker}"))
        nested = await client.get(f"/events/{event.ticker}", with_nested_markets="true")
        openapi.check("GetEventResponse", nested)
        metadata = await client.get(f"/events/{event.ticker}/metadata")
        openapi.check("GetEventMetadataResponse", metadata)
    for market in universe.unsettled[::200]:
        openapi.check("GetMarketResponse", await client.get(f"/markets/{market.ticker}"))


async def test_limits_fit_the_specification(client: Client, openapi: Specification) -> None:
    async with client.http.get(
        client.sim.base_url + "/account/limits",
        headers={f"KALSHI-ACCESS-{name}": "1" for name in ("KEY", "SIGNATURE", "TIMESTAMP")},
    ) as response:
        openapi.check("GetAccountApiLimitsResponse", await response.json())


async def test_tags_fit_the_specification_but_for_their_nulls(
    client: Client, openapi: Specification
) -> None:
    # The specification does not say that a category may map to null; the exchange does it.
    body = await client.get("/search/tags_by_categories")
    tags = body["tags_by_categories"]
    assert None in tags.values()
    named = {category: given for category, given in tags.items() if given is not None}
    openapi.check("GetTagsForSeriesCategoriesResponse", {"tags_by_categories": named})


async def test_no_field_is_invented(client: Client, openapi: Specification) -> None:
    markets = await client.all("/markets", "markets", limit=1000)
    events = await client.all("/events", "events")
    series = (await client.get("/series", include_volume="true"))["series"]
    for name, items in (("Market", markets), ("EventData", events), ("Series", series)):
        seen = {field for item in items for field in item}
        assert seen <= openapi.fields(name), name
        assert all(openapi.required(name) <= set(item) for item in items), name


async def test_optional_fields_are_absent_rather_than_null(
    client: Client, openapi: Specification
) -> None:
    markets = await client.all("/markets", "markets", limit=1000)
    assert not [field for market in markets for field, value in market.items() if value is None]
    optional = openapi.fields("Market") - openapi.required("Market")
    for field in ("strike_type", "floor_strike", "cap_strike", "expected_expiration_time"):
        assert field in optional
        having = sum(field in market for market in markets)
        assert 0 < having < len(markets), f"{field} is always or never there"


FRAMES = {
    "market_lifecycle_v2": "marketLifecycleV2Payload",
    "multivariate_market_lifecycle": "marketLifecycleV2Payload",
    "event_lifecycle": "eventLifecyclePayload",
    "event_fee_update": "eventFeeUpdatePayload",
    "subscribed": "subscribedResponsePayload",
    "unsubscribed": "unsubscribedResponsePayload",
    "error": "errorResponsePayload",
    "ok": "listSubscriptionsResponsePayload",
}


async def test_frames_fit_the_specification(
    http: aiohttp.ClientSession, asyncapi: Specification
) -> None:
    async with Simulator() as sim:
        client = Client(sim, http)
        async with client.socket() as ws:
            channels = ["market_lifecycle_v2", "multivariate_market_lifecycle"]
            await ws.send_json({"id": 1, "cmd": "subscribe", "params": {"channels": channels}})
            await ws.send_json({"id": 2, "cmd": "list_subscriptions"})
            await ws.send_json({"id": 3, "cmd": "dance"})
            made = await client.control("POST", "/markets", {"strike": 4.25})
            await client.control("POST", "/markets", {"series": "KXMVETEST", "multivariate": True})
            ticker, event = made["market_ticker"], made["event_ticker"]
            await client.control("POST", f"/markets/{ticker}/pause")
            await client.control("POST", f"/markets/{ticker}/unpause")
            await client.control("POST", f"/markets/{ticker}/close", {"close_in": 90})
            edit = {
                "floor_strike": 4.5,
                "yes_sub_title": "x",
                "price_level_structure": "linear_cent",
            }
            await client.control("PATCH", f"/markets/{ticker}", edit)
            await client.control("POST", f"/events/{event}/fee", {"fee_type": "quadratic"})
            await client.control("POST", f"/events/{event}/fee", {"fee_type": None})
            await client.control("POST", f"/markets/{ticker}/determine", {"result": "no"})
            await client.control("POST", f"/markets/{ticker}/settle")
            await ws.send_json({"id": 4, "cmd": "unsubscribe", "params": {"sids": [1]}})
            kinds: set[str] = set()
            async with asyncio.timeout(180):
                while "unsubscribed" not in kinds:
                    frame = await ws.receive_json()
                    # The specification asks a multivariate frame to have both types at once.
                    known = {**frame, "type": frame["type"].replace(MULTIVARIATE, LIFECYCLE)}
                    asyncapi.check(FRAMES[frame["type"]], known)
                    kinds.add(frame["msg"].get("event_type", frame["type"]) if isinstance(
                        frame.get("msg"), dict) else frame["type"])  # fmt: skip
        assert kinds >= {
            "created", "activated", "deactivated", "close_date_updated", "determined", "settled",
            "price_level_structure_updated", "metadata_updated", "event_lifecycle",
            "event_fee_update", "subscribed", "unsubscribed", "error", "ok",
        }  # fmt: skip
