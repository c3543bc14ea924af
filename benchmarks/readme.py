"""The README's figures: clone to ready, ready to 5,000 markets, latency, memory.

Starts a clean clone with `make up` as a newcomer would, and prints a Markdown table. Times depend
on the machine; what each line is to be read against stands beside it.

usage: make bench
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import nats
import psutil
import psycopg
from nats.js.api import ConsumerConfig, DeliverPolicy
from newcomer import System, clone

from ssmd_common.parts import SERVICES

MARKETS = 5_000
COMMITS = 1_000
COMMITS_PER_SECOND = 200


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ssmd-bench-") as directory:
        system = System(clone(Path(directory) / "clone"))
        seconds_setup = timed(lambda: system.make("setup"))
        began = time.monotonic()
        system.make("up", "--detach --tempo quick")
        seconds_up = time.monotonic() - began
        try:
            seconds_visible = await visible(system.env)
            update = await latency(system.env)
            memory = resident(system)
        finally:
            system.make("down")
    row(
        "clone to installed (`make setup`)", f"{seconds_setup:.1f} s", "packages already downloaded"
    )
    row("`make up` to ready", f"{seconds_up:.1f} s", "aim: 20 s")
    row(f"ready to {MARKETS:,} markets through the API", f"{seconds_visible:.1f} s", "aim: 10 s")
    commit = statistics.median(update["commit"])
    row(
        f"commit to subscriber, {COMMITS_PER_SECOND} commits a second",
        f"p50 {percentile(update['subscriber'], 50) * 1e3:.1f} ms, "
        f"p99 {percentile(update['subscriber'], 99) * 1e3:.1f} ms",
        f"the commit itself: {commit * 1e3:.1f} ms",
    )
    for name, megabytes in memory.items():
        row(f"resident memory of {name}", f"{megabytes:.0f} MB", "aim: under 120 MB")


def timed(work: Any) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def row(what: str, figure: str, reference: str) -> None:
    sys.stdout.write(f"| {what} | {figure} | {reference} |\n")


async def visible(env: dict[str, str]) -> float:
    """Seconds until the API counts the whole small universe."""
    began = time.monotonic()
    headers = {"X-API-Key": env["SSMD_DATA_API_KEY"]}
    async with aiohttp.ClientSession(headers=headers) as http:
        while time.monotonic() - began < 300:
            async with http.get(f"{env['SSMD_API_URL']}/v1/stats/markets") as reply:
                stats = await reply.json()
            if sum(stats["by_status"].values()) >= MARKETS:
                return time.monotonic() - began
            await asyncio.sleep(0.1)
    raise SystemExit(f"{MARKETS} markets did not become visible: {stats}")


async def latency(env: dict[str, str]) -> dict[str, list[float]]:
    """Seconds from a commit's return to a subscriber's callback, at a steady rate."""
    arrived: dict[str, float] = {}
    done = asyncio.Event()

    async def on_message(message: Any) -> None:
        title = message.data.split(b'"title":"bench ', 1)
        if len(title) == 2:
            arrived[title[1].split(b'"', 1)[0].decode()] = time.perf_counter()
            if len(arrived) == COMMITS:
                done.set()

    connection = await nats.connect(env["NATS_URL"])
    await connection.jetstream().subscribe(
        "cdc.series.update.>",
        stream="SECMASTER_CDC",
        ordered_consumer=True,
        cb=on_message,
        config=ConsumerConfig(deliver_policy=DeliverPolicy.NEW),
    )
    committed: dict[str, float] = {}
    commit: list[float] = []
    async with await psycopg.AsyncConnection.connect(env["DATABASE_URL"], autocommit=True) as sql:
        await sql.execute("INSERT INTO series (ticker, title) VALUES ('BENCH', 'bench')")
        began = time.perf_counter()
        for number in range(COMMITS):
            await asyncio.sleep(max(0, began + number / COMMITS_PER_SECOND - time.perf_counter()))
            started = time.perf_counter()
            await sql.execute(
                "UPDATE series SET title = %s WHERE ticker = 'BENCH'", [f"bench {number}"]
            )
            committed[str(number)] = time.perf_counter()
            commit.append(committed[str(number)] - started)
        await asyncio.wait_for(done.wait(), 60)
        await sql.execute("DELETE FROM series WHERE ticker = 'BENCH'")
    await connection.close()
    # A message may overtake the commit's own return.
    return {
        "subscriber": [max(0.0, arrived[n] - at) for n, at in committed.items()],
        "commit": commit,
    }


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def resident(system: System) -> dict[str, float]:
    """MB of each service, after the work above."""
    services = system.status()["services"]
    return {
        name: psutil.Process(services[name]["pid"]).memory_info().rss / 1e6 for name in SERVICES
    }


if __name__ == "__main__":
    asyncio.run(main())
