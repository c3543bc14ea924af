"""Markets live from creation to settlement, with the messages that really exist and no others."""

import asyncio
from collections import Counter, defaultdict
from math import inf
from typing import Any

import aiohttp
import pytest

from ssmd_simulator.client import Client
from ssmd_simulator.exchange import Exchange
from ssmd_simulator.generator import SIZES, generate
from ssmd_simulator.life import Timetable, next_boundary, status_at
from ssmd_simulator.messages import Message
from ssmd_simulator.rolling import Rolling, rollers
from ssmd_simulator.scenarios import Scenarios
from ssmd_simulator.server import Simulator
from ssmd_simulator.settings import QUICK
from ssmd_simulator.stepped import Stepped

LIFE = Timetable(created=0, open=10, close=20, determined=30, settled=40)


@pytest.mark.parametrize(
    ("now", "status", "boundary"),
    [
        (0, "initialized", 10),
        (9.9, "initialized", 10),
        (10, "active", 20),
        (19.9, "active", 20),
        (20, "closed", 30),
        (30, "determined", 40),
        (40, "finalized", inf),
    ],
)
def test_the_timetable(now: float, status: str, boundary: float) -> None:
    assert status_at(LIFE, now) == status
    assert next_boundary(LIFE, now) == boundary


def test_a_pause_shows_only_while_open_and_a_dispute_only_while_determined() -> None:
    assert [status_at(LIFE, now, paused=True) for now in (5, 15, 25)] == [
        "initialized",
        "inactive",
        "closed",
    ]
    assert [status_at(LIFE, now, contested="disputed") for now in (25, 35, 45)] == [
        "closed",
        "disputed",
        "finalized",
    ]


async def test_no_message_exists_for_opening_and_closing(
    http: aiohttp.ClientSession, clock: Stepped
) -> None:
    heard: list[Message] = []
    async with Simulator("tiny", clock=clock, creation_lag=0) as sim:
        sim.exchange.listeners.append(heard.append)
        client = Client(sim, http)
        order = {"open_in": 10, "close_in": 20, "determine_in": 30, "settle_in": 40}
        ticker = (await client.control("POST", "/markets", order))["market_ticker"]
        story = []
        for _ in range(10):
            market = (await client.get(f"/markets/{ticker}"))["market"]
            story.append((market["status"], market["result"], len(heard)))
            clock.step(5)
        assert story == [
            ("initialized", "", 2),
            ("initialized", "", 2),
            ("active", "", 2),
            ("active", "", 2),
            ("closed", "", 2),
            ("closed", "", 2),
            ("determined", "yes", 3),
            ("determined", "yes", 3),
            ("finalized", "yes", 4),
            ("finalized", "yes", 4),
        ]
    kinds = [message.msg.get("event_type", message.type) for message in heard]
    assert kinds == ["event_lifecycle", "created", "determined", "settled"]
    assert heard[2].msg["settlement_value"] == "1.0000"
    assert set(heard[3].msg) == {"market_ticker", "event_type", "settled_ts"}


async def test_a_pause_is_not_an_end(http: aiohttp.ClientSession, clock: Stepped) -> None:
    heard: list[str] = []
    async with Simulator("tiny", clock=clock, creation_lag=0) as sim:
        sim.exchange.listeners.append(lambda message: heard.append(message.msg.get("event_type")))
        client = Client(sim, http)
        ticker = (await client.control("POST", "/markets", {"close_in": 60}))["market_ticker"]
        assert (await client.control("POST", f"/markets/{ticker}/pause"))["status"] == "inactive"
        listed = await client.get("/markets", status="open", tickers=ticker)
        assert listed["markets"][0]["status"] == "inactive"
        assert (await client.control("POST", f"/markets/{ticker}/unpause"))["status"] == "active"
        assert heard == [None, "created", "deactivated", "activated"]


async def test_an_early_determination_moves_the_close_first(
    http: aiohttp.ClientSession, clock: Stepped
) -> None:
    heard: list[dict[str, Any]] = []
    async with Simulator("tiny", clock=clock, creation_lag=0) as sim:
        sim.exchange.listeners.append(lambda message: heard.append(message.msg))
        client = Client(sim, http)
        ticker = (await client.control("POST", "/markets", {"close_in": 9000}))["market_ticker"]
        clock.step(100)
        body = {"result": "no", "settle_in": 5}
        assert (await client.control("POST", f"/markets/{ticker}/determine", body))[
            "status"
        ] == "determined"
        kinds = [msg.get("event_type") for msg in heard[2:]]
        assert kinds == ["close_date_updated", "determined"]
        assert heard[2]["close_ts"] == int(clock())
        clock.step(6)
        market = (await client.get(f"/markets/{ticker}"))["market"]
        assert (market["status"], market["settlement_value_dollars"]) == ("finalized", "0.0000")
        assert heard[-1]["event_type"] == "settled"


async def test_edits_of_titles_are_silent_and_others_are_not(
    http: aiohttp.ClientSession, clock: Stepped
) -> None:
    heard: list[dict[str, Any]] = []
    async with Simulator("tiny", clock=clock, creation_lag=0) as sim:
        client = Client(sim, http)
        made = await client.control("POST", "/markets", {"close_in": 9000, "strike": 4.25})
        ticker, event = made["market_ticker"], made["event_ticker"]
        sim.exchange.listeners.append(lambda message: heard.append(message.msg))
        before = (await client.get(f"/markets/{ticker}"))["market"]
        assert (await client.get(f"/events/{event}"))["event"]["title"] != "Another title"
        clock.step(10)
        # One of its own fields, and two that it shares with the other markets of its event.
        edit = {"title": "Other words", "rules_primary": "Other rules", "rules_secondary": "More"}
        await client.control("PATCH", f"/markets/{ticker}", edit)
        await client.control("PATCH", f"/events/{event}", {"title": "Another title"})
        await client.control("POST", f"/markets/{ticker}/dispute")
        assert heard == []
        after = (await client.get(f"/markets/{ticker}"))["market"]
        assert {field: after[field] for field in edit} == edit
        assert after.keys() == before.keys()
        assert after["updated_time"] > before["updated_time"]
        assert (await client.get(f"/events/{event}"))["event"]["title"] == "Another title"
        await client.control("PATCH", f"/markets/{ticker}", {"floor_strike": 4.5})
        assert [msg["event_type"] for msg in heard] == ["metadata_updated"]
        assert (await client.get(f"/markets/{ticker}"))["market"]["floor_strike"] == 4.5


async def test_disputes_and_amendments_come_without_a_message(
    http: aiohttp.ClientSession, clock: Stepped
) -> None:
    async with Simulator("tiny", clock=clock, creation_lag=0) as sim:
        client = Client(sim, http)
        order = {"close_in": 1, "determine_in": 2, "settle_in": 60}
        ticker = (await client.control("POST", "/markets", order))["market_ticker"]
        clock.step(5)
        sent = (await client.control("GET", "/state"))["messages"]
        story = []
        for deed in ("dispute", "amend"):
            await client.control("POST", f"/markets/{ticker}/{deed}", {"result": "no"})
            market = (await client.get(f"/markets/{ticker}"))["market"]
            story.append((market["status"], market["result"]))
        assert story == [("disputed", "yes"), ("amended", "no")]
        assert (await client.control("GET", "/state"))["messages"] == sent
        assert (await client.get("/markets", status="closed", tickers=ticker))["markets"]


async def test_a_still_universe_stands_still(http: aiohttp.ClientSession, clock: Stepped) -> None:
    heard: list[Message] = []
    async with Simulator("tiny", clock=clock, budget=0) as sim:
        sim.exchange.listeners.append(heard.append)
        client = Client(sim, http)
        first = await client.get("/markets", status="open", limit=1000)
        clock.step(600)
        assert await client.get("/markets", status="open", limit=1000) == first
        assert heard == []


def test_whole_lives_at_the_quick_tempo() -> None:
    clock = Stepped()
    universe = generate(SIZES["small"], 7, clock.now // 86400 * 86400)
    size = len(universe.unsettled)
    exchange = Exchange(universe, clock)
    heard: list[Message] = []
    exchange.listeners.append(heard.append)
    rolling = Rolling(exchange, rollers(universe, full=False), QUICK)
    rolling.start(clock())
    for event in universe.events.values():
        exchange.watch(event, clock())
    for _ in range(600):
        clock.step(0.5)
        exchange.advance(clock())
    lives: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for message in heard:
        if message.type == "market_lifecycle_v2":
            name = message.msg["market_ticker"]
            lives[name].append((message.msg["event_type"], message.at))
    whole = {name: steps for name, steps in lives.items() if len(steps) == 3}
    fast = {name: steps for name, steps in whole.items() if "15M-" in name}
    assert len(fast) > 20
    for name, steps in whole.items():
        assert [kind for kind, _ in steps] == ["created", "determined", "settled"], name
        life = universe.markets[name].life
        assert steps[0][1] <= life.open < life.close < steps[1][1] < steps[2][1]
        assert life.open % 1 == life.close % 1 == 0
    for steps in fast.values():
        assert 20 <= steps[2][1] - steps[0][1] <= 60
    per_second = len(heard) / 300
    assert 0.2 < per_second < 5, per_second
    assert abs(len(universe.unsettled) - size) < 0.05 * size
    assert len({m.ticker for m in universe.markets.values()}) == len(universe.markets)


def test_a_simulator_started_again_goes_on_with_the_same_rolling_events() -> None:
    def at(now: float) -> set[str]:
        clock = Stepped(now)
        universe = generate(SIZES["small"], 7, 1_795_219_200.0)
        Rolling(Exchange(universe, clock), rollers(universe, full=False), QUICK).start(now)
        return {t for t, m in universe.markets.items() if "15M-" in t and m.life.settled > now}

    first, second = at(1_795_230_000.0), at(1_795_230_001.0)
    assert first
    assert len(first & second) >= len(first) // 2


def test_incidents_happen_to_old_markets_only_and_are_announced() -> None:
    clock = Stepped()
    universe = generate(SIZES["small"], 7, clock.now // 86400 * 86400)
    exchange = Exchange(universe, clock)
    heard: list[Message] = []
    exchange.listeners.append(heard.append)
    old = set(universe.events)
    Scenarios(exchange, 3.0).start(clock())
    Rolling(exchange, rollers(universe, full=False), QUICK).start(clock(), roll=False)
    size = len(universe.unsettled)
    rolling = set(universe.events) - old
    for _ in range(400):
        clock.step(3)
        exchange.advance(clock())
    kinds = Counter(message.msg.get("event_type", message.type) for message in heard)
    assert set(kinds) == {
        "created", "activated", "deactivated", "close_date_updated", "determined", "settled",
        "price_level_structure_updated", "metadata_updated", "event_lifecycle", "event_fee_update",
    }  # fmt: skip
    touched = {universe.markets[m.msg["market_ticker"]].event.ticker
               for m in heard if "market_ticker" in m.msg}  # fmt: skip
    assert not touched & rolling
    assert 0 <= kinds["deactivated"] - kinds["activated"] <= 3, "a pause ends soon"
    assert abs(len(universe.unsettled) - size) < 0.1 * size
    edited = [m for m in universe.markets.values() if m.edits and "title" in m.edits]
    assert edited, "titles change without a word"


async def test_an_old_anchor_has_its_settled_markets_in_the_right_place(
    http: aiohttp.ClientSession, clock: Stepped
) -> None:
    """A simulator that is started again days later stands where it would stand by then."""
    anchor = clock.now // 86400 * 86400 - 40 * 86400
    async with Simulator("tiny", clock=clock, anchor=anchor, budget=0) as sim:
        client = Client(sim, http)
        now, cutoff = clock(), sim.rest.cutoff
        truth = {
            ticker
            for ticker, market in sim.universe.markets.items()
            if anchor < market.life.settled <= now and market.life.settled >= cutoff
        }
        listed = await client.all("/markets", "markets", status="settled", limit=1000)
        assert truth
        assert truth <= {market["ticker"] for market in listed}


async def test_a_quick_market_is_followed_in_real_time(http: aiohttp.ClientSession) -> None:
    """One real life through the public interfaces; its length is not measured, only its order."""
    async with Simulator(tempo=200.0, budget=0, creation_lag=0, scenarios=0) as sim:
        client = Client(sim, http)
        seen: dict[str, list[str]] = defaultdict(list)
        async with client.socket() as ws:
            channels = {"channels": ["market_lifecycle_v2"]}
            await ws.send_json({"id": 1, "cmd": "subscribe", "params": channels})
            async with asyncio.timeout(180):
                while not any(steps[-1:] == ["settled"] and len(steps) == 3
                              for steps in seen.values()):  # fmt: skip
                    frame = await ws.receive_json()
                    msg = frame["msg"]
                    if frame["type"] != "market_lifecycle_v2" or "15M" not in msg["market_ticker"]:
                        continue
                    if msg["event_type"] == "created" or msg["market_ticker"] in seen:
                        seen[msg["market_ticker"]].append(msg["event_type"])
                        path = f"/markets/{msg['market_ticker']}"
                        market = (await client.get(path))["market"]
                        if msg["event_type"] == "settled":
                            assert market["status"] == "finalized"
        assert ["created", "determined", "settled"] in seen.values()
