"""Readers of /v1/changes: the API's memory with them and after they left, its processor, lateness.

The servers are embedded, and readers and publisher share the machine with the API, which is a
process of its own. Memory is resident (VmRSS): before the first reader, with all of them idle, at
most while changes come, and after all have left. `one series`: each reader follows one of a hundred
series, so it gets a hundredth of the changes; `everything`: each gets all. Lateness is from a
message's being published to ten of the readers. The issue's figure: 2,000 readers, 500 changes a
second, within 200 MB:

    make bench BENCH=api_changes ARGS="--readers 2000 --rate 500 --seconds 30 --rest 60"

usage: python benchmarks/api_changes.py [--readers 200] [--rate 200] [--seconds 5] [--rest 5]
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import nats
import psutil
import psycopg
import uvloop
from nats.aio.client import Client

from ssmd_common import apikeys
from ssmd_common.migrations import migration_files
from ssmd_stack.database import migrate
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stack.postgres import PostgresServer
from ssmd_stream.subjects import STREAM, SUBJECTS, subject

SERIES = 100
SAMPLED = 10
TITLE = "Will the price of the thing be above the number on the day? " * 12


async def main(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="ssmd-bench-") as name:
        directory = Path(name)
        async with (
            PostgresServer(directory / "postgres", durable=False) as postgres,
            NatsServer(directory / "nats") as nats_server,
        ):
            await migrate(postgres.url, migration_files())
            key = await make_key(postgres.url)
            client = await nats.connect(nats_server.url)
            await client.jetstream().add_stream(name=STREAM, subjects=[SUBJECTS])
            for wanted in ("one series", "everything"):
                if given.wanted in (None, wanted):
                    async with api(postgres.url, nats_server.url, given.readers) as (process, url):
                        await measure(given, wanted, process, url, key, client)
            await client.close()
            postgres.remove()


async def measure(
    given: argparse.Namespace,
    wanted: str,
    process: psutil.Process,
    url: str,
    key: str,
    client: Client,
) -> float:
    """What it took at most, in MB."""
    async with reading(url, key, ["?table=fees"]):
        await asyncio.sleep(1)
    before = resident(process)
    queries = [
        f"?series=KX{n % SERIES}" if wanted == "one series" else "" for n in range(given.readers)
    ]
    async with reading(url, key, queries) as readers:
        await asyncio.sleep(2)
        idle = most = resident(process)
        for reader in readers[:SAMPLED]:
            reader.sampled = True
        busy = sum(process.cpu_times()[:2])
        began = time.monotonic()
        for number in range(int(given.rate * given.seconds)):
            await asyncio.sleep(max(0.0, began + number / given.rate - time.monotonic()))
            await publish(client, number)
            if number % given.rate == 0:
                most = max(most, resident(process))
        took = time.monotonic() - began
        busy = sum(process.cpu_times()[:2]) - busy
        await asyncio.sleep(2)
        most = max(most, resident(process))
        got = sum(reader.events for reader in readers)
        cut = sum(reader.lost for reader in readers)
        late = [seconds for reader in readers[:SAMPLED] for seconds in reader.late]
    await asyncio.sleep(given.rest)
    say(
        f"{given.readers:,} readers of {wanted}, {given.rate / max(1.0, took / given.seconds):.0f}"
        f" changes/s: resident {before:.0f} MB before, {idle:.0f} idle, {most:.0f} at most, "
        f"{resident(process):.0f} {given.rest:g} s after they left; {busy / took:.2f} processors; "
        f"{got / took:,.0f} events/s delivered; {cut} readers cut off; "
        f"lateness p50 {percentile(late, 50):.0f} ms, p99 {percentile(late, 99):.0f} ms"
    )
    return most


async def publish(client: Client, number: int) -> None:
    """A change of about 1.2 KB; its title begins with when it was published."""
    row = {"series_ticker": f"KX{number % SERIES}", "event_ticker": f"KX{number % SERIES}-26"}
    row["ticker"] = f"{row['event_ticker']}-T{number}"
    document = {
        "v": 1, "lsn": "0/1", "seq": number, "xid": 7, "epoch": 3, "table": "markets",
        "op": "update", "type": "market_updated", "ticker": row["ticker"], "key": None,
        "data": {**row, "title": f"@{time.time():.6f}@{TITLE}"},
        "timestamp": "2026-02-03T22:05:00Z",
    }  # fmt: skip
    await client.publish(
        subject("markets", "update", row),
        json.dumps(document).encode(),
        headers={"Nats-Msg-Id": f"3:0/{time.time_ns():X}:0"[:60], "Ssmd-Type": "market_updated"},
    )


class Reader(asyncio.BufferedProtocol):
    """A reader that counts what comes; of a sampled one, how late it is."""

    buffer = bytearray(1 << 18)

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.events = 0
        self.lost = False
        self.sampled = False
        self.late: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are no `asyncio.Transport`, though they are like one.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def get_buffer(self, _: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        got = memoryview(self.buffer)[:nbytes]
        if not self.opened.done():
            if not bytes(got).startswith(b"HTTP/1.1 200"):
                self.opened.set_exception(RuntimeError(bytes(got[:200]).decode()))
                return
            self.opened.set_result(None)
        self.events += self.buffer.count(b"\ndata: ", 0, nbytes)
        if self.sampled:
            now = time.time()
            for part in bytes(got).split(b'"title": "@')[1:]:
                with contextlib.suppress(ValueError):
                    self.late.append((now - float(part[:17])) * 1e3)

    def connection_lost(self, _: Exception | None) -> None:
        self.lost = True


@contextlib.asynccontextmanager
async def reading(url: str, key: str, queries: Sequence[str]) -> AsyncIterator[list[Reader]]:
    """That many open streams."""
    port = urlsplit(url).port
    assert port is not None
    loop = asyncio.get_running_loop()
    readers = []
    try:
        for query in queries:
            head = f"GET /v1/changes{query} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n"
            _, reader = await loop.create_connection(
                partial(Reader, head.encode()), "127.0.0.1", port
            )
            readers.append(reader)
            await reader.opened
        yield readers
    finally:
        for reader in readers:
            reader.transport.abort()


@contextlib.asynccontextmanager
async def api(
    database_url: str, nats_url: str, readers: int
) -> AsyncIterator[tuple[psutil.Process, str]]:
    port, ops = free_port(), free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "NATS_URL": nats_url,
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "API_HOST": "127.0.0.1",
        "API_PORT": str(port),
        "API_STREAMS": str(2 * readers),
        "OPS_HOST": "127.0.0.1",
        "OPS_PORT": str(ops),
        "LOG_LEVEL": "WARNING",
    }
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "ssmd_api", env=environment)
    try:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError):
                    (await asyncio.open_connection("127.0.0.1", port))[1].close()
                    break
                await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        yield psutil.Process(child.pid), f"http://127.0.0.1:{port}"
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


async def make_key(url: str) -> str:
    key = apikeys.generate("bench")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute)"
            " VALUES ('bench', %s, %s, '{read}', 1000000)",
            (key.prefix, key.hash),
        )
    return key.text


def resident(process: psutil.Process) -> float:
    return process.memory_info().rss / 1e6


def percentile(values: Sequence[float], percent: int) -> float:
    if len(values) < 2:
        return float("nan")
    return statistics.quantiles(values, n=100)[percent - 1]


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--rate", type=int, default=200, help="changes a second")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rest", type=float, default=5, help="seconds after the readers left")
    parser.add_argument("--wanted", choices=("one series", "everything"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(parser.parse_args()))
