"""lifecycle's figures: messages a second, receive to commit, markets due at once, idle CPU.

The service runs as a process against an embedded PostgreSQL and a WebSocket that sends prepared
messages at a rate; all share the machine. Latencies are the service's own histogram, so they are
upper bounds of its buckets, and rows are counted in PostgreSQL.

usage: python benchmarks/lifecycle.py [--seconds 30] [--rate 500] [--due 10000]
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from aiohttp import web

from ssmd_common.migrations import migration_files
from ssmd_simulator.signatures import key_at
from ssmd_stack.database import Database, make_template, new_database
from ssmd_stack.ports import free_port
from ssmd_stack.postgres import PostgresServer

LIFE = ("created", "close_date_updated", "deactivated", "activated", "determined", "settled")


class Feed:
    """A WebSocket that sends what it is given, and a REST that knows each market it told of."""

    def __init__(self) -> None:
        self.socket: web.WebSocketResponse | None = None
        self.subscribed = asyncio.Event()
        self.sequence = 0
        self.events: dict[str, dict[str, Any]] = {}
        self.markets: dict[str, dict[str, Any]] = {}

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        async for message in socket:
            command = json.loads(message.data)
            reply = {"channel": command["params"]["channels"][0], "sid": 1}
            await socket.send_json({"id": command["id"], "type": "subscribed", "msg": reply})
            self.socket = socket
            self.subscribed.set()
        return socket

    async def listing(self, request: web.Request) -> web.Response:
        """Only what is asked for by ticker: a repair finds nothing new."""
        name = request.path.rsplit("/", 1)[1]
        known = self.events if name == "events" else self.markets
        asked = request.query.get("tickers", "").split(",")
        return web.json_response({name: [known[t] for t in asked if t in known], "cursor": ""})

    async def series(self, request: web.Request) -> web.Response:
        ticker = request.match_info["ticker"]
        return web.json_response({"series": {"ticker": ticker, "title": "Benchmark"}})

    async def send(self, type_: str, body: dict[str, Any]) -> None:
        assert self.socket is not None
        self.sequence += 1
        await self.socket.send_json(
            {
                "type": type_,
                "sid": 1,
                "seq": self.sequence,
                "sending_ts_ms": time.time_ns() // 1_000_000,
                "msg": body,
            }
        )

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        app = web.Application()
        prefix = "/trade-api/v2"
        app.add_routes(
            [
                web.get("/trade-api/ws/v2", self.handle),
                web.get(prefix + "/markets", self.listing),
                web.get(prefix + "/events", self.listing),
                web.get(prefix + "/series/{ticker}", self.series),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()


@asynccontextmanager
async def service(database: Database, port: int, scratch: Path) -> AsyncIterator[tuple[int, int]]:
    """The service; yields its process id and ops port once it is ready."""
    key = scratch / "key.pem"
    key_at(key, "ed25519")
    ops = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ssmd_lifecycle",
        env={
            **os.environ,
            "DATABASE_URL": database.url,
            "KALSHI_BASE_URL": f"http://127.0.0.1:{port}/trade-api/v2",
            "KALSHI_WS_URL": f"ws://127.0.0.1:{port}/trade-api/ws/v2",
            "KALSHI_API_KEY": "benchmark",
            "KALSHI_PRIVATE_KEY_PATH": str(key),
            "LIFECYCLE_SILENCE_SECONDS": "3600",
            "LOG_LEVEL": "WARNING",
            "OPS_PORT": str(ops),
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"http://127.0.0.1:{ops}/readyz") as reply:
                        if reply.status == 200:
                            break
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)
        yield process.pid, ops
    finally:
        process.terminate()
        await process.wait()


async def histogram(ops: int, name: str) -> list[tuple[float, float]]:
    """The cumulative buckets of a histogram: upper bound, count."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{ops}/metrics") as reply,
    ):
        text = await reply.text()
    buckets = []
    for line in text.splitlines():
        if line.startswith(f"{name}_bucket"):
            bound = line.split('le="')[1].split('"')[0]
            buckets.append((float(bound), float(line.rsplit(" ", 1)[1])))
    return buckets


def quantile(
    before: list[tuple[float, float]], after: list[tuple[float, float]], q: float
) -> float:
    """The upper bound of the bucket that holds the quantile."""
    total = after[-1][1] - before[-1][1]
    for (bound, now), (_, then) in zip(after, before, strict=True):
        if now - then >= q * total:
            return bound
    return float("inf")


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


async def count(database: Database, query: str, *parameters: Any) -> int:
    async with database.connect() as connection:
        row = await (await connection.execute(query, parameters)).fetchone()
    assert row is not None
    return int(row[0])


async def until(database: Database, query: str, expected: int) -> None:
    """Wait until a count is reached."""
    while await count(database, query) < expected:  # noqa: ASYNC110 - PostgreSQL tells nobody
        await asyncio.sleep(0.1)


async def sustained(database: Database, feed: Feed, ops: int, rate: int, seconds: float) -> None:
    """Whole lives of markets at a rate."""
    name = "ssmd_lifecycle_receive_to_commit_seconds"
    before = await histogram(ops, name)
    total = int(rate * seconds)
    started = time.perf_counter()
    opening = int(time.time()) - 10
    sent = 0
    number = 0
    while sent < total:
        event = f"KXBENCH-{number // 10}"
        ticker = f"{event}-{number % 10}"
        number += 1
        bodies: list[tuple[str, dict[str, Any]]] = []
        if number % 10 == 1:
            about = {"event_ticker": event, "series_ticker": "KXBENCH", "title": event}
            feed.events[event] = about
            bodies.append(("event_lifecycle", about))
        feed.markets[ticker] = {
            "ticker": ticker,
            "event_ticker": event,
            "title": "T" * 60,
            "market_type": "binary",
            "status": "active",
            "open_time": rfc3339(opening),
            "close_time": rfc3339(opening + 90000),
        }
        for kind in LIFE:
            body: dict[str, Any] = {"market_ticker": ticker, "event_type": kind}
            if kind == "created":
                body |= {
                    "open_ts": opening,
                    "close_ts": opening + 86400,
                    "additional_metadata": {"event_ticker": event, "title": "T" * 60},
                }
            elif kind == "close_date_updated":
                body |= {"close_ts": opening + 90000}
            elif kind == "determined":
                body |= {"result": "yes", "settlement_value": "1.0000"}
            elif kind == "settled":
                body |= {"settled_ts": opening + 60}
            bodies.append(("market_lifecycle_v2", body))
        for type_, body in bodies:
            await feed.send(type_, body)
            sent += 1
            behind = sent / rate - (time.perf_counter() - started)
            if behind > 0.002:
                await asyncio.sleep(behind)
    took = time.perf_counter() - started
    query = "SELECT count(*) FROM market_lifecycle_events WHERE sent_at IS NOT NULL"
    await until(database, query, sent)
    drained = time.perf_counter() - started - took
    settled = await count(database, "SELECT count(*) FROM markets WHERE status = 'settled'")
    after = await histogram(ops, name)
    print(
        f"sustained: {sent} messages at {sent / took:.0f} a second, {settled} markets settled, "
        f"drained {drained * 1000:.0f} ms after the last; receive to commit "
        f"p50 ≤ {quantile(before, after, 0.5) * 1000:g} ms, "
        f"p99 ≤ {quantile(before, after, 0.99) * 1000:g} ms"
    )


async def due_at_once(database: Database, markets: int) -> None:
    """Markets of other writers, all due at one instant."""
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=12)
    async with database.connect() as connection:
        await connection.execute("INSERT INTO series (ticker) VALUES ('KXDUE')")
        await connection.execute(
            "INSERT INTO events (event_ticker, series_ticker)"
            " SELECT 'KXDUE-' || n, 'KXDUE' FROM generate_series(0, %s / 40) n",
            (markets,),
        )
        await connection.execute(
            "INSERT INTO markets (ticker, event_ticker, series_ticker, exchange_status, open_time,"
            " close_time, observed_at, observed_via) SELECT 'KXDUE-' || n / 40 || '-' || n,"
            " 'KXDUE-' || n / 40, 'KXDUE', 'initialized', %s, %s, now(), 'rest'"
            " FROM generate_series(1, %s) n",
            (at, at + timedelta(days=1), markets),
        )
    query = "SELECT count(*) FROM markets WHERE series_ticker = 'KXDUE' AND status = 'active'"
    await until(database, query, markets)
    late = (datetime.now(UTC) - at).total_seconds()
    rows = await count(
        database, "SELECT count(*) FROM market_lifecycle_events WHERE event_type = 'opened'"
        " AND market_ticker LIKE 'KXDUE%%'"
    )  # fmt: skip
    print(f"due at once: {markets} markets opened {late:.2f} s after their time, {rows} rows")


async def idle(process: psutil.Process, seconds: float) -> None:
    before = process.cpu_times()
    await asyncio.sleep(seconds)
    after = process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    memory = process.memory_info().rss / 2**20
    print(f"idle: {spent / seconds * 100:.2f}% of a core, {memory:.0f} MB resident")


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        async with PostgresServer(scratch / "postgres") as server:
            await make_template(server, migration_files())
            feed = Feed()
            async with (
                new_database(server) as database,
                feed.serve() as port,
                service(database, port, scratch) as (pid, ops),
            ):
                await feed.subscribed.wait()
                process = psutil.Process(pid)
                await idle(process, options.idle)
                await sustained(database, feed, ops, options.rate, options.seconds)
                await due_at_once(database, options.due)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--due", type=int, default=10_000)
    parser.add_argument("--idle", type=float, default=15)
    asyncio.run(main(parser.parse_args()))
