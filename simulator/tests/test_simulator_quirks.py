"""What the specifications do not say loudly enough, each with a test."""

import re
from collections import Counter
from typing import Any

import aiohttp
import pytest

from ssmd_simulator.client import Client
from ssmd_simulator.server import Simulator
from ssmd_simulator.stepped import Stepped

STATUS_WORDS = {
    "unopened": {"initialized"},
    "open": {"active", "inactive"},
    "paused": {"inactive"},
    "closed": {"closed", "determined", "disputed", "amended"},
    "settled": {"finalized"},
}


async def test_query_words_and_field_words_differ(client: Client) -> None:
    for word, fields in STATUS_WORDS.items():
        markets = await client.all("/markets", "markets", status=word, limit=1000)
        seen = {market["status"] for market in markets}
        assert seen, word
        assert seen <= fields, word


async def test_pages_cover_everything_once_and_the_last_has_an_empty_cursor(client: Client) -> None:
    pages = await client.pages("/markets", "markets", limit=1000)
    sizes = [len(page) for page in pages]
    assert sizes[:-1] == [1000] * (len(sizes) - 1)
    tickers = [market["ticker"] for page in pages for market in page]
    universe = client.sim.universe
    live = {t for t, m in universe.markets.items() if m.life.settled >= client.sim.rest.cutoff}
    assert len(tickers) == len(set(tickers))
    assert set(tickers) == live


async def test_an_exactly_full_last_page_has_an_empty_cursor(client: Client) -> None:
    body = await client.get("/markets", status="open", mve_filter="only", limit=60)
    assert len(body["markets"]) == 60
    assert body["cursor"] == ""


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/markets", {"limit": 1001}),
        ("/markets", {"limit": -1}),
        ("/markets", {"limit": "many"}),
        ("/markets", {"status": "open,closed"}),
        ("/markets", {"status": "active"}),
        ("/markets", {"mve_filter": "include"}),
        ("/events/multivariate", {"series_ticker": "KXMVE", "collection_ticker": "KXMVE-R"}),
        ("/multivariate_event_collections", {"limit": 201}),
        ("/multivariate_event_collections", {"status": "settled"}),
        ("/markets", {"cursor": "bm9uc2Vuc2U"}),
        ("/markets", {"min_updated_ts": 1, "status": "open"}),
        ("/markets", {"min_updated_ts": 1, "series_ticker": "KXBTC15M"}),
        ("/markets", {"min_updated_ts": 1, "mve_filter": "only"}),
        ("/events", {"limit": 201}),
        ("/events", {"limit": 0}),
        ("/events", {"status": "paused"}),
        ("/historical/markets", {"tickers": "A", "series_ticker": "B"}),
    ],
)
async def test_some_bad_requests_are_refused(
    client: Client, path: str, query: dict[str, Any]
) -> None:
    status, body = await client.reply(path, **query)
    assert status == 400
    assert set(body) == {"code", "message", "details"}


@pytest.mark.parametrize(
    "query",
    [
        {"status": "closed", "min_created_ts": 1},
        {"status": "settled", "min_created_ts": 1},
        {"status": "open", "max_close_ts": 4_102_444_800},
        {"status": "open", "min_settled_ts": 1},
        {"min_created_ts": 1, "min_close_ts": 1},
    ],
)
async def test_other_forbidden_combinations_quietly_give_nothing(
    client: Client, query: dict[str, Any]
) -> None:
    assert await client.get("/markets", **query) == {"markets": [], "cursor": ""}


@pytest.mark.parametrize(
    "query",
    [
        {"status": "open", "min_created_ts": 1},
        {"status": "unopened", "max_created_ts": 4_102_444_800},
        {"status": "closed", "min_close_ts": 1},
        {"min_close_ts": 1},
        {"status": "settled", "min_settled_ts": 1},
        {"min_updated_ts": 1, "mve_filter": "exclude"},
    ],
)
async def test_allowed_combinations_give_something(client: Client, query: dict[str, Any]) -> None:
    found = (await client.get("/markets", **query))["markets"]
    # Late in the day nothing waits to open any more.
    now, universe = client.sim.clock(), client.sim.universe
    waiting = any(market.status(now) == "initialized" for market in universe.unsettled)
    assert found or (query.get("status") == "unopened" and not waiting)


async def test_lower_bounds_are_exclusive(client: Client) -> None:
    made = await client.control("POST", "/markets", {"close_in": 600})
    close = int(made["life"]["close"])
    event = {"event_ticker": made["event_ticker"]}
    assert (await client.get("/markets", min_close_ts=close - 1, **event))["markets"]
    assert not (await client.get("/markets", min_close_ts=close, **event))["markets"]


async def test_unknown_parameters_are_ignored(client: Client) -> None:
    plain = await client.get("/events", limit=200)
    assert await client.get("/events", limit=200, category="Sports") == plain
    assert len({event["category"] for event in plain["events"]}) > 1


async def test_unknown_tickers_are_left_out_without_a_word(client: Client) -> None:
    known = client.sim.universe.unsettled[0].ticker
    body = await client.get("/markets", tickers=f"{known},KXNONE-26,{known}")
    assert [market["ticker"] for market in body["markets"]] == [known]


async def test_min_updated_ts_does_not_see_trading(client: Client) -> None:
    made = await client.control("POST", "/markets", {"close_in": 600})
    ticker = made["market_ticker"]
    before = await client.get("/markets", tickers=ticker)
    await client.control("POST", f"/markets/{ticker}/trade")
    after = await client.get("/markets", tickers=ticker)
    one, other = before["markets"][0], after["markets"][0]
    changed = {field for field in one if one[field] != other[field]}
    assert changed & {"yes_bid_dollars", "yes_ask_dollars", "volume_fp"}
    assert "updated_time" not in changed
    at = int(client.sim.clock()) + 5
    seen = await client.all("/markets", "markets", min_updated_ts=at, mve_filter="exclude")
    assert not seen


async def test_series_come_in_one_reply_with_their_filters(client: Client) -> None:
    everything = (await client.get("/series"))["series"]
    assert len(everything) == len(client.sim.universe.series)
    assert not any("volume_fp" in series for series in everything)
    assert any(series["tags"] is None for series in everything)
    sports = (await client.get("/series", category="Sports"))["series"]
    assert sports
    assert all("Sports" in series["categories"] for series in sports)
    assert not (await client.get("/series", category="sports"))["series"]
    tagged = (await client.get("/series", tags="Soccer,Hourly"))["series"]
    assert tagged
    assert all({"Soccer", "Hourly"} & set(series["tags"]) for series in tagged)
    counted = (await client.get("/series", include_volume="true"))["series"]
    assert all(re.fullmatch(r"\d+\.\d\d", series["volume_fp"]) for series in counted)
    newest = max(series["last_updated_ts"] for series in everything)
    later = (await client.get("/series", min_updated_ts=4_000_000_000))["series"]
    assert newest
    assert not later


async def test_an_event_matches_a_status_if_any_child_does(client: Client) -> None:
    universe, now = client.sim.universe, client.sim.clock()
    mixed = next(
        event
        for event in universe.events.values()
        if {"active", "finalized"} <= {market.status(now) for market in event.markets}
    )
    for status in ("open", "settled"):
        events = await client.all("/events", "events", status=status)
        assert mixed.ticker in {event["event_ticker"] for event in events}


async def test_nested_markets_are_whole_but_missing_from_settled_events(client: Client) -> None:
    flag = {"with_nested_markets": "true", "limit": 200}
    plain = await client.get("/events", limit=200)
    assert not any("markets" in event for event in plain["events"])
    opened = await client.get("/events", status="open", **flag)
    assert all(event["markets"] for event in opened["events"])
    one = opened["events"][0]["markets"][0]
    assert one == (await client.get(f"/markets/{one['ticker']}"))["market"]
    now = client.sim.clock()
    for event in (await client.get("/events", status="settled", **flag))["events"]:
        truth = client.sim.universe.events[event["event_ticker"]]
        settled = all(market.status(now) == "finalized" for market in truth.markets)
        assert (event["markets"] == []) == settled


async def test_multivariate_events_are_listed_apart(client: Client) -> None:
    events = await client.all("/events", "events")
    assert not [event for event in events if event["series_ticker"].startswith("KXMVE")]
    combos = await client.all("/events/multivariate", "events")
    assert len(combos) == 60
    everything = await client.all("/markets", "markets", limit=1000, status="open")
    without = await client.all(
        "/markets", "markets", limit=1000, status="open", mve_filter="exclude"
    )
    only = await client.all("/markets", "markets", limit=1000, status="open", mve_filter="only")
    assert len(only) == 60
    assert len(everything) == len(without) + len(only)
    assert all("mve_collection_ticker" in market for market in only)


async def test_collections_say_what_is_combined(client: Client) -> None:
    listed = await client.all(
        "/multivariate_event_collections", "multivariate_contracts", limit=7, status="open"
    )
    assert {each["collection_ticker"] for each in listed} == set(client.sim.universe.collections)
    assert len(listed) > 7
    only = await client.all("/markets", "markets", limit=1000, status="open", mve_filter="only")
    for market in only:
        [one] = [e for e in listed if e["collection_ticker"] == market["mve_collection_ticker"]]
        events = {leg["event_ticker"] for leg in market["mve_selected_legs"]}
        assert events <= set(one["associated_event_tickers"])
    # A leg may be of a market that no listing has.
    legs = {leg["market_ticker"] for market in only for leg in market["mve_selected_legs"]}
    assert legs - set(client.sim.universe.markets)

    [market, *_] = only
    ticker = market["mve_collection_ticker"]
    events = await client.all("/events/multivariate", "events", collection_ticker=ticker)
    assert market["event_ticker"] in {event["event_ticker"] for event in events}
    assert 0 < len(events) < len(only)
    found = await client.all(
        "/multivariate_event_collections",
        "multivariate_contracts",
        associated_event_ticker=market["mve_selected_legs"][0]["event_ticker"],
    )
    assert ticker in {each["collection_ticker"] for each in found}


async def test_markets_do_not_name_their_series_and_events_have_no_status(client: Client) -> None:
    markets = (await client.get("/markets", limit=1000))["markets"]
    events = (await client.get("/events"))["events"]
    assert not {"series_ticker", "category"} & {field for market in markets for field in market}
    assert "status" not in {field for event in events for field in event}


async def test_prices_are_strings_of_dollars_and_counts_are_fixed_point(client: Client) -> None:
    markets = await client.all("/markets", "markets", limit=1000, status="open")
    sub_cent = fractional = 0
    for market in markets:
        for field, value in market.items():
            if field.endswith("_dollars"):
                assert re.fullmatch(r"[01]\.\d{4}", value), (field, value)
                sub_cent += not value.endswith("00")
            if field.endswith("_fp"):
                assert re.fullmatch(r"\d+\.\d\d", value), (field, value)
                fractional += not value.endswith(".00")
        assert not {"yes_bid", "volume", "tick_size"} & set(market)
    assert sub_cent
    assert fractional


async def test_times_have_any_number_of_digits_and_reach_the_year_1_and_2099(
    client: Client,
) -> None:
    markets = await client.all("/markets", "markets", limit=1000)
    digits = Counter(len(market["created_time"]) for market in markets)
    assert len(digits) > 2
    assert any(market["updated_time"] == "0001-01-01T00:00:00Z" for market in markets)
    assert any(market["created_time"] == "0001-01-01T00:00:00Z" for market in markets)
    # 73 years from now: 2099, from 2027 on 2100.
    assert any(int(market["close_time"][:4]) >= 2099 for market in markets)


async def test_three_error_shapes(http: aiohttp.ClientSession, clock: Stepped) -> None:
    async with Simulator(budget=10, clock=clock) as sim:
        client = Client(sim, http)
        assert await client.reply("/markets/KXNONE") == (
            404,
            {"error": {"code": "not_found", "message": "not found", "details": ""}},
        )
        status, body = await client.reply("/markets", limit="x")
        assert (status, set(body)) == (400, {"code", "message", "details"})
        assert await client.reply("/series") == (429, {"error": "too many requests"})


async def test_the_budget_is_a_bucket_of_two_seconds_without_retry_after(
    http: aiohttp.ClientSession, clock: Stepped
) -> None:
    async with Simulator(budget=200, costs={"/historical/markets": 50}, clock=clock) as sim:
        client = Client(sim, http)

        async def allowed(path: str = "/exchange/status") -> int:
            for number in range(100):
                async with http.get(sim.base_url + path) as response:
                    if response.status == 429:
                        assert "Retry-After" not in response.headers
                        return number
            return 100

        assert await allowed() == 40
        clock.step(0.5)
        assert await allowed() == 10
        clock.step(60)
        assert await allowed("/historical/markets") == 8
        clock.step(60)
        costs = await client.get("/account/endpoint_costs")
        assert costs["default_cost"] == 10
        named = {(cost["method"], cost["path"]): cost["cost"] for cost in costs["endpoint_costs"]}
        assert named["GET", "/trade-api/v2/historical/markets"] == 50


async def test_a_new_market_is_not_there_at_once(
    http: aiohttp.ClientSession, clock: Stepped
) -> None:
    async with Simulator("tiny", clock=clock, creation_lag=0.25) as sim:
        client = Client(sim, http)
        made = await client.control("POST", "/markets", {})
        path = f"/markets/{made['market_ticker']}"
        assert (await client.reply(path))[0] == 404
        clock.step(0.3)
        assert (await client.reply(path))[0] == 200


async def test_settled_markets_move_to_the_historical_tier(
    http: aiohttp.ClientSession, clock: Stepped
) -> None:
    async with Simulator("tiny", clock=clock, historical_after=3600, budget=0) as sim:
        client = Client(sim, http)
        order = {"close_in": 1, "determine_in": 2, "settle_in": 3}
        made = await client.control("POST", "/markets", order)
        ticker, event = made["market_ticker"], made["event_ticker"]
        clock.step(3500)
        assert (await client.reply(f"/markets/{ticker}"))[0] == 200
        assert (await client.reply(f"/historical/markets/{ticker}"))[0] == 404
        listed = await client.get("/markets", status="settled", event_ticker=event)
        assert len(listed["markets"]) == 1
        clock.step(200)
        assert (await client.reply(f"/markets/{ticker}"))[0] == 404
        moved = await client.get(f"/historical/markets/{ticker}")
        assert moved["market"]["status"] == "finalized"
        assert not (await client.get("/markets", event_ticker=event))["markets"]
        assert (await client.get("/historical/markets", event_ticker=event))["markets"]
        cutoff = (await client.get("/historical/cutoff"))["market_settled_ts"]
        assert moved["market"]["settlement_ts"] < cutoff
        # The event stays, without its market.
        assert (await client.get(f"/events/{event}"))["markets"] == []


async def test_provisional_markets_vanish_after_settlement(
    http: aiohttp.ClientSession, clock: Stepped
) -> None:
    async with Simulator("tiny", clock=clock, creation_lag=0) as sim:
        client = Client(sim, http)
        order = {"close_in": 1, "determine_in": 2, "settle_in": 3, "provisional": True}
        made = await client.control("POST", "/markets", order)
        path = f"/markets/{made['market_ticker']}"
        assert (await client.get(path))["market"]["is_provisional"] is True
        clock.step(4)
        assert (await client.get(path))["market"]["status"] == "finalized"
        clock.step(6)
        assert (await client.reply(path))[0] == 404
        assert (await client.reply("/historical" + path))[0] == 404


async def test_fee_changes(client: Client) -> None:
    coming = (await client.get("/series/fee_changes"))["series_fee_change_arr"]
    past = await client.get("/series/fee_changes", show_historical="true")
    assert coming
    assert len(past["series_fee_change_arr"]) > len(coming)
    one = coming[0]["series_ticker"]
    only = (await client.get("/series/fee_changes", series_ticker=one))["series_fee_change_arr"]
    assert {change["series_ticker"] for change in only} == {one}
    pages = await client.pages("/events/fee_changes", "event_fee_changes", limit=1)
    assert len(pages) > 1
    assert all(len(page) == 1 for page in pages)
    event = pages[0][0]
    shown = (await client.get(f"/events/{event['event_ticker']}"))["event"]
    assert shown["fee_multiplier_override"] == event["fee_multiplier_override"]


async def test_a_category_may_have_null_tags(client: Client) -> None:
    tags = (await client.get("/search/tags_by_categories"))["tags_by_categories"]
    assert tags["Elections"] is None
    assert tags["Sports"]
