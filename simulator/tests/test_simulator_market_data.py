"""Trades, quotes and books: they agree with each other and with REST, and break as told."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ssmd_simulator.client import Client
from ssmd_simulator.faults import Fault
from ssmd_simulator.scripted import ScriptedMarket
from ssmd_simulator.server import Simulator

from .specification import Specification

SCHEMAS = {
    "trade": "tradePayload",
    "ticker": "tickerPayload",
    "orderbook_snapshot": "orderbookSnapshotPayload",
    "orderbook_delta": "orderbookDeltaPayload",
    "subscribed": "subscribedResponsePayload",
    "unsubscribed": "unsubscribedResponsePayload",
    "ok": "okResponsePayload",
    "error": "errorResponsePayload",
}


def subscribe(number: int, channel: str, tickers: list[str] | None = None, **params: Any) -> Any:
    params |= {"channels": [channel]}
    if tickers is not None:
        params["market_tickers"] = tickers
    return {"id": number, "cmd": "subscribe", "params": params}


def update(number: int, action: str, tickers: list[str], sid: int = 1) -> Any:
    params = {"sids": [sid], "market_tickers": tickers, "action": action}
    return {"id": number, "cmd": "update_subscription", "params": params}


async def frames(ws: aiohttp.ClientWebSocketResponse) -> AsyncIterator[dict[str, Any]]:
    """What comes until an answer with the id 999 does."""
    await ws.send_json({"id": 999, "cmd": "list_subscriptions"})
    async with asyncio.timeout(180):
        while (frame := await ws.receive_json()).get("id") != 999:
            yield frame


def without_dots(frame: dict[str, Any]) -> dict[str, Any]:
    """The specification's pattern of a ticker has no dot, its own examples do."""
    msg = frame["msg"]
    if "market_ticker" in msg:
        msg = {**msg, "market_ticker": msg["market_ticker"].replace(".", "-")}
    return {**frame, "msg": msg}


async def trades_made(sim: Simulator, how_many: int) -> None:
    async with asyncio.timeout(180):
        while sim.floor.made < how_many:  # noqa: ASYNC110 - the floor has no event for it
            await asyncio.sleep(0.01)
    sim.floor.set_rate(0)


def active(sim: Simulator, how_many: int) -> list[str]:
    now = sim.clock()
    found = [m.ticker for m in sim.universe.unsettled if m.status(now) == "active"]
    return found[:how_many]


async def test_what_is_said_agrees_with_rest_and_fits_the_specification(
    http: aiohttp.ClientSession, asyncapi: Specification, openapi: Specification
) -> None:
    async with Simulator(budget=0, market_rate=1500, traded_markets=60) as sim:
        client, tickers = Client(sim, http), active(sim, 60)
        async with client.socket() as ws:
            await ws.send_json(subscribe(1, "trade"))
            await ws.send_json(subscribe(2, "ticker"))
            await ws.send_json(subscribe(3, "orderbook_delta", tickers))
            await trades_made(sim, 1500)
            books: dict[str, dict[tuple[str, str], Decimal]] = defaultdict(dict)
            quotes: dict[str, Any] = {}
            trades: dict[str, list[Any]] = defaultdict(list)
            checked: dict[str, int] = defaultdict(int)
            async for frame in frames(ws):
                kind, msg = frame["type"], frame["msg"]
                checked[kind] += 1
                if checked[kind] <= 100:
                    asyncapi.check(SCHEMAS[kind], without_dots(frame))
                ticker = msg.get("market_ticker")
                match kind:
                    case "trade":
                        trades[ticker].append(msg)
                    case "ticker":
                        quotes[ticker] = msg
                    case "orderbook_snapshot":
                        books[ticker] = {
                            (side, price): Decimal(count)
                            for side in ("yes", "no")
                            for price, count in msg.get(f"{side}_dollars_fp", [])
                        }
                    case "orderbook_delta":
                        level = (msg["side"], msg["price_dollars"])
                        left = books[ticker].get(level, Decimal(0)) + Decimal(msg["delta_fp"])
                        assert left >= 0
                        books[ticker][level] = left
                        if not left:
                            del books[ticker][level]
            assert all(checked[kind] > 100 for kind in ("trade", "ticker", "orderbook_delta"))
        reply = await http.get(
            sim.base_url + "/markets/orderbooks", params=[("tickers", t) for t in tickers]
        )
        shown = await reply.json()
        openapi.check("GetMarketOrderbooksResponse", shown)
        for row in shown["orderbooks"]:
            said = {
                (side, price): Decimal(count)
                for side in ("yes", "no")
                for price, count in row["orderbook_fp"][f"{side}_dollars"]
            }
            assert said == books[row["ticker"]]
            best_first = [Decimal(price) for price, _ in row["orderbook_fp"]["yes_dollars"]]
            assert best_first == sorted(best_first, reverse=True)
        for ticker, quote in quotes.items():
            market = (await client.get(f"/markets/{ticker}"))["market"]
            for field in ("yes_bid_dollars", "yes_ask_dollars", "volume_fp", "open_interest_fp",
                          "yes_bid_size_fp", "yes_ask_size_fp"):  # fmt: skip
                assert market[field] == quote[field], (ticker, field)
            assert market["last_price_dollars"] == quote["price_dollars"]
            rows = await client.all("/markets/trades", "trades", ticker=ticker, limit=40)
            openapi.check("GetTradesResponse", {"trades": rows, "cursor": ""})
            heard = [trade["trade_id"] for trade in trades[ticker]]
            assert [row["trade_id"] for row in rows][: len(heard)] == heard[::-1]
            assert sum(Decimal(row["count_fp"]) for row in rows) == Decimal(market["volume_fp"])
        every = await client.all("/markets/trades", "trades", limit=1000)
        assert len({row["trade_id"] for row in every}) == len(every) == len(sim.floor.tape)


async def test_a_market_is_traded_from_its_opening_to_its_close(
    http: aiohttp.ClientSession,
) -> None:
    async with Simulator(budget=0, market_rate=200, traded_markets=3000) as sim:
        client = Client(sim, http)
        [market] = sim.control.script(ScriptedMarket(open_in=0.2, close_in=1.5))
        shown = (await client.get(f"/markets/{market.ticker}/orderbook"))["orderbook_fp"]
        assert shown == {"yes_dollars": [], "no_dollars": []}
        sim.floor._active.clear()
        async with client.socket() as ws:
            await ws.send_json(subscribe(1, "orderbook_delta", [market.ticker]))
            kinds = defaultdict(int)
            async with asyncio.timeout(180):
                while sim.clock() < market.life.close + 0.2:
                    kinds[(await ws.receive_json())["type"]] += 1
                    if market.status(sim.clock()) == "closed" and not sim.floor.of(market).yes:
                        break
        assert kinds["orderbook_delta"] > 3
        trading = sim.floor.of(market)
        assert (trading.yes, trading.no) == ({}, {}), "orders end with the trading"
        assert sum(trade.size for trade in sim.floor.tape.all(market.ticker)) == trading.volume


async def test_a_market_that_nobody_offered_anything_in_is_traded_on_demand() -> None:
    async with Simulator(budget=0, market_rate=0.001, traded_markets=300) as sim:
        [market] = sim.control.script(ScriptedMarket(open_in=-1, close_in=3600))
        trading = sim.floor.of(market)
        for traded in range(1, 21):
            trading.yes.clear()
            trading.no.clear()
            sim.exchange.trade(market)
            assert len(sim.floor.tape.all(market.ticker)) == traded


@pytest.mark.parametrize(
    ("mode", "numbers"), [("used", 1), ("next", 2), ("last", 3), ("none", None)]
)
async def test_acknowledgements_are_numbered_as_told(
    http: aiohttp.ClientSession, mode: Any, numbers: int | None
) -> None:
    async with Simulator(ack_numbers=mode) as sim, Client(sim, http).socket() as ws:
        one, two, three = active(sim, 3)
        await ws.send_json(subscribe(1, "orderbook_delta", [one]))
        await ws.send_json(update(2, "add_markets", [two, three]))
        await ws.send_json(update(3, "get_snapshot", [one]))
        seen = [(f["type"], f.get("seq")) async for f in frames(ws)]
    # One snapshot, then an acknowledgement with its number or without.
    after = 1 if mode == "used" else 0
    acks = {"used": (2, 5), "next": (2, 4), "last": (1, 3), "none": (None, None)}[mode]
    assert seen == [
        ("subscribed", None),
        ("orderbook_snapshot", 1),
        ("ok", acks[0]),
        ("orderbook_snapshot", 2 + after),
        ("orderbook_snapshot", 3 + after),
        ("ok", acks[1]),
        ("orderbook_snapshot", 4 + 2 * after),
    ]


async def test_lists_are_limited_and_changed(http: aiohttp.ClientSession) -> None:
    async with Simulator(market_limit=3, command_rate=3) as sim, Client(sim, http).socket() as ws:
        tickers = active(sim, 5)
        for command in (
            subscribe(1, "orderbook_delta"),
            subscribe(2, "orderbook_delta", ["NOPE"]),
            subscribe(3, "orderbook_delta", tickers[:4]),
            subscribe(4, "orderbook_delta", tickers[:2]),
            update(5, "add_markets", tickers[1:4]),
            update(6, "delete_markets", tickers[:1]),
            update(7, "add_markets", tickers[2:4]),
            update(8, "delete_markets", tickers[:1]),
        ):
            await ws.send_json(command)
        answers = {f["id"]: f async for f in frames(ws) if "id" in f}
        codes = {n: f["msg"]["code"] for n, f in answers.items() if f["type"] == "error"}
        assert codes == {1: 14, 2: 16, 3: 26, 5: 26, 8: 27}
        assert answers[2]["msg"]["market_ticker"] == "NOPE"
        assert answers[6]["msg"]["market_tickers"] == [tickers[1]]
        assert answers[7]["msg"]["market_tickers"] == tickers[1:4]


async def test_prices_of_no_can_be_what_yes_costs(http: aiohttp.ClientSession) -> None:
    async with Simulator() as sim, Client(sim, http).socket() as one, Client(
        sim, http).socket() as two:  # fmt: skip
        ticker = next(t for t in active(sim, 100) if sim.floor.of(sim.universe.markets[t]).no)
        await one.send_json(subscribe(1, "orderbook_delta", [ticker], use_yes_price=True))
        await two.send_json(subscribe(1, "orderbook_delta", [ticker]))
        [yes] = [f["msg"] async for f in frames(one) if f["type"] == "orderbook_snapshot"]
        [no] = [f["msg"] async for f in frames(two) if f["type"] == "orderbook_snapshot"]
        turned = [[f"{1 - Decimal(price):.4f}", count] for price, count in no["no_dollars_fp"]]
        assert yes["no_dollars_fp"] == turned[::-1]
        assert yes.get("yes_dollars_fp") == no.get("yes_dollars_fp")


async def test_a_subscriber_that_lags_too_far_is_ended(http: aiohttp.ClientSession) -> None:
    async with Simulator(market_rate=5000, traded_markets=50, frames_kept=5) as sim:
        async with Client(sim, http).socket() as ws, asyncio.timeout(180):
            await ws.send_json(subscribe(1, "ticker"))
            while (frame := await ws.receive_json())["type"] != "error":
                pass
        assert (frame["msg"]["code"], frame["sid"]) == (25, 1)


async def test_a_half_open_connection_is_silent_and_a_new_one_is_not(
    http: aiohttp.ClientSession,
) -> None:
    async with Simulator(ping_seconds=0.01, market_rate=500) as sim:
        client = Client(sim, http)
        async with client.socket() as ws:
            await ws.send_json(subscribe(1, "ticker"))
            await ws.receive_json()
            assert (await client.control("POST", "/half_open"))["connections"] == 1
            await ws.send_json(subscribe(2, "trade"))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    while True:
                        # What was under way already still comes.
                        assert (await ws.receive_json())["type"] == "ticker"
            async with client.socket() as other, asyncio.timeout(180):
                await other.send_json(subscribe(1, "ticker"))
                assert (await other.receive_json())["type"] == "subscribed"
                assert (await other.receive_json())["type"] == "ticker"


async def test_the_log_holds_every_frame_and_what_became_of_it(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    path = tmp_path / "sent.jsonl"
    async with Simulator(market_rate=2000, traded_markets=20, sent_log=path) as sim:
        async with Client(sim, http).socket() as ws:
            await ws.send_json(subscribe(1, "orderbook_delta", active(sim, 20)))
            sim.faults.start(Fault("gap", channel="orderbook_delta", after=100, times=3))
            sim.faults.start(Fault("reorder", channel="orderbook_delta", after=200, times=1))
            await trades_made(sim, 500)
            heard = [frame async for frame in frames(ws)]
        sim.hub.flush()
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    logged = [line for line in lines if "frame" in line and line["frame"].get("id") != 999]
    assert [line["frame"].get("seq") for line in logged] == [None, *range(1, len(logged))]
    fates = [line["fate"] for line in logged]
    assert (fates.count("lost"), fates.count("late")) == (3, 1)
    sent = {line["frame"].get("seq") for line in logged if line["fate"] != "lost"}
    assert {frame.get("seq") for frame in heard} == sent


async def test_trades_have_no_numbers_where_told_so(http: aiohttp.ClientSession) -> None:
    for told in (True, False):
        async with (
            Simulator(trade_numbers=told, market_rate=200, traded_markets=50) as sim,
            Client(sim, http).socket() as ws,
            asyncio.timeout(180),
        ):
            await ws.send_json(subscribe(1, "trade"))
            await ws.send_json(subscribe(2, "ticker"))
            seen: dict[str, bool] = {}
            while not {"trade", "ticker"} <= seen.keys():
                frame = await ws.receive_json()
                seen[frame["type"]] = "seq" in frame
        assert (seen["trade"], seen["ticker"]) == (told, False)


async def test_rest_has_trades_by_time_and_tier(http: aiohttp.ClientSession) -> None:
    async with Simulator(
        budget=0, market_rate=1000, traded_markets=300, historical_after=30
    ) as sim:
        client, before = Client(sim, http), len(sim.floor.tape)
        while len(sim.floor.tape) < before + 500:  # noqa: ASYNC110 - the floor has no event for it
            await asyncio.sleep(0.01)
        sim.floor.set_rate(0)
        tape = sim.floor.tape.all()
        cutoff = sim.rest.cutoff
        live = await client.all("/markets/trades", "trades", limit=1000)
        old = await client.all("/historical/trades", "trades", limit=1000)
        assert len(live) + len(old) == len(tape)
        assert len(old) >= sum(trade.at < cutoff * 1e6 for trade in tape) > 0
        middle = tape[-1].at // 1_000_000
        late = await client.all("/markets/trades", "trades", min_ts=middle - 1, limit=1000)
        assert len(late) == sum(trade.at >= middle * 1_000_000 for trade in tape)
        early = await client.all("/markets/trades", "trades", max_ts=middle - 1, limit=1000)
        assert len(early) + len(late) == len(live)
        status, _ = await client.reply("/markets/trades", cursor="x")
        assert status == 400
