"""Each fault that the control port offers does what it says, to the requests it is meant for."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from ssmd_simulator.client import Client
from ssmd_simulator.codes import CODES
from ssmd_simulator.server import Simulator
from ssmd_simulator.stepped import Stepped

SUBSCRIBE = {"id": 1, "cmd": "subscribe", "params": {"channels": ["market_lifecycle_v2"]}}


async def _raw(client: Client, path: str = "/exchange/status") -> tuple[int, str, bytes]:
    async with client.http.get(client.sim.base_url + path) as response:
        return response.status, response.content_type, await response.read()


@pytest.mark.parametrize(
    ("fault", "status", "content_type"),
    [
        ({"kind": "storm"}, 429, "application/json"),
        ({"kind": "error"}, 500, "application/json"),
        ({"kind": "error", "status": 503}, 503, "application/json"),
        ({"kind": "html"}, 502, "text/html"),
        ({"kind": "wrong_type"}, 200, "text/plain"),
        ({"kind": "latency", "seconds": 0.01}, 200, "application/json"),
        ({"kind": "garbage"}, 200, "application/json"),
        ({"kind": "truncated"}, 200, "application/json"),
        ({"kind": "empty"}, 200, "application/json"),
    ],
)
async def test_bad_replies(
    client: Client, fault: dict[str, Any], status: int, content_type: str
) -> None:
    good = await _raw(client)
    await client.control("POST", "/faults", {**fault, "times": 1})
    bad = await _raw(client)
    assert bad[:2] == (status, content_type)
    if fault["kind"] in ("garbage", "truncated", "empty"):
        with pytest.raises(json.JSONDecodeError):
            json.loads(bad[2])
    assert await _raw(client) == good, "the fault was for one request"


async def test_a_reset_breaks_the_body_off(client: Client) -> None:
    await client.control("POST", "/faults", {"kind": "reset", "times": 1})
    with pytest.raises(aiohttp.ClientPayloadError):
        await _raw(client, "/series")
    assert (await _raw(client, "/series"))[0] == 200


async def test_a_hang_ends_without_an_answer(client: Client) -> None:
    await client.control("POST", "/faults", {"kind": "hang", "seconds": 0.01})
    with pytest.raises(aiohttp.ClientConnectionError):
        await _raw(client)


async def test_faults_choose_their_requests(client: Client) -> None:
    body = {"kind": "storm", "path": "/markets(/.*)?", "after": 1, "times": 2}
    await client.control("POST", "/faults", body)
    assert (await _raw(client))[0] == 200
    statuses = [(await _raw(client, "/markets?limit=1"))[0] for _ in range(4)]
    assert statuses == [200, 429, 429, 200]
    listed = await client.control("GET", "/faults")
    assert listed["faults"][0]["hits"] == 2
    assert await client.control("DELETE", "/faults") == {"cleared": 1}


async def test_a_fault_is_over_after_its_time(http: aiohttp.ClientSession, clock: Stepped) -> None:
    async with Simulator("tiny", clock=clock) as sim:
        client = Client(sim, http)
        fault = await client.control("POST", "/faults", {"kind": "storm", "lasting": 10})
        assert (await _raw(client))[0] == 429
        clock.step(11)
        assert (await _raw(client))[0] == 200
        assert await client.control("DELETE", f"/faults/{fault['id']}") == {"cleared": 1}


@pytest.mark.parametrize("text", ['{"a":1}', "NaN", r'"\ud800"', '"\xff"', None])
async def test_one_field_of_one_row(
    http: aiohttp.ClientSession, clock: Stepped, text: str | None
) -> None:
    # On a clock of its own: at each quarter of an hour the rows change by themselves.
    async with Simulator("tiny", clock=clock) as sim:
        await _spoil_one_field(Client(sim, http), text)


async def _spoil_one_field(client: Client, text: str | None) -> None:
    paths = ["/markets", "/events?with_nested_markets=true", "/series"]
    before = {path: json.loads((await _raw(client, path))[2]) for path in paths}
    market = before[paths[1]]["events"][0]["markets"][0]
    paths += [f"/markets/{market['ticker']}", f"/events/{market['event_ticker']}"]
    before |= {path: json.loads((await _raw(client, path))[2]) for path in paths[3:]}
    spoil = {"kind": "unreadable", "ticker": market["ticker"], "field": "title", "json": text}
    await client.control("POST", "/faults", spoil)
    for path in paths:
        body = (await _raw(client, path))[2].decode("latin-1")
        mended = body.replace(f'"title":{text}', '"title":"?"')
        assert (mended != body) == (text is not None and f'"{market["ticker"]}"' in body)
        rows: dict[str, Any] = json.loads(mended.encode("latin-1"))
        wanted = before[path]
        for found in (rows, wanted):
            for row in _markets(found):
                if row["ticker"] == market["ticker"]:
                    assert ("title" in row) == (found is wanted or text is not None)
                    row.pop("title", None)
        assert rows == wanted


def _markets(reply: dict[str, Any]) -> list[dict[str, Any]]:
    events = [*reply.get("events", []), *([reply["event"]] if "event" in reply else [])]
    nested = [market for event in events for market in event.get("markets") or ()]
    single = [reply["market"]] if "market" in reply else []
    return [*reply.get("markets", []), *nested, *single]


async def test_an_unknown_fault_is_refused(client: Client) -> None:
    url = client.sim.control_url + "/faults"
    async with client.http.post(url, json={"kind": "earthquake"}) as response:
        assert response.status == 400
        assert "earthquake" in (await response.json())["error"]


async def test_stale_pages_and_a_market_that_flips_back(
    http: aiohttp.ClientSession, clock: Stepped
) -> None:
    async with Simulator("tiny", clock=clock, creation_lag=0) as sim:
        client = Client(sim, http)
        order = {"close_in": 10, "determine_in": 20, "settle_in": 30}
        ticker = (await client.control("POST", "/markets", order))["market_ticker"]

        async def status() -> str:
            return str((await client.get(f"/markets/{ticker}"))["market"]["status"])

        fresh = await client.get("/markets", status="open", tickers=ticker)
        await client.control("POST", "/faults", {"kind": "stale"})
        clock.step(15)
        later = (await client.control("POST", "/markets", {}))["market_ticker"]
        assert await client.get("/markets", status="open", tickers=ticker) == fresh
        assert not (await client.get("/markets", tickers=later))["markets"]
        assert await status() == "active"
        await client.control("DELETE", "/faults")
        assert await status() == "closed"
        clock.step(20)
        assert await status() == "finalized"
        flip = {"kind": "flip", "ticker": ticker, "seconds": 30, "times": 1}
        await client.control("POST", "/faults", flip)
        assert await status() == "active"
        assert await status() == "finalized"


async def _frames(client: Client, fault: dict[str, Any] | None, number: int) -> list[str]:
    async with client.socket() as ws:
        await ws.send_json(SUBSCRIBE)
        await ws.receive_json()
        if fault is not None:
            await client.control("POST", "/faults", fault)
        await client.control("POST", "/markets", {"count": 5})
        async with asyncio.timeout(180):
            frames = [await ws.receive_str() for _ in range(number)]
        await client.control("DELETE", "/faults")
        return frames


def _seqs(frames: list[str]) -> list[int]:
    return [json.loads(frame)["seq"] for frame in frames]


async def test_bad_frames(client: Client) -> None:
    assert _seqs(await _frames(client, None, 6)) == [1, 2, 3, 4, 5, 6]
    twice = await _frames(client, {"kind": "duplicate"}, 12)
    assert twice[::2] == twice[1::2]
    assert _seqs(await _frames(client, {"kind": "reorder"}, 6)) == [2, 1, 4, 3, 6, 5]
    gap = {"kind": "gap", "after": 2, "times": 2}
    assert _seqs(await _frames(client, gap, 4)) == [1, 2, 5, 6]
    garbage = await _frames(client, {"kind": "garbage_frame", "times": 1}, 7)
    assert garbage[0] == "{not json"
    assert _seqs(garbage[1:]) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("kind", "code"), [("channel_error", 10), ("overflow", 25)])
async def test_terminal_errors_end_a_subscription(client: Client, kind: str, code: int) -> None:
    frames = await _frames(client, {"kind": kind, "after": 1}, 2)
    assert json.loads(frames[1])["msg"]["code"] == code


async def test_errors_on_demand(client: Client) -> None:
    asked = {"kind": "error_frame", "code": 18, "times": 1}
    error, *frames = await _frames(client, asked, 7)
    assert json.loads(error)["msg"] == {"code": 18, "msg": "Command timeout"}
    assert _seqs(frames) == [1, 2, 3, 4, 5, 6], "the subscription goes on"
    await client.control("POST", "/faults", {"kind": "refuse", "times": 1})
    async with client.socket() as ws:
        await ws.send_json(SUBSCRIBE)
        refused = await ws.receive_json()
        assert (refused["id"], refused["type"], refused["msg"]["code"]) == (1, "error", 27)
        await ws.send_json(SUBSCRIBE)
        assert (await ws.receive_json())["type"] == "subscribed"


async def test_codes_are_the_specification_s(kalshi_data: Path) -> None:
    spec = yaml.safe_load((kalshi_data / "spec" / "asyncapi.yaml").read_text())
    assert {row["code"]: row["name"] for row in spec["x-error-codes"]["codes"]} == CODES


async def test_silence_does_not_close(http: aiohttp.ClientSession) -> None:
    async with Simulator("tiny", ping_seconds=0.01) as sim:
        client = Client(sim, http)
        await client.control("POST", "/faults", {"kind": "silence"})
        async with http.ws_connect(
            sim.ws_url,
            autoping=False,
            headers={f"KALSHI-ACCESS-{name}": "1" for name in ("KEY", "SIGNATURE", "TIMESTAMP")},
        ) as ws:
            await ws.send_json(SUBSCRIBE)
            await ws.receive_json()
            await client.control("POST", "/markets", {})
            # An answer to a command still comes, and nothing came before it, not to a ping either.
            await ws.ping(b"unheard")
            await ws.send_json({"id": 2, "cmd": "list_subscriptions"})
            assert (await ws.receive_json())["id"] == 2
            await client.control("DELETE", "/faults")
            async with asyncio.timeout(180):
                assert (await ws.receive()).type == aiohttp.WSMsgType.PING
                await ws.ping(b"there?")
                while (message := await ws.receive()).type != aiohttp.WSMsgType.PONG:
                    pass
                assert message.data == b"there?"
            await client.control("POST", "/markets", {})
            async with asyncio.timeout(180):
                while (message := await ws.receive()).type != aiohttp.WSMsgType.TEXT:
                    pass
            assert json.loads(message.data)["seq"] == 3, "what was not said is missing"
