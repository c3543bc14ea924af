"""Memory of each service over the whole universe, while everything that a user may do is done.

Starts a system of the full universe at the quick tempo. Then, for some minutes: readers that ask
the API everything it answers (lists of 1,000, searches, exports, snapshots, streams of changes from
the beginning, fast and slow ones), a writer beside the exchange, the exchange hanging up, pictures
of the cache made anew, all readers gone for a while. A line for each service tells the peak over
its whole life (VmHWM) and what it has at the end; PSS counts what processes share only once.

usage: PYTHONPATH=tests python benchmarks/memory.py [--minutes 10] [--readers 8] [--updates 200]
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import psycopg
import redis.asyncio as aioredis
from newcomer import System
from observers import eventually

from ssmd_common.keys import Keys
from ssmd_common.parts import SERVICES

SLOW_BYTES_PER_SECOND = 50_000

LISTS = ("/v1/markets", "/v1/events", "/v1/series")
PATHS = (
    "/v1/markets?limit=1000&status=open&sort=close_time",
    "/v1/markets?limit=1000&sort=-volume&closing_after=0s&closing_before=24h",
    "/v1/markets?limit=1000&q=will",
    "/v1/events?limit=1000&status=open",
    "/v1/series?limit=1000",
    "/v1/search?q=above",
    "/v1/fees",
    "/v1/status",
    "/v1/stats/series",
    "/v1/stats/markets",
    "/v1/stats/sync",
    "/openapi.json",
    "/v1/export?entity=markets&format=csv",
    "/v1/export?entity=events&format=jsonl",
    "/v1/snapshot",
    "/v1/snapshot?tables=market_lifecycle_events",
)


async def main(minutes: float, readers: int, updates: int) -> None:
    with tempfile.TemporaryDirectory(prefix="ssmd-memory-") as directory:
        system = System(Path(directory), own=False)
        system.ssmd("up", "--detach", "--size", "full", "--tempo", "quick")
        try:
            await eventually(lambda: complete(system), 300)
            tell(system, "the whole universe is there")
            deadline = time.monotonic() + minutes * 60
            async with users(system, readers, updates) as answered:
                while time.monotonic() < deadline:
                    await disturb(system, seconds=min(60.0, deadline - time.monotonic()))
                    tell(system, f"{sum(answered.values()):,} answers")
            await asyncio.sleep(15)
            tell(system, "readers gone")
            say(", ".join(f"{n:,} × {path}" for path, n in sorted(answered.items())))
        finally:
            system.ssmd("down")


async def complete(system: System) -> None:
    """Redis has as many markets as the exchange's universe has at any tempo."""
    async with aioredis.Redis.from_url(system.env["REDIS_URL"]) as cache:
        assert await cache.hlen(Keys().markets) > 60_000


async def disturb(system: System, seconds: float) -> None:
    """What happens now and then, once: the exchange hangs up, the cache makes a new picture."""
    began = time.monotonic()
    exchange = system.env["KALSHI_BASE_URL"].partition("/trade-api")[0]
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{exchange}/control/disconnect", json={}) as reply,
    ):
        assert reply.status == 200, await reply.text()
    await asyncio.to_thread(system.ssmd, "cache", "rebuild", check=False)
    await asyncio.sleep(max(0.0, seconds - (time.monotonic() - began)))


@contextlib.asynccontextmanager
async def users(system: System, readers: int, updates: int) -> AsyncIterator[Counter[str]]:
    """Readers of everything and a writer, for as long as the context lasts."""
    made = system.ssmd(
        "keys", "create", "bench", "--scope", "admin", "--scope", "read",
        "--rate-limit", "1000000", "--json",
    )  # fmt: skip
    headers = {"X-API-Key": json.loads(made.stdout)["key"]}
    answered: Counter[str] = Counter()
    url = system.env["SSMD_API_URL"]
    async with (
        aiohttp.ClientSession(headers=headers, read_bufsize=1 << 12) as http,
        asyncio.TaskGroup() as group,
    ):
        tasks = [
            *(group.create_task(ask(http, url, answered, n)) for n in range(readers)),
            *(group.create_task(follow(http, url, answered, rate)) for rate in (0, 0, 0, 1)),
            group.create_task(write(system.env["DATABASE_URL"], updates)),
        ]
        yield answered
        for task in tasks:
            task.cancel()


async def ask(http: aiohttp.ClientSession, url: str, answered: Counter[str], first: int) -> None:
    """Each path in turn, and each row of what a list answers by itself."""
    for path in itertools.islice(itertools.cycle(PATHS), first, None):
        body = await get(http, url + path, answered, path.partition("?")[0])
        if path.startswith(LISTS) and body:
            await details(http, url, answered, json.loads(body))


async def details(
    http: aiohttp.ClientSession, url: str, answered: Counter[str], page: dict[str, Any]
) -> None:
    if markets := page.get("markets"):
        tickers = [row["ticker"] for row in markets]
        path = "/v1/markets/lookup"
        async with http.post(url + path, json={"tickers": tickers[:100]}) as reply:
            await reply.read()
            answered[path] += reply.status == 200
        for ticker in tickers[:50]:
            await get(http, f"{url}/v1/markets/{ticker}", answered, "/v1/markets/{ticker}")
            await get(
                http, f"{url}/v1/markets/{ticker}/lifecycle", answered,
                "/v1/markets/{ticker}/lifecycle",
            )  # fmt: skip
    for row in page.get("events", [])[:50]:
        ticker = row["event_ticker"]
        await get(http, f"{url}/v1/events/{ticker}", answered, "/v1/events/{event_ticker}")
    for row in page.get("series", [])[:50]:
        await get(http, f"{url}/v1/fees/{row['ticker']}", answered, "/v1/fees/{series}")


async def get(http: aiohttp.ClientSession, url: str, answered: Counter[str], name: str) -> bytes:
    """The body; empty where as many exports as allowed run already."""
    try:
        async with http.get(url, timeout=aiohttp.ClientTimeout(total=900)) as reply:
            body = b""
            async for part in reply.content.iter_chunked(1 << 16):
                # An export is not kept.
                body = body + part if len(body) < 1 << 23 else part
            if reply.status == 429:
                await asyncio.sleep(1)
                return b""
            answered[name if reply.status == 200 else f"{reply.status} {name}"] += 1
            return body if reply.status == 200 else b""
    except aiohttp.ClientError as error:
        answered[f"{type(error).__name__} {name}"] += 1
        return b""


async def follow(http: aiohttp.ClientSession, url: str, answered: Counter[str], slow: int) -> None:
    """The stream of changes from its beginning; a slow reader takes little at a time."""
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with http.get(
                url + "/v1/changes?after=0", timeout=aiohttp.ClientTimeout(total=None)
            ) as reply:
                answered["/v1/changes"] += reply.status == 200
                async for part in reply.content.iter_chunked(1 << 14):
                    await asyncio.sleep(slow * len(part) / SLOW_BYTES_PER_SECOND)
        await asyncio.sleep(1)


async def write(url: str, per_second: int) -> None:
    """Quotes of markets, as many a second."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as sql:
        rows = await (await sql.execute("SELECT ticker FROM markets")).fetchall()
        began = time.monotonic()
        for n, (ticker,) in enumerate(itertools.cycle(rows)):
            await asyncio.sleep(max(0.0, began + n / per_second - time.monotonic()))
            await sql.execute(
                "UPDATE markets SET volume = coalesce(volume, 0) + 1, updated_at = now()"
                " WHERE ticker = %s",
                (ticker,),
            )


def tell(system: System, when: str) -> None:
    # Starved of processors it may not be ready just now.
    services = json.loads(system.ssmd("status", "--json", check=False).stdout)["services"]
    parts = []
    for name in SERVICES:
        process = psutil.Process(services[name]["pid"])
        memory = process.memory_full_info()
        megabytes = (peak(process), memory.rss / 1e6, memory.pss / 1e6)
        parts.append(f"{name} {'/'.join(f'{size:.0f}' for size in megabytes)}")
    say(f"MB at most/now/PSS: {', '.join(parts)} ({when})")


def peak(process: psutil.Process) -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--updates", type=int, default=200, help="rows a second")
    given = parser.parse_args()
    asyncio.run(main(given.minutes, given.readers, given.updates))
