"""How long the change stream stands still when the publisher is lost and its standby takes over.

Two publishers as processes of their own, a writer that commits every 20 ms, and a subscriber. The
figure is from the loss of the first to the arrival of the first change that was committed after it:

- dead: the leader's process is killed, the kernel closes its connections.
- lost: the leader's node vanishes: its connections to PostgreSQL and NATS stay open and silent
  (a proxy that passes nothing on any more).

usage: python benchmarks/cdc_takeover.py [--rounds 5] [--only dead|lost]
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import nats
import psycopg
from nats.aio.msg import Msg

from ssmd_common.migrations import migration_files
from ssmd_stack.database import migrate
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.proxy import TcpProxy
from ssmd_stack.scratch import scratch_directory

BOUNDS_SECONDS = {"dead": 2.0, "lost": 15.0}
SLOT = "takeover"


@dataclass
class Publisher:
    process: asyncio.subprocess.Process
    proxies: list[TcpProxy]
    port: int

    async def until(self, state: str) -> None:
        """Wait until it is leading or standby."""
        async with aiohttp.ClientSession() as http:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                        said = await answer.json()
                        if said["state"] == state and answer.ok == (state == "leading"):
                            return
                await asyncio.sleep(0.05)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@dataclass
class Seen:
    """When changes arrived, by the moment that their rows carry."""

    arrivals: list[tuple[float, float]] = field(default_factory=list)

    async def receive(self, message: Msg) -> None:
        self.arrivals.append((time.time(), float(json.loads(message.data)["data"]["title"])))

    async def first_after(self, moment: float) -> float:
        while True:
            for arrived, committed in self.arrivals:
                if committed > moment:
                    return arrived
            await asyncio.sleep(0.01)


async def write(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        number = 0
        while True:
            number += 1
            await db.execute(
                "INSERT INTO series (ticker, title) VALUES (%s, %s)", (f"T{number}", time.time())
            )
            await asyncio.sleep(0.02)


@asynccontextmanager
async def publisher(postgres_url: str, nats_url: str) -> AsyncIterator[Publisher]:
    port = free_port()
    async with TcpProxy(postgres_url) as database, TcpProxy(nats_url) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ssmd_cdc", stdout=subprocess.DEVNULL,
            env={
                **os.environ, "DATABASE_URL": database.url, "NATS_URL": server.url,
                "CDC_SLOT": SLOT, "OPS_PORT": str(port),
            },
        )  # fmt: skip
        made = Publisher(process, [database, server], port)
        try:
            yield made
        finally:
            await made.end()


async def measure(kind: str, postgres_url: str, nats_url: str, seen: Seen) -> float:
    """Seconds without a change, for one loss."""
    async with publisher(postgres_url, nats_url) as leader:
        await leader.until("leading")
        async with publisher(postgres_url, nats_url) as standby:
            await standby.until("standby")
            lost = time.time()
            if kind == "dead":
                leader.process.kill()
            else:
                for proxy in leader.proxies:
                    proxy.freeze()
            seconds = await seen.first_after(lost) - lost
            await standby.until("leading")
    seen.arrivals.clear()
    return seconds


async def run(arguments: argparse.Namespace) -> None:
    with scratch_directory() as directory:
        postgres = PostgresServer(directory / "postgres", durable=False)
        server = NatsServer(Path(directory) / "nats", durable=False)
        async with postgres, server:
            await migrate(postgres.url, migration_files())
            client = await nats.connect(server.url)
            seen = Seen()
            await client.subscribe("cdc.series.insert.>", cb=seen.receive)
            writing = asyncio.create_task(write(postgres.url))
            for kind in [arguments.only] if arguments.only else BOUNDS_SECONDS:
                found = [
                    await measure(kind, postgres.url, server.url, seen)
                    for _ in range(arguments.rounds)
                ]
                print(
                    f"{kind}: median {statistics.median(found):.2f} s, longest {max(found):.2f} s "
                    f"of {len(found)} (bound {BOUNDS_SECONDS[kind]:g} s): "
                    + ", ".join(f"{one:.2f}" for one in found),
                    flush=True,
                )
            writing.cancel()
            await client.close()


def main() -> None:
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=list(BOUNDS_SECONDS))
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
