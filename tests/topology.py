"""The services as processes on servers of a test's choosing, restarted as a cluster does."""

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from ssmd_common.parts import SERVICES
from ssmd_simulator.server import Simulator
from ssmd_simulator.signatures import key_at
from ssmd_stack import forked
from ssmd_stack.nats import NatsServer
from ssmd_stack.pgbouncer import Pgbouncer
from ssmd_stack.ports import free_port
from ssmd_stack.valkey import ValkeyServer

PATIENCE_SECONDS = 180.0


@dataclass
class Service:
    """One service. `restarts`: begin again when it ends with another code than 2, until closed."""

    name: str
    environment: dict[str, str]
    log: Path
    restarts: bool = False
    fork: bool = True
    port: int = field(default_factory=free_port)
    process: forked.Started | None = None
    codes: list[int] = field(default_factory=list)
    _keeper: "asyncio.Task[None] | None" = None

    async def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep(), name=self.name)

    async def _keep(self) -> None:
        while True:
            with self.log.open("ab") as log:
                environment = {**self.environment, "OPS_PORT": str(self.port)}
                self.process = await forked.start(
                    f"ssmd_{self.name}", env=environment, stdout=log, fork=self.fork
                )
            self.codes.append(await self.process.wait())
            if not self.restarts or self.codes[-1] == 2:
                return
            await asyncio.sleep(0.2)

    async def ended(self) -> tuple[int, str]:
        """The exit code and the last sentence of a service that ends by itself."""
        assert self._keeper is not None
        await asyncio.wait_for(asyncio.shield(self._keeper), PATIENCE_SECONDS)
        lines = self.log.read_text().splitlines()
        assert lines
        return self.codes[-1], json.loads(lines[-1]).get("error", lines[-1])

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        """The status of /readyz and what it says; 0 while nothing listens."""
        try:
            async with (
                aiohttp.ClientSession() as http,
                http.get(f"http://127.0.0.1:{self.port}/readyz") as reply,
            ):
                return reply.status, await reply.json()
        except (aiohttp.ClientError, OSError):
            return 0, {}

    async def until(self, holds: Callable[[int, dict[str, Any]], bool], what: str) -> None:
        """Wait for what /readyz says."""
        status, said = 0, {}
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    status, said = await self.readiness()
                    if holds(status, said):
                        return
                    assert self._keeper is not None
                    if self._keeper.done():
                        raise AssertionError(f"{self.name} ended: {self.log.read_text()[-3000:]}")
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(
                f"{self.name} is not {what}: {status} {said}\n{self.log.read_text()[-3000:]}"
            ) from None

    async def ready(self) -> None:
        """Wait until it works: a standby is ready, too."""
        await self.until(lambda status, said: status == 200 and said["state"] != "standby", "ready")

    async def says(self, text: str) -> None:
        """Wait until it is not ready for a reason with this text."""
        await self.until(
            lambda status, said: status == 503 and text in str(said.get("reasons")), text
        )


class Topology:
    """Starts services on one NATS, one Redis and a simulated exchange."""

    def __init__(
        self, nats: NatsServer, valkey: ValkeyServer, exchange: Simulator, folder: Path
    ) -> None:
        self._folder = folder
        key = folder / "key.pem"
        key_at(key, "ed25519")
        jobs = folder / "jobs.yaml"
        # Once at the start, then nothing for an hour: a service that is quiet.
        jobs.write_text("jobs:\n  - {id: everything, mode: full, every: 1h}\n")
        self.environment = {
            "PATH": os.environ["PATH"],
            "NATS_URL": nats.url,
            "REDIS_URL": valkey.url,
            "KALSHI_BASE_URL": exchange.base_url,
            "KALSHI_WS_URL": exchange.ws_url,
            "KALSHI_READ_BUDGET": "100000",
            "KALSHI_API_KEY": "topology",
            "KALSHI_PRIVATE_KEY_PATH": str(key),
            "SYNC_JOBS_FILE": str(jobs),
            "CDC_SLOT": f"s_{secrets.token_hex(4)}",
            "CDC_HEARTBEAT_SECONDS": "0.5",
            "ARCHIVER_ROOT": str(folder / "archive"),
            "OPS_HOST": "127.0.0.1",
            "API_HOST": "127.0.0.1",
            "STARTUP_BUDGET_SECONDS": "60",
        }
        self.fork = True
        """False where the metrics of each service are looked at."""
        self._stack = AsyncExitStack()

    async def start(self, name: str, url: str, *, restarts: bool = False, **more: str) -> Service:
        environment = {
            **self.environment,
            "DATABASE_URL": url,
            "API_PORT": str(free_port()),
            **more,
        }
        log = self._folder / f"{name}-{secrets.token_hex(3)}.log"
        service = Service(name, environment, log, restarts, self.fork)
        self._stack.push_async_callback(service.close)
        await service.start()
        return service

    async def start_all(
        self, url: str, names: Iterable[str] = SERVICES, *, restarts: bool = False
    ) -> list[Service]:
        return [await self.start(name, url, restarts=restarts) for name in names]

    async def close(self) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def topology(nats: NatsServer, valkey: ValkeyServer, folder: Path) -> AsyncIterator[Topology]:
    """Services are ended before their servers."""
    async with Simulator("small") as exchange:
        made = Topology(nats, valkey, exchange, folder)
        try:
            yield made
        finally:
            await made.close()


@asynccontextmanager
async def pooled(folder: Path, url: str, **settings: str | int) -> AsyncIterator[Pgbouncer]:
    """A pgbouncer before the database of `url`."""
    server = Pgbouncer(folder / f"pgbouncer-{secrets.token_hex(4)}", url, **settings)
    try:
        async with server:
            yield server
    finally:
        server.remove()


async def execute(url: str, *statements: str) -> None:
    """Each statement in a transaction of its own."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(statement)  # type: ignore[arg-type]


def verify(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """`ssmd cache verify` on those servers."""
    return forked.run("ssmd_cli", "cache", "verify", env=environment)
