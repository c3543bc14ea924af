"""REST and WebSocket tell one story: a scan, plus every message, plus the clock, is the next scan.

This is what a mirror of the exchange relies on; a simulator that broke it would be lying.
"""

from datetime import datetime
from typing import Any

import aiohttp
import msgspec

from ssmd_simulator.client import Client
from ssmd_simulator.life import STATUSES_OF_QUERY
from ssmd_simulator.messages import Message
from ssmd_simulator.server import Simulator
from ssmd_simulator.settings import QUICK
from ssmd_simulator.stepped import Stepped

COMPARED = (
    "event_ticker", "status", "open_time", "close_time", "result", "settlement_value_dollars",
    "price_level_structure", "floor_strike", "cap_strike", "custom_strike", "yes_sub_title",
)  # fmt: skip
# Without a message: the mirror learns of them by another scan only.
SILENT = {"disputed", "amended"}


class Mirror:
    """Markets as someone sees them who scanned once and has listened ever since."""

    def __init__(self, scanned: list[dict[str, Any]]) -> None:
        self.markets = {
            market["ticker"]: {
                **{field: market.get(field) for field in COMPARED},
                "open_time": _seconds(market["open_time"]),
                "close_time": _seconds(market["close_time"]),
            }
            for market in scanned
        }

    def hear(self, msg: dict[str, Any], kind: str) -> None:
        if kind != "market_lifecycle_v2":
            return
        if msg["event_type"] == "created":
            metadata = msg["additional_metadata"]
            self.markets[msg["market_ticker"]] = {
                **{field: metadata.get(field) for field in COMPARED},
                "status": "initialized",
                "result": "",
                "open_time": msg["open_ts"],
                "close_time": msg["close_ts"],
                "price_level_structure": msg["price_level_structure"],
            }
            return
        market = self.markets[msg["market_ticker"]]
        match msg["event_type"]:
            case "deactivated":
                market["status"] = "inactive"
            case "activated":
                market["status"] = "active"
            case "close_date_updated":
                market["close_time"] = msg["close_ts"]
            case "determined":
                market["status"] = "determined"
                market["result"] = msg["result"]
                market["settlement_value_dollars"] = msg["settlement_value"]
            case "settled":
                market["status"] = "finalized"
            case "metadata_updated" | "price_level_structure_updated":
                market.update({field: msg[field] for field in COMPARED if field in msg})

    def tick(self, now: float) -> None:
        """Opening and closing happen by the clock alone."""
        for market in self.markets.values():
            if market["status"] == "initialized" and now >= market["open_time"]:
                market["status"] = "active"
            if market["status"] in ("active", "inactive") and now >= market["close_time"]:
                market["status"] = "closed"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def test_a_scan_and_every_message_and_the_clock_are_the_next_scan(
    http: aiohttp.ClientSession, clock: Stepped
) -> None:
    async with Simulator("tiny", clock=clock, tempo=QUICK, budget=0, scenarios=2.0) as sim:
        client = Client(sim, http)
        plain = {"limit": 1000, "mve_filter": "exclude"}
        heard: list[Message] = []
        mirror = Mirror(await client.all("/markets", "markets", **plain))
        sim.exchange.listeners.append(heard.append)
        for _ in range(900):
            clock.step(1)
            sim.exchange.advance(clock())
            for message in heard:
                # The clock passes before a message is read, as in a service that is up to date.
                mirror.tick(message.at)
                mirror.hear(msgspec.json.decode(msgspec.json.encode(message.msg)), message.type)
            heard.clear()
        mirror.tick(clock())
        second = Mirror(await client.all("/markets", "markets", **plain)).markets
        assert len(second) > 1000
        gone = set(mirror.markets) - set(second)
        for ticker in gone:
            # A provisional market may vanish, an old one moves to the historical tier.
            known = sim.universe.markets.get(ticker)
            assert known is None or known.life.settled < sim.rest.cutoff, ticker
        assert set(second) <= set(mirror.markets), "a market nobody announced"
        different = [
            (ticker, field, mirror.markets[ticker][field], market[field])
            for ticker, market in second.items()
            for field in COMPARED
            if mirror.markets[ticker][field] != market[field]
            and not (field == "status" and market["status"] in SILENT)
        ]
        assert not different, different[:5]
        for status, words in STATUSES_OF_QUERY.items():
            listed = await client.all("/markets", "markets", status=status, **plain)
            expected = {t for t, market in second.items() if market["status"] in words}
            assert {market["ticker"] for market in listed} == expected, status
