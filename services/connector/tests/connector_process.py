"""Services as processes of a test."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from ssmd_simulator.signatures import key_at
from ssmd_stack import forked
from ssmd_stack.database import Database
from ssmd_stack.ports import free_port

from .conftest import Market


class Process:
    """One service, and its ops port."""

    def __init__(self, child: forked.Started, port: int) -> None:
        self.child = child
        self.port = port

    async def readiness(self) -> dict[str, Any]:
        try:
            async with (
                aiohttp.ClientSession() as http,
                http.get(f"http://127.0.0.1:{self.port}/readyz") as reply,
            ):
                document: dict[str, Any] = await reply.json()
                return {"status": reply.status, **document}
        except aiohttp.ClientError:
            return {"status": 0}

    async def until(self, state: str) -> None:
        async with asyncio.timeout(180):
            while True:
                said = await self.readiness()
                if said["status"] == 200 and said.get("state") == state:
                    return
                assert self.child.returncode is None, "it ended"
                await asyncio.sleep(0.05)

    async def says(self, text: str) -> None:
        """Wait until it is degraded for a reason with this text."""
        async with asyncio.timeout(180):
            while text not in str((await self.readiness()).get("degraded")):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def end(self) -> int:
        self.child.terminate()
        async with asyncio.timeout(40):
            return await self.child.wait()

    async def kill(self) -> None:
        if self.child.returncode is None:
            self.child.kill()
            await self.child.wait()


async def leader_of(running: Sequence[Process]) -> Process:
    """The one that leads, once one does."""
    async with asyncio.timeout(180):
        while True:
            for one in running:
                if (await one.readiness()).get("state") == "leading":
                    return one
            await asyncio.sleep(0.05)


@asynccontextmanager
async def process(
    market: Market, database: Database, folder: Path, service: str = "connector", **settings: str
) -> AsyncIterator[Process]:
    """A connector, or another service, until the block ends; its log is in the folder."""
    key = folder / "key.pem"
    key_at(key, "ed25519")
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": database.url,
        "NATS_URL": market.url_of(service),
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
    with (folder / f"{service}.log").open("ab") as log:
        child = await forked.start(f"ssmd_{service}", env=environment, stdout=log)
    running = Process(child, port)
    try:
        yield running
    finally:
        await running.kill()
