"""What is around the connector goes away for long: the exchange itself, NATS, the stream's leader;
and what comes is ten times as much for a while."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import nats
import nats.errors
import nats.js.errors
import psutil
import pytest
import websockets
from nats.aio.client import Client

from ssmd_connector.capture import without_multivariate
from ssmd_simulator.server import Simulator
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.nats_cluster import NatsCluster
from ssmd_stack.ports import free_port
from ssmd_stream.administration import ensure
from ssmd_stream.market import streams
from ssmd_stream.market.messages import SessionRecord, TickerMessage, TradeMessage
from ssmd_stream.stream import Stream

from .conftest import Market
from .connector_oracle import believed_complete, each_once_and_in_order, quotes_lost, seconds
from .connector_process import process

AWAY_SECONDS = float(os.environ.get("CONNECTOR_AWAY_SECONDS", "60"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(AWAY_SECONDS + 1200)]


async def stream_at(client: Client, *, replicas: int = 1, max_bytes: int = 1 << 28) -> Stream:
    wanted = streams.market_data(max_bytes=max_bytes, replicas=replicas)
    stream = Stream(client, wanted["name"], publisher="connector")
    await ensure(stream, wanted, service="connector", size="CONNECTOR_STREAM_MAX_BYTES")
    return stream


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    """With a NATS of its own, which may go away."""
    async with NatsServer(tmp_path / "nats") as server:
        client = await nats.connect(server.url, max_reconnect_attempts=-1)
        stream = await stream_at(client)
        async with Simulator(budget=0, ws_auth=False, market_rate=300, traded_markets=50) as sim:
            yield Market(sim, server, stream)
        await client.close()


async def test_nats_is_away_for_long(market: Market, database: Database, tmp_path: Path) -> None:
    """The room is full after seconds; what found none is counted, and nothing grows."""
    room = {"CONNECTOR_OUTBOX_MESSAGES": "1500", "CONNECTOR_WINDOW_MESSAGES": "500"}
    async with process(market, database, tmp_path, **room) as connector:
        await connector.until("leading")
        began = await market.first_stored() + 0.05
        await market.until(lambda: market.trades() > 200)
        memory = psutil.Process(connector.child.pid).memory_info
        await market.server.stop()
        full = market.trades() + 1500
        await market.until(lambda: market.trades() > full)
        before = memory().rss
        await asyncio.sleep(max(AWAY_SECONDS - 15, 0))
        grown = (memory().rss - before) / 1e6
        assert connector.child.returncode is None
        await market.server.start()
        goes_on = market.trades() + 600
        await market.until(lambda: market.trades() > goes_on)
        market.sim.floor.set_rate(0)
        await market.whole(began)
        assert await connector.end() == 0
    stored = [message for _, message in await market.stored()]
    each_once_and_in_order(stored)
    lost = quotes_lost(market, stored, began)
    records = [m for m in stored if isinstance(m, SessionRecord)]
    dropped = Counter[str]()
    for record in records:
        if record.what == "dropped":
            dropped.update(record.published or {})
    read_again = sum(record.trades or 0 for record in records)
    sys.stdout.write(f"{len(lost)} quotes lost, dropped {dict(dropped)}, {grown:+.1f} MB\n")
    assert len(lost) > 1000
    assert dropped["ticker"] == len(lost)
    assert dropped["trade"] > 0
    assert read_again >= dropped["trade"]
    assert not believed_complete(stored, "ticker", lost, seconds(stored[-1].received_at))
    assert grown < 30


async def test_a_burst_of_ten_times_the_rate(
    market: Market, database: Database, tmp_path: Path
) -> None:
    async with process(market, database, tmp_path) as connector:
        await connector.until("leading")
        began = await market.first_stored() + 0.05
        await market.until(lambda: market.trades() > 100)
        market.sim.floor.set_rate(3000)
        many = market.trades() + 8000
        await market.until(lambda: market.trades() > many)
        market.sim.floor.set_rate(300)
        goes_on = market.trades() + 100
        await market.until(lambda: market.trades() > goes_on)
        market.sim.floor.set_rate(0)
        await market.whole(began)
        assert await connector.end() == 0
    stored = [message for _, message in await market.stored()]
    each_once_and_in_order(stored)
    # There is room for it: nothing is lost, and no gap is told but the start's.
    assert quotes_lost(market, stored, began) == []
    gaps = [m for m in stored if isinstance(m, SessionRecord) and m.what in ("gap", "dropped")]
    assert {(m.reason or "").split(":")[0] for m in gaps} <= {"start"}


async def test_the_leader_of_the_stream_changes(
    nats_cluster: NatsCluster, database: Database, tmp_path: Path
) -> None:
    """By hand, and because its node is killed."""
    client = await nats.connect([node.url for node in nats_cluster.nodes])
    stream = await stream_at(client, replicas=3, max_bytes=1 << 26)
    async with Simulator(budget=0, ws_auth=False, market_rate=300, traded_markets=50) as sim:
        market = Market(sim, nats_cluster, stream)
        three = {"CONNECTOR_STREAM_REPLICAS": "3", "CONNECTOR_ACK_SECONDS": "2"}
        async with process(market, database, tmp_path, **three) as connector:
            await connector.until("leading")
            began = await market.first_stored() + 0.05
            for _ in range(4):
                await new_leader(client, stream.name)
                goes_on = market.trades() + 100
                await market.until(lambda n=goes_on: market.trades() > n)  # type: ignore[misc]
            leader = await leader_at(client, stream.name)
            node = next(one for one in nats_cluster.nodes if one.options["server_name"] == leader)
            await node.kill()
            goes_on = market.trades() + 300
            await market.until(lambda: market.trades() > goes_on)
            await node.start()
            goes_on = market.trades() + 300
            await market.until(lambda: market.trades() > goes_on)
            sim.floor.set_rate(0)
            await market.whole(began)
            assert await connector.end() == 0
        stored = [message for _, message in await market.stored()]
    await client.close()
    each_once_and_in_order(stored)
    lost = quotes_lost(market, stored, began)
    assert not believed_complete(stored, "ticker", lost, seconds(stored[-1].received_at))


async def leader_at(client: Client, name: str) -> str:
    """The node that leads a stream, once one does."""
    async with asyncio.timeout(180):
        while True:
            try:
                reply = await client.request(f"$JS.API.STREAM.INFO.{name}", b"", timeout=2)
                if leader := (json.loads(reply.data).get("cluster") or {}).get("leader"):
                    return str(leader)
            except nats.errors.Error:
                pass
            await asyncio.sleep(0.1)


async def new_leader(client: Client, name: str) -> None:
    """Have the stream's leader step down, and wait until another one leads."""
    before = await leader_at(client, name)
    reply = await client.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{name}", b"", timeout=10)
    assert json.loads(reply.data).get("success"), reply.data
    async with asyncio.timeout(180):
        while await leader_at(client, name) == before:  # noqa: ASYNC110 - it asks a server
            await asyncio.sleep(0.1)


# --- the exchange is killed -----------------------------------------------------------------------


class Far:
    """A simulator as a process of its own, which is killed and comes back at its place."""

    def __init__(self) -> None:
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/trade-api/v2"
        self.ws_url = f"ws://127.0.0.1:{self.port}/trade-api/ws/v2"
        self.heard: list[dict[str, Any]] = []
        """What a witness was sent, who hears what the connector hears."""

    @asynccontextmanager
    async def living(self, seed: int) -> AsyncIterator[asyncio.subprocess.Process]:
        given = [
            "--port", str(self.port), "--no-ws-auth", "--budget", "0", "--market-rate", "300",
            "--traded-markets", "50", "--seed", str(seed),
        ]  # fmt: skip
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ssmd_simulator", *given, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            yield child
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()

    async def listen(self) -> None:
        """Be the witness, over all lives, until it is cancelled."""
        while True:
            try:
                async with websockets.connect(self.ws_url, ping_interval=None) as socket:
                    for number, channel in enumerate(("trade", "ticker"), 1):
                        command = {"channels": [channel]}
                        await socket.send(
                            json.dumps({"id": number, "cmd": "subscribe", "params": command})
                        )
                    async for frame in socket:
                        self.heard.append(json.loads(frame))
            except (OSError, websockets.WebSocketException):
                await asyncio.sleep(0.2)

    async def more(self, frames: int) -> None:
        """Wait until the witness heard so many more."""
        wanted = len(self.heard) + frames
        async with asyncio.timeout(180):
            while len(self.heard) < wanted:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)

    async def quiet(self) -> None:
        """Nothing more is traded."""
        async with aiohttp.ClientSession() as http:
            control = f"http://127.0.0.1:{self.port}/control/trading"
            async with http.post(control, json={"rate": 0}) as reply:
                assert reply.status < 300, await reply.text()


def at_of(frame: dict[str, Any]) -> float:
    """When it was said; seconds."""
    return float(frame["msg"]["ts_ms"] / 1000)


async def heard_anew(market: Market, known: set[str]) -> set[str]:
    """The sessions of the stream's trades, once there is another one than these."""
    async with asyncio.timeout(180):
        while True:
            found = {m.session for _, m in await market.stored() if isinstance(m, TradeMessage)}
            if found - known:
                return found
            await asyncio.sleep(0.2)


async def test_the_exchange_is_killed_and_comes_back(
    market: Market, database: Database, tmp_path: Path
) -> None:
    far = Far()
    market.sim.floor.set_rate(0)
    listening = asyncio.create_task(far.listen())
    at = {"KALSHI_BASE_URL": far.base_url, "KALSHI_WS_URL": far.ws_url}
    async with process(market, database, tmp_path, **at) as connector:
        known, began = set[str](), 0.0
        for seed in (7, 8, 9):
            async with far.living(seed) as exchange:
                known |= await heard_anew(market, known)
                began = began or await market.first_stored() + 0.05
                await far.more(1500)
                if seed == 9:
                    await far.quiet()
                    await asyncio.sleep(2)
                else:
                    exchange.kill()
        assert await connector.end() == 0
    listening.cancel()
    stored = [message for _, message in await market.stored()]
    each_once_and_in_order(stored)
    until = seconds(stored[-1].received_at)
    have = {m.trade_id for m in stored if isinstance(m, TradeMessage)}
    sent = [
        frame
        for frame in far.heard
        if frame["type"] in ("trade", "ticker")
        and at_of(frame) >= began
        and without_multivariate(frame["msg"]["market_ticker"])
    ]
    gone = [f for f in sent if f["type"] == "trade" and f["msg"]["trade_id"] not in have]
    assert len(have) > 500
    assert not believed_complete(stored, "trade", map(at_of, gone), until)
    quotes = Counter(
        json.dumps(json.loads(bytes(m.msg)), sort_keys=True)
        for m in stored
        if isinstance(m, TickerMessage)
    )
    missing = [
        at_of(f)
        for f in sent
        if f["type"] == "ticker" and json.dumps(f["msg"], sort_keys=True) not in quotes
    ]
    assert len(missing) < len(quotes)
    assert not believed_complete(stored, "ticker", missing, until)
