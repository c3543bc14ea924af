"""The connector as it is run, beside PostgreSQL, NATS, cdc and a simulated exchange: how long a
message takes to a subscriber, 300 books at 10,000 changes a second, how soon a market that is
activated in SQL is subscribed, what a universe of 90,000 markets takes, and what it costs idle.

How many messages a core takes: `market_data.py`.

usage: python benchmarks/connector.py [--seconds 15]
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import nats
import psutil
import psycopg
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

from ssmd_common.migrations import migration_files
from ssmd_simulator.server import Simulator
from ssmd_simulator.signatures import key_at
from ssmd_stack.database import migrate
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.scratch import scratch_directory

BOOKS = 300
DELTAS = 10_000
ACTIVATIONS = 20
UNIVERSE = """
INSERT INTO series (ticker, category) SELECT 'KXB' || n, 'Sports' FROM generate_series(1, 9000) n;
INSERT INTO events (event_ticker, series_ticker, status, category)
SELECT 'KXB' || n % 9000 + 1 || '-26NOV29-' || n, 'KXB' || n % 9000 + 1, 'open', 'Sports'
FROM generate_series(0, 29999) n;
INSERT INTO markets (ticker, event_ticker, series_ticker, status, observed_at, close_time)
SELECT event_ticker || '-T' || n, event_ticker, series_ticker, 'active', now(), now() + '9 days'
FROM events, generate_series(1, 3) n;
"""
LISTED = """
WITH series AS (
  INSERT INTO series (ticker, category) VALUES (%(series)s, 'Crypto') ON CONFLICT DO NOTHING
), events AS (
  INSERT INTO events (event_ticker, series_ticker, status)
  VALUES (%(event)s, %(series)s, 'open') ON CONFLICT DO NOTHING
)
INSERT INTO markets (ticker, event_ticker, series_ticker, status, observed_at)
VALUES (%(ticker)s, %(event)s, %(series)s, 'open', now())
"""
ACTIVATED = "UPDATE markets SET status = 'active' WHERE ticker = ANY(%s)"


class Listener:
    """A subscriber: how late messages come, how many, and which books were confirmed when."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self.books = 0
        self.added: dict[str, float] = {}
        self.dropped = 0

    async def market(self, message: Msg) -> None:
        now = time.time()
        if not message.data:
            # Only asks whether it may be said.
            return
        said = json.loads(message.data)
        self.late.append(now - datetime.fromisoformat(said["received_at"]).timestamp())

    async def book(self, _: Msg) -> None:
        self.books += 1

    async def record(self, message: Msg) -> None:
        now, said = time.time(), json.loads(message.data or "{}")
        if not said:
            return
        if said["what"] == "added":
            self.added |= dict.fromkeys(said["tickers"], now)
        elif said["what"] == "dropped":
            self.dropped += sum(said["published"].values())

    async def listen(self, client: Client) -> None:
        for channel in ("trade", "ticker"):
            await client.subscribe(f"md.{channel}.>", cb=self.market)
        await client.subscribe("md.books_session.>", cb=self.record)
        await client.subscribe("md.session.>", cb=self.record)

    async def until_added(self, tickers: list[str]) -> None:
        async with asyncio.timeout(120):
            while not self.added.keys() >= set(tickers):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.005)


class Cost:
    """Of one process: processor time and the largest memory, between two looks."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)

    async def over(self, seconds: float) -> tuple[float, float]:
        """The share of a core in percent, and the most megabytes that were resident."""
        before, most = self._process.cpu_times(), 0.0
        until = time.monotonic() + seconds
        began = time.monotonic()
        while time.monotonic() < until:
            most = max(most, self._process.memory_info().rss / 1e6)
            await asyncio.sleep(0.2)
        after = self._process.cpu_times()
        spent = after.user + after.system - before.user - before.system
        return spent / (time.monotonic() - began) * 100, most


@asynccontextmanager
async def running(module: str, *words: str, **environment: str) -> AsyncIterator[int]:
    """A process; its number."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *words,
        env={**os.environ, "LOG_LEVEL": "WARNING", **environment}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


async def ready(port: int) -> None:
    async with asyncio.timeout(300), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"http://127.0.0.1:{port}/readyz") as reply:
                    said = await reply.json()
                    if reply.status == 200 and said["state"] == "leading":
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


async def rate(port: int, messages: float) -> None:
    """What the exchange says a second from now on."""
    async with aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{port}/control/trading"
        async with http.post(url, json={"rate": messages}) as reply:
            reply.raise_for_status()


def row(what: str, figure: str, wanted: str) -> None:
    sys.stdout.write(f"| {what} | {figure} | {wanted} |\n")
    sys.stdout.flush()


async def measure(seconds: float) -> None:
    listed = Simulator().universe.unsettled
    now = time.time()
    markets = [market for market in listed if market.status(now) == "active"][: BOOKS + 1]
    tickers = [market.ticker for market in markets]
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(scratch_directory()))
        postgres = await stack.enter_async_context(PostgresServer(directory / "postgres"))
        server = await stack.enter_async_context(NatsServer(directory / "nats"))
        await migrate(postgres.url, migration_files())
        database = await psycopg.AsyncConnection.connect(postgres.url, autocommit=True)
        await stack.enter_async_context(database)
        await database.execute(UNIVERSE)
        for market in markets:
            given = {
                "series": market.event.series.ticker,
                "event": market.event.ticker,
                "ticker": market.ticker,
            }
            await database.execute(LISTED, given)
        port, key = free_port(), directory / "key.pem"
        key_at(key, "ed25519")
        scope = directory / "scope.yaml"
        scope.write_text("books: [{categories: [Crypto]}]\n")
        shared: dict[str, str] = {
            "DATABASE_URL": postgres.url, "NATS_URL": server.url, "KALSHI_API_KEY": "benchmark",
            "KALSHI_PRIVATE_KEY_PATH": str(key),
            "KALSHI_BASE_URL": f"http://127.0.0.1:{port}/trade-api/v2",
            "KALSHI_WS_URL": f"ws://127.0.0.1:{port}/trade-api/ws/v2",
            "OPS_HOST": "127.0.0.1", "CDC_SLOT": "benchmark", "CONNECTOR_SCOPE_FILE": str(scope),
        }  # fmt: skip
        exchange = [
            "--port", str(port), "--no-ws-auth", "--budget", "0", "--market-rate", "1",
            "--traded-markets", str(BOOKS),
        ]  # fmt: skip
        await stack.enter_async_context(running("ssmd_simulator", *exchange))
        for service in ("ssmd_cdc", "ssmd_connector"):
            ops = free_port()
            pid = await stack.enter_async_context(running(service, **shared, OPS_PORT=str(ops)))
            await ready(ops)
        client = await nats.connect(server.url)
        listener = Listener()
        await listener.listen(client)
        await rate(port, 0)
        await run(seconds, Cost(pid), listener, client, database, port, tickers)
        await client.close()


async def run(
    seconds: float, cost: Cost, listener: Listener, client: Client,
    database: psycopg.AsyncConnection[Any], port: int, tickers: list[str],
) -> None:  # fmt: skip
    # The first one also says that the view of the universe is there.
    first, *tickers = tickers
    await database.execute(ACTIVATED, ([first],))
    await listener.until_added([first])
    await asyncio.sleep(5)
    row("figure", "measured", "wanted")
    row("---", "---", "---")
    share, resident = await cost.over(seconds)
    row("idle, 90,000 markets in view", f"{share:.1f}% of a core", "2%")
    row("resident, idle", f"{resident:.0f} MB", "150 MB")
    took = []
    for ticker in tickers[:ACTIVATIONS]:
        began = time.time()
        await database.execute(ACTIVATED, ([ticker],))
        await listener.until_added([ticker])
        took.append(listener.added[ticker] - began)
    row(
        "activated in SQL → subscribed at the exchange",
        f"p50 {statistics.median(took) * 1e3:.0f} ms, at worst {max(took) * 1e3:.0f} ms", "1 s",
    )  # fmt: skip
    # A part of it are changes of the few books.
    await rate(port, 850)
    await asyncio.sleep(3)
    listener.late.clear()
    await asyncio.sleep(seconds)
    late = sorted(listener.late)
    await rate(port, 0)
    row(
        f"received → subscriber, {len(late) / seconds:.0f} trades and quotes a second",
        f"p50 {late[len(late) // 2] * 1e3:.2f} ms, p99 {late[len(late) * 99 // 100] * 1e3:.2f} ms",
        "2 ms, 15 ms",
    )
    await database.execute(ACTIVATED, (tickers,))
    await listener.until_added(tickers)
    await client.subscribe("md.book.>", cb=listener.book)
    speed = 5000.0
    for _ in range(3):
        # How many of what it says are changes of books is the exchange's secret.
        await rate(port, speed)
        await asyncio.sleep(2)
        before = listener.books
        await asyncio.sleep(3)
        speed = min(speed * DELTAS / max((listener.books - before) / 3, 1), 40_000)
    await rate(port, speed)
    await asyncio.sleep(2)
    before, listener.dropped = listener.books, 0
    listener.late.clear()
    share, resident = await cost.over(seconds)
    changes = (listener.books - before) / seconds
    row(
        f"{BOOKS} books, {changes:,.0f} changes a second, "
        f"{len(listener.late) / seconds:,.0f} trades and quotes beside them",
        f"{share:.0f}% of a core, {listener.dropped:,} dropped", f"{DELTAS:,} a second",
    )  # fmt: skip
    row("resident meanwhile", f"{resident:.0f} MB", "150 MB")
    await rate(port, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    uvloop.run(measure(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
