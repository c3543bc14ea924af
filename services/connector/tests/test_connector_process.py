"""The service as it is run: elected, killed, and taken over from."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from ssmd_simulator.signatures import key_at
from ssmd_stack.database import Database
from ssmd_stack.ports import free_port
from ssmd_stream.market.messages import TickerMessage, TradeMessage

from .conftest import Market


class Process:
    """One connector, and its ops port."""

    def __init__(self, child: asyncio.subprocess.Process, port: int) -> None:
        self.child = child
        self.port = port

    async def readiness(self) -> dict[str, object]:
        try:
            async with (
                aiohttp.ClientSession() as http,
                http.get(f"http://127.0.0.1:{self.port}/readyz") as reply,
            ):
                document: dict[str, object] = await reply.json()
                return {"status": reply.status, **document}
        except aiohttp.ClientError:
            return {"status": 0}

    async def until(self, state: str) -> None:
        async with asyncio.timeout(90):
            while True:
                said = await self.readiness()
                if said["status"] == 200 and said.get("state") == state:
                    return
                assert self.child.returncode is None, "it ended"
                await asyncio.sleep(0.05)

    async def end(self) -> int:
        self.child.terminate()
        async with asyncio.timeout(40):
            return await self.child.wait()

    async def kill(self) -> None:
        if self.child.returncode is None:
            self.child.kill()
            await self.child.wait()


@asynccontextmanager
async def process(
    market: Market, database: Database, key: Path, **settings: str
) -> AsyncIterator[Process]:
    key_at(key, "ed25519")
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": database.url,
        "NATS_URL": market.server.url,
        "KALSHI_BASE_URL": market.sim.base_url,
        "KALSHI_WS_URL": market.sim.ws_url,
        "KALSHI_API_KEY": "anyone",
        "KALSHI_PRIVATE_KEY_PATH": str(key),
        "KALSHI_READ_BUDGET": "10000",
        "CONNECTOR_STREAM_MAX_BYTES": str(1 << 26),
        "CONNECTOR_COUNT_SECONDS": "0.2",
        "OPS_HOST": "127.0.0.1",
        "OPS_PORT": str(port),
        **settings,
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ssmd_connector", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    running = Process(child, port)
    try:
        yield running
    finally:
        await running.kill()


async def test_a_killed_leader_costs_no_trade(
    market: Market, database: Database, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    async with process(market, database, key) as first, process(market, database, key) as second:
        await asyncio.wait(
            [
                asyncio.create_task(first.until("leading")),
                asyncio.create_task(second.until("leading")),
            ],
            return_when=asyncio.FIRST_COMPLETED,
        )
        await market.until(lambda: market.trades() >= 30)
        began = market.sim.clock() - 0.3
        led = (await first.readiness()).get("state") == "leading"
        leader, standby = (first, second) if led else (second, first)
        await standby.until("standby")
        await leader.kill()
        await standby.until("leading")
        before = market.trades()
        await market.until(lambda: market.trades() >= before + 30)
        market.sim.floor.set_rate(0)
        await market.whole(began)
        assert await standby.end() == 0
    stored = [m for _, m in await market.stored() if isinstance(m, TradeMessage | TickerMessage)]
    assert len({m.id for m in stored}) == len(stored)
    assert len({m.session for m in stored if m.source == "ws"}) == 2
    # The killed one said nothing at its end; the other one did.
    assert [record.reason for record in await market.records("closed")] == ["stopped"]
    assert len(await market.records("repaired")) >= 1


async def test_one_that_is_turned_off_is_ready_and_asks_nobody(
    market: Market, database: Database, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    off = {"CONNECTOR_ENABLED": "false", "NATS_URL": "nats://127.0.0.1:1"}
    async with process(market, database, key, **off) as idle:
        async with asyncio.timeout(60):
            while (await idle.readiness())["status"] != 200:
                assert idle.child.returncode is None, "it ended"
                await asyncio.sleep(0.05)
        assert await idle.end() == 0
    assert not market.sim.hub.connections
