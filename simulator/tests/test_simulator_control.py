"""The control API does what it says, and says what is wrong with a call."""

from typing import Any

import aiohttp
import pytest

from ssmd_simulator.client import Client
from ssmd_simulator.server import Simulator
from ssmd_simulator.stepped import Stepped


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("POST", "/markets", {"open_in": 9, "close_in": 3}, 400, "order of a life"),
        ("POST", "/markets", {"settle_in": 90}, 400, "order of a life"),
        ("POST", "/markets", {"opens_in": 9}, 400, "opens_in"),
        ("POST", "/markets", {"count": "three"}, 400, "count"),
        ("GET", "/markets/KXNONE", None, 404, "KXNONE"),
        ("PATCH", "/markets/KXNONE", {"title": "x"}, 404, "KXNONE"),
        ("POST", "/events/KXNONE/fee", {}, 404, "KXNONE"),
        ("PATCH", "/events/KXNONE", {"title": "x"}, 404, "KXNONE"),
        ("PUT", "/series/KXNEW", {"colour": "red"}, 400, "colour"),
        ("POST", "/faults", {"kind": "storm", "path": "("}, 400, "unterminated"),
    ],
)
async def test_wrong_calls(
    client: Client, method: str, path: str, body: Any, status: int, says: str
) -> None:
    url = client.sim.control_url + path
    async with client.http.request(method, url, json=body) as response:
        answer = await response.json()
        assert response.status == status, answer
        assert says in answer["error"]


async def test_a_ticker_is_given_once(client: Client) -> None:
    order = {"ticker": "KXACCEPT-ONCE-1"}
    await client.control("POST", "/markets", order)
    async with client.http.post(client.sim.control_url + "/markets", json=order) as response:
        assert response.status == 400
        assert "KXACCEPT-ONCE-1" in (await response.json())["error"]


async def test_an_unknown_deed_is_refused(client: Client) -> None:
    ticker = (await client.control("POST", "/markets", {}))["market_ticker"]
    url = f"{client.sim.control_url}/markets/{ticker}/explode"
    async with client.http.post(url) as response:
        assert response.status == 400
        assert "explode" in (await response.json())["error"]


async def test_markets_join_an_event(client: Client) -> None:
    first = await client.control("POST", "/markets", {"count": 2, "series": "KXJOINED"})
    event = first["event_ticker"]
    more = await client.control("POST", "/markets", {"event": event, "count": 2})
    tickers = [market["market_ticker"] for market in first["markets"] + more["markets"]]
    assert len(set(tickers)) == 4
    body = await client.get(f"/events/{event}")
    assert {market["ticker"] for market in body["markets"]} == set(tickers)
    assert (await client.get("/series/KXJOINED"))["series"]["ticker"] == "KXJOINED"
    gone = await client.control("DELETE", f"/markets/{tickers[0]}")
    assert gone == {"gone": tickers[0]}
    assert (await client.reply(f"/markets/{tickers[0]}"))[0] == 404


async def test_a_series_is_changed_and_its_fees_scheduled(
    http: aiohttp.ClientSession, clock: Stepped
) -> None:
    async with Simulator("tiny", clock=clock) as sim:
        client = Client(sim, http)
        clock.step(10)
        change = {"title": "Another title", "tags": ["Soccer"], "fee_multiplier": 0.5}
        await client.control("PUT", "/series/KXBTC15M", change)
        series = (await client.get("/series/KXBTC15M"))["series"]
        assert (series["title"], series["tags"], series["fee_multiplier"]) == (
            "Another title",
            ["Soccer"],
            0.5,
        )
        body = await client.get("/series", min_updated_ts=int(clock()) - 5)
        assert [one["ticker"] for one in body["series"]] == ["KXBTC15M"]
        changes = await client.get(
            "/series/fee_changes", series_ticker="KXBTC15M", show_historical="true"
        )
        assert [one["fee_multiplier"] for one in changes["series_fee_change_arr"]] == [0.5]


async def test_the_state_counts(http: aiohttp.ClientSession, clock: Stepped) -> None:
    async with Simulator("tiny", clock=clock) as sim:
        client = Client(sim, http)
        before = await client.control("GET", "/state")
        await client.control("POST", "/markets", {"open_in": 60, "close_in": 90, "count": 3})
        after = await client.control("GET", "/state")
        initialized = before["markets"].get("initialized", 0)
        assert after["markets"]["initialized"] == initialized + 3
        assert after["events"] == before["events"] + 1
        assert after["messages"] == {"event_lifecycle": 1, "created": 3}
