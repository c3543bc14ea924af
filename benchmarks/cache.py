"""The cache's figures: warming up, applying changes, latency, memory; each beside a reference.

Servers are embedded and share the machine with what is measured. The warm-up is to be read against
a plain redis-py pipelined SET of the same values alone, in the same run.

usage: python benchmarks/cache.py [--markets 100000] [--changes 100000] [--rounds 3]
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import psycopg
import redis.asyncio as aioredis
import uvloop
from nats.aio.client import Client
from pydantic import SecretStr

from ssmd_cache.database.rows import Rows
from ssmd_cache.database.snapshot import join
from ssmd_cache.warmup.warmup import warm_up
from ssmd_cache.writer.position import decode
from ssmd_cache.writer.redis_retry import RedisRetry
from ssmd_cache.writer.redis_writer import RedisWriter
from ssmd_common.health import Health
from ssmd_common.keys import Keys
from ssmd_common.migrations import migration_files
from ssmd_stack.database import migrate
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.valkey import ValkeyServer
from ssmd_stream.stream import Stream
from ssmd_stream.subjects import STREAM, subject

FILL = """
INSERT INTO series (ticker, title, category)
    SELECT 'KXSERIES' || s, 'Series number ' || s, 'Category ' || s %% 12
    FROM generate_series(0, %(series)s - 1) s;
INSERT INTO events (event_ticker, series_ticker, title, category, strike_date)
    SELECT 'KXSERIES' || e %% %(series)s || '-26FEB' || e, 'KXSERIES' || e %% %(series)s,
           'What happens in event ' || e || '?', 'Category ' || e %% 12, now() + interval '9 days'
    FROM generate_series(0, %(events)s - 1) e;
INSERT INTO markets (ticker, event_ticker, series_ticker, title, status, close_time,
        yes_bid, yes_ask, no_bid, no_ask, last_price, volume, volume_24h, open_interest,
        exchange_status, yes_bid_dollars, yes_ask_dollars, no_bid_dollars, no_ask_dollars,
        last_price_dollars, volume_fp, volume_24h_fp, open_interest_fp, open_time,
        expected_expiration_time, latest_expiration_time, yes_sub_title, no_sub_title, market_type,
        strike_type, floor_strike, can_close_early, rules_primary, price_level_structure,
        price_ranges, extra, observed_at, observed_via)
    SELECT event_ticker || '-T' || m || '.99', event_ticker, series_ticker,
           'Will the price of the thing be above ' || m || ' on Feb 3?',
           CASE m %% 10 WHEN 0 THEN 'open' WHEN 1 THEN 'closed' ELSE 'active' END,
           now() + interval '1 day' * (m %% 30), 45, 46, 54, 55, 45, 1234, 56, 789, 'active',
           0.4500, 0.4600, 0.5400, 0.5500, 0.4500, 1234.56, 56.00, 789.10, now(),
           now() + interval '2 days', now() + interval '9 days', '$' || m || ' or above',
           '$' || m || ' or below', 'binary', 'greater', m, true,
           'If the price of the thing at 5 PM EST on Feb 3 is above ' || m || ', then the market '
           || 'resolves to Yes. Otherwise it resolves to No.', 'linear_cent',
           '[{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]',
           '{"notional_value_dollars": "1.0000", "settlement_timer_seconds": 300}', now(), 'rest'
    FROM generate_series(0, %(markets)s - 1) m
    JOIN events ON event_ticker =
        'KXSERIES' || m * %(events)s / %(markets)s %% %(series)s
        || '-26FEB' || m * %(events)s / %(markets)s
    ORDER BY m;
ANALYZE;
"""


class Bench:
    """The servers, and clients of them."""

    postgres: PostgresServer
    nats_server: NatsServer
    valkey: ValkeyServer
    nats: Client
    redis: aioredis.Redis

    @contextlib.asynccontextmanager
    async def running(self, directory: Path) -> AsyncIterator["Bench"]:
        async with contextlib.AsyncExitStack() as stack:
            self.postgres = await stack.enter_async_context(
                PostgresServer(directory / "postgres", durable=False)
            )
            stack.callback(self.postgres.remove)
            self.nats_server = await stack.enter_async_context(NatsServer(directory / "nats"))
            self.valkey = await stack.enter_async_context(ValkeyServer(directory / "valkey"))
            await migrate(self.postgres.url, migration_files())
            self.nats = Client()
            await self.nats.connect(self.nats_server.url)
            stack.push_async_callback(self.nats.close)
            self.redis = aioredis.Redis.from_url(self.valkey.url)
            stack.push_async_callback(self.redis.aclose)
            yield self

    @contextlib.asynccontextmanager
    async def service(self, module: str) -> AsyncIterator[psutil.Process]:
        """A service as its own process, stopped by SIGTERM."""
        environment = {
            **os.environ,
            "DATABASE_URL": self.postgres.url,
            "NATS_URL": self.nats_server.url,
            "REDIS_URL": self.valkey.url,
            "OPS_PORT": str(free_port()),
            "LOG_LEVEL": "WARNING",
        }
        child = await asyncio.create_subprocess_exec(sys.executable, "-m", module, env=environment)
        try:
            yield psutil.Process(child.pid)
        finally:
            if child.returncode is None:
                child.terminate()
            await child.wait()

    async def reached(self, sequence: int, *, seconds: float = 300) -> None:
        """Wait until Redis reflects this sequence of the stream."""
        async with asyncio.timeout(seconds):
            while True:
                text = await self.redis.get("secmaster:position")
                position = decode(text) if text else None
                if position and position.warm and position.sequence >= sequence:
                    return
                await asyncio.sleep(0.005)


async def main(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="ssmd-bench-") as directory:
        async with Bench().running(Path(directory)) as bench:
            events, series = arguments.markets // 10, max(arguments.markets // 50, 1)
            async with await psycopg.AsyncConnection.connect(
                bench.postgres.url, autocommit=True
            ) as connection:
                sizes = {"markets": arguments.markets, "events": events, "series": series}
                async with psycopg.AsyncClientCursor(connection) as cursor:
                    await cursor.execute(FILL, sizes)
            js = bench.nats.jetstream()
            await js.add_stream(name=STREAM, subjects=["cdc.>"])
            await warming(bench, arguments.rounds)
            values = await market_values(bench)
            await applying(bench, values, arguments.changes)
            await stream_latency(bench, values)
            await js.delete_stream(STREAM)
            await commit_latency(bench, list(values))


async def warming(bench: Bench, rounds: int) -> None:
    """A whole picture into an empty Redis, and the same values by plain SET."""
    seconds: dict[str, list[float]] = {"warm-up": [], "again": [], "plain SET": []}
    client, rows = bench.redis, 0
    for round_ in range(rounds):
        await client.flushall(asynchronous=False)
        seconds["warm-up"].append(await warm(bench))
        seconds["again"].append(await warm(bench))
        keys = [key async for key in client.scan_iter(match="secmaster:series:*", count=5000)]
        values = [value for part in chunks(keys, 5000) for value in await client.mget(part)]
        rows = len(keys)
        await client.flushall(asynchronous=False)
        began = time.monotonic()
        for part in chunks(list(zip(keys, values, strict=True)), 1000):
            pipeline = client.pipeline(transaction=False)
            for key, value in part:
                pipeline.set(key, value)
            await pipeline.execute()
        seconds["plain SET"].append(time.monotonic() - began)
        del keys, values, round_
    warm_up_seconds, again, plain = (statistics.median(taken) for taken in seconds.values())
    row(f"warm up {rows:,} rows, indexes, expiries", f"{warm_up_seconds:.2f} s")
    row("the same values, plain pipelined SET", f"{plain:.2f} s", "the reference")
    row("ratio", f"{warm_up_seconds / plain:.2f}", "bound 1.5, aim 1.0")
    row("warm up again, beside live data", f"{again:.2f} s")
    await client.flushall(asynchronous=False)
    async with bench.service("ssmd_cache") as process:
        await bench.reached(0)
        row("resident memory after warming up", f"{peak_mib(process):.0f} MiB", "peak; bound 200")


async def warm(bench: Bench) -> float:
    sink = RedisWriter(bench.redis, Keys(), 1)
    await bench.redis.delete("secmaster:position")
    await sink.claim()
    began = time.monotonic()
    async with join(
        SecretStr(bench.postgres.url), Stream(bench.nats), wait_seconds=30, budget_seconds=5
    ) as joined:
        await warm_up(
            sink, joined, RedisRetry(Health("cache"), asyncio.Event()), rebuilds=0,
            batch_rows=500,
        )  # fmt: skip
    return time.monotonic() - began


async def market_values(bench: Bench) -> dict[str, dict[str, Any]]:
    """Some markets as the stream shows them."""
    async with await psycopg.AsyncConnection.connect(
        bench.postgres.url, autocommit=True
    ) as connection:
        cursor = await connection.execute("SELECT ticker FROM markets ORDER BY ticker LIMIT 20000")
        tickers = [found[0] for found in await cursor.fetchall()]
        rows = Rows(connection)
        await rows.prepare()
        found = [msgspec.json.decode(text) for text in await rows.some("markets", tickers)]
    return {market["ticker"]: market for market in found}


def message(market: dict[str, Any], number: int) -> bytes:
    return msgspec.json.encode(
        {
            "v": 1, "lsn": f"7F/{number:X}", "seq": 0, "xid": 1 << 40, "epoch": 1,
            "table": "markets", "op": "update", "type": "market_updated",
            "ticker": market["ticker"], "key": {"ticker": market["ticker"]},
            "data": {**market, "yes_bid": number % 100},
            "changes": {"yes_bid": {"old": 1, "new": number % 100}},
            "timestamp": "2026-02-03T22:05:00.123456Z",
        }
    )  # fmt: skip


async def applying(bench: Bench, values: dict[str, dict[str, Any]], changes: int) -> None:
    """A backlog of changes: how fast it goes down."""
    markets = list(values.values())
    async with bench.service("ssmd_cache"):
        await bench.reached(0)
    last = 0
    for start in range(0, changes, 500):
        part = [
            bench.nats.jetstream().publish(
                subject("markets", "update", market := markets[n % len(markets)]),
                message(market, n + 1),
            )
            for n in range(start, min(start + 500, changes))
        ]
        last = max(ack.seq for ack in await asyncio.gather(*part))
    async with bench.service("ssmd_cache") as process:
        async with asyncio.timeout(60):
            while (at := await position(bench)) == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        began = time.monotonic()
        await bench.reached(last)
        seconds = time.monotonic() - began
        row("changes applied from the stream", f"{(last - at) / seconds:,.0f}/s", "bound 15,000")
        row("resident memory after them", f"{peak_mib(process):.0f} MiB", "peak")


async def position(bench: Bench) -> int:
    found = decode(await bench.redis.get("secmaster:position") or b"")
    return found.sequence if found else 0


class Watch:
    """When each key was last set, by Redis's own notifications."""

    def __init__(self, client: aioredis.Redis) -> None:
        self._client = client
        self.sent: dict[str, float] = {}
        self.latencies: list[float] = []

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator["Watch"]:
        await self._client.config_set("notify-keyspace-events", "K$")
        pubsub = self._client.pubsub()
        await pubsub.psubscribe("__keyspace@0__:secmaster:series:*")
        task = asyncio.create_task(self._listen(pubsub))
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            await self._client.config_set("notify-keyspace-events", "")

    async def _listen(self, pubsub: Any) -> None:
        async for event in pubsub.listen():
            if event["type"] == "pmessage":
                key = event["channel"].decode().partition("__:")[2]
                if (began := self.sent.pop(key, None)) is not None:
                    self.latencies.append(time.monotonic() - began)

    async def finished(self) -> None:
        async with asyncio.timeout(60):
            while self.sent:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def stream_latency(bench: Bench, values: dict[str, dict[str, Any]]) -> None:
    """500 changes a second: from publishing to Redis."""
    keys, markets = Keys(), list(values.values())
    async with bench.service("ssmd_cache"), Watch(bench.redis).watching() as watch:
        # Redis was up to date before the service was there: only a further change shows that it is.
        first = markets[0]
        ack = await bench.nats.jetstream().publish(
            subject("markets", "update", first), message(first, 9_999_999)
        )
        await bench.reached(ack.seq)
        await asyncio.sleep(1)
        began = time.monotonic()
        for n in range(5000):
            await asyncio.sleep(max(began + n / 500 - time.monotonic(), 0))
            market = markets[n % len(markets)]
            key = keys.market(market["series_ticker"], market["event_ticker"], market["ticker"])
            payload = message(market, 10_000_000 + n)
            watch.sent[key] = time.monotonic()
            await bench.nats.publish(subject("markets", "update", market), payload)
        await watch.finished()
    tell("change to Redis, 500 a second", watch.latencies, "bound: p99 15 ms")


async def commit_latency(bench: Bench, tickers: list[str]) -> None:
    """500 commits a second through the publisher: from the commit's return to Redis."""
    async with (
        bench.service("ssmd_cdc"),
        bench.service("ssmd_cache"),
        await psycopg.AsyncConnection.connect(bench.postgres.url, autocommit=True) as connection,
    ):
        await quiet(bench)
        cursor = await connection.execute(
            "SELECT ticker, series_ticker, event_ticker FROM markets WHERE ticker = ANY(%s)",
            (tickers[:5000],),
        )
        keys = {m: Keys().market(s, e, m) for m, s, e in await cursor.fetchall()}
        commits: list[float] = []
        async with Watch(bench.redis).watching() as watch:
            began = time.monotonic()
            for n, (ticker, key) in enumerate(keys.items()):
                await asyncio.sleep(max(began + n / 500 - time.monotonic(), 0))
                start = watch.sent[key] = time.monotonic()
                await connection.execute(
                    "UPDATE markets SET yes_bid = yes_bid + 1 WHERE ticker = %s", (ticker,)
                )
                commits.append(time.monotonic() - start)
            seconds = time.monotonic() - began
            await watch.finished()
    rate = len(commits) / seconds
    tell(f"UPDATE sent to Redis, {rate:.0f} commits a second", watch.latencies, "bound: p99 30 ms")
    tell("of which the UPDATE and its commit", commits)


async def quiet(bench: Bench) -> None:
    """Wait until the first announcement is over and Redis has it all."""
    async with asyncio.timeout(300):
        last = -1
        while True:
            await asyncio.sleep(2)
            with contextlib.suppress(Exception):
                now = (await Stream(bench.nats).info()).last_sequence
                if now == last and now > 0:
                    break
                last = now
    await bench.reached(last)


def chunks(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def peak_mib(process: psutil.Process) -> float:
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return float(process.memory_info().rss) / (1 << 20)


def tell(what: str, seconds: list[float], note: str = "") -> None:
    ordered = sorted(seconds)
    p50, p99 = (ordered[min(int(len(ordered) * q), len(ordered) - 1)] * 1e3 for q in (0.5, 0.99))
    row(what, f"p50 {p50:.1f} ms, p99 {p99:.1f} ms", note)


def row(what: str, figure: str, note: str = "") -> None:
    print(f"| {what} | {figure} | {note} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markets", type=int, default=100_000)
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    # As the service itself does.
    uvloop.run(main(parser.parse_args()))
