"""The real service as a process, beside a simulated exchange and a real PostgreSQL."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
import pytest_asyncio
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_lifecycle.transactions import Pool
from ssmd_simulator.server import Simulator
from ssmd_simulator.signatures import key_at
from ssmd_stack import forked
from ssmd_stack.database import Database
from ssmd_stack.ports import free_port
from ssmd_store.sessions import Sessions

PATIENCE_SECONDS = 180.0


async def _eventually(
    what: str, holds: Callable[[], Awaitable[Any]], *, within: float = PATIENCE_SECONDS
) -> Any:
    """Wait until `holds` gives something true; the last value is in the failure."""
    value: Any = None
    deadline = asyncio.get_running_loop().time() + within
    while asyncio.get_running_loop().time() < deadline:
        value = await holds()
        if value:
            return value
        await asyncio.sleep(0.05)
    pytest.fail(f"{what}: not within {within:g} s, last {value!r}")


@dataclass
class Service:
    """One replica of lifecycle as a process."""

    environment: dict[str, str]
    log_path: Path
    port: int = field(default_factory=free_port)
    process: forked.Started | None = None

    async def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = await forked.start(
                "ssmd_lifecycle",
                env={**os.environ, **self.environment, "OPS_PORT": str(self.port)},
                stdout=log,
            )

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body from the ops port; (0, "") while nothing listens."""
        try:
            async with (
                aiohttp.ClientSession() as http,
                http.get(f"http://127.0.0.1:{self.port}{path}") as reply,
            ):
                return reply.status, await reply.text()
        except (aiohttp.ClientError, OSError):
            return 0, ""

    async def is_ready(self) -> bool:
        """Whether it works: a standby is ready, too."""
        assert self.process is not None
        assert self.process.returncode is None, self.logs()
        status, body = await self.get("/readyz")
        return status == 200 and json.loads(body)["state"] != "standby"

    async def ready(self) -> None:
        async def holds() -> bool:
            return await self.is_ready()

        await _eventually(f"{self.log_path.name} ready", holds)

    async def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        _, text = await self.get("/metrics")
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.split("{")[0].split(" ")[0] == name
        )

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 180)

    def logs(self) -> str:
        return self.log_path.read_text("utf-8", "replace")


@pytest.fixture
def eventually() -> Callable[..., Awaitable[Any]]:
    """`await eventually("what", async_predicate)`: waits, with a generous deadline."""
    return _eventually


@pytest_asyncio.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    opened = await postgres.open_pool(
        SecretStr(database.url), "test", budget_seconds=30, max_size=5
    )
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def start_service(
    database: Database, tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[Service]]]:
    """Starts replicas; all are ended with the test."""
    services: list[Service] = []

    async def start(sim: Simulator | None, *, key: bool = True, **more: str) -> Service:
        environment = {
            "DATABASE_URL": database.url,
            "KALSHI_READ_BUDGET": "100000",
            "LIFECYCLE_SILENCE_SECONDS": "25",
            "LOG_LEVEL": "INFO",
        }
        if sim is not None:
            environment |= {"KALSHI_BASE_URL": sim.base_url, "KALSHI_WS_URL": sim.ws_url}
        if key:
            path = tmp_path / "key.pem"
            key_at(path, "ed25519")
            environment |= {"KALSHI_API_KEY": "lifecycle", "KALSHI_PRIVATE_KEY_PATH": str(path)}
        service = Service(environment | more, tmp_path / f"lifecycle-{len(services)}.log")
        services.append(service)
        await service.start()
        return service

    yield start
    for service in services:
        with contextlib.suppress(ProcessLookupError):
            await service.kill()


@pytest_asyncio.fixture
async def connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with database.connect() as opened:
        yield opened


@pytest_asyncio.fixture
async def sessions(database: Database) -> AsyncIterator[Sessions]:
    """What a upserter writes through."""
    async with Sessions(SecretStr(database.url), "t", size=2, budget_seconds=30) as opened:
        yield opened


@pytest.fixture
def kalshi_data() -> Path:
    """The shared facts about the exchange; the test is skipped where they are absent."""
    root = Path(__file__).resolve().parents[3]
    given = os.environ.get("SSMD_KALSHI_DATA")
    path = Path(given) if given else root.parent / "shared" / "kalshi"
    if not path.is_dir():
        pytest.skip(f"the exchange's recorded data is not at {path} (SSMD_KALSHI_DATA)")
    return path
