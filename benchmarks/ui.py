"""The pages at /ui: how long each takes against the API's answer behind it, and what readers of an
open page cost while nothing changes.

Servers are embedded; the API is a process of its own. Times are medians, taken by turns, of the
full universe (90,000 markets, `tests/sql_universe.py`); no answer is remembered between requests.
Readers do what a browser does with a page: they follow the streams that it names and read it anew
as often as it says. The issue's figures: a page within twice the time of the list behind it; ten
readers within 1% of a core.

    make bench BENCH=ui

usage: python benchmarks/ui.py [--rounds 3] [--times 20] [--readers 10] [--seconds 60] [--small]
"""

import argparse
import asyncio
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from html import unescape
from pathlib import Path
from urllib.parse import quote

import aiohttp
import api_changes
import nats
import psutil
import psycopg
import uvloop
from api import Target, process
from made_market_data import Maker, make_streams, publish
from sql_universe import FULL, SMALL, fill

from ssmd_common.migrations import migration_files
from ssmd_stack.database import make_template, new_database
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.valkey import ValkeyServer
from ssmd_stream.subjects import STREAM, SUBJECTS

_CLOSING = (
    "/v1/markets?status=open&closing_after=0s&closing_before=1h&sort=close_time&limit=12&fields="
    "ticker,title,yes_sub_title,close_time,yes_bid_dollars,yes_ask_dollars,volume_24h_fp"
)
PAIRS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("/ui", ("/v1/status", "/v1/stats/markets", "/v1/stats/sync?limit=1", _CLOSING)),
    ("/ui/markets", ("/v1/markets?limit=100",)),
    (
        "/ui/markets?status=active&sort=-volume_24h",
        ("/v1/markets?limit=100&status=active&sort=-volume_24h",),
    ),
    (
        "/ui/markets?category=Sports&limit=1000",
        ("/v1/markets?category=Sports&limit=1000",),
    ),
    ("/ui/markets?q=event", ("/v1/markets?q=event&limit=100",)),
    (
        "/ui/series",
        ("/v1/stats/series?limit=50", "/v1/stats/markets?limit=50", "/v1/series?limit=50"),
    ),
    ("/ui/series/KXSERIES0", ("/v1/series/KXSERIES0",)),
    ("/ui/search?q=above", ("/v1/search?q=above&limit=60",)),
)
"""Pages with the API's answers that each of them shows."""


def say(what: str, figure: str, of: str = "", need: str = "") -> None:
    sys.stdout.write(f"| {what} | {figure} | {of} | {need} |\n")
    sys.stdout.flush()


async def asked(http: aiohttp.ClientSession, urls: Sequence[str]) -> float:
    """Milliseconds for one after the other."""
    began = time.perf_counter()
    for url in urls:
        async with http.get(url) as reply:
            await reply.read()
            if reply.status != 200:
                raise SystemExit(f"{url}: {reply.status} {await reply.text()}")
    return (time.perf_counter() - began) * 1e3


async def first_views(http: aiohttp.ClientSession, target: Target, times: int, rounds: int) -> None:
    """By the clock, and in processor time of the API and PostgreSQL, which knows of no neighbours.

    Requests take turns, so that what else the machine does hits both alike.
    """
    for page, behind in PAIRS:
        sides = [target.url + page], [target.url + each for each in behind]
        for side in sides:
            await asked(http, side * 5)
        clock: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds * times):
            for side, found in zip(sides, clock, strict=True):
                found.append(await asked(http, side))
        busy = [0.0, 0.0]
        for _ in range(rounds):
            for n, side in enumerate(sides):
                before = target.busy_seconds()
                await asked(http, side * times)
                busy[n] += target.busy_seconds() - before
        ours, theirs = map(statistics.median, clock)
        what = "the list" if len(behind) == 1 else f"{len(behind)} answers"
        say(f"{page} ÷ {what}", f"{ours / theirs:.2f}", f"{ours:.1f} ms ÷ {theirs:.1f} ms", "2")
        mine, of_those = (seconds * 1e3 / times / rounds for seconds in busy)
        figures = f"{mine:.1f} ms ÷ {of_those:.1f} ms"
        say("in processor time", f"{mine / of_those:.2f}", figures, "2")


async def opened(
    http: aiohttp.ClientSession, base: str, path: str, all_there: asyncio.Barrier
) -> None:
    """Do with a page what its script does, until it is cancelled."""

    async def text() -> str:
        async with http.get(base + path) as reply:
            page = await reply.text()
            if reply.status != 200:
                raise SystemExit(f"{path}: {reply.status} {page}")
            return page

    async def follow(url: str) -> None:
        async with http.get(base + url) as reply:
            if reply.status != 200:
                raise SystemExit(f"{url}: {reply.status}")
            async for _ in reply.content.iter_any():
                pass

    async def again(seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await text()

    page = await text()
    await all_there.wait()
    said = {name: unescape(value) for name, value in re.findall(r'data-(\w+)="([^"]*)"', page)}
    async with asyncio.TaskGroup() as group:
        if said["stream"]:
            group.create_task(follow(f"/ui/stream?{said['stream']}"))
        if "follow" in said:
            group.create_task(follow(said["follow"]))
        if every := float(said["every"]):
            group.create_task(again(every))


async def idle(
    http: aiohttp.ClientSession,
    base: str,
    child: psutil.Process,
    path: str,
    given: argparse.Namespace,
    alone: float = 0.0,
) -> float:
    """Percent of a core, less what it takes alone."""
    count = given.readers if path else 0
    all_there = asyncio.Barrier(count + 1)
    readers = [asyncio.create_task(opened(http, base, path, all_there)) for _ in range(count)]
    readers.append(asyncio.create_task(asyncio.sleep(given.seconds * 2 + 600)))
    # What it takes to open a page is another figure.
    async with asyncio.timeout(300):
        await all_there.wait()
    await asyncio.sleep(3)
    began, busy = time.perf_counter(), sum(child.cpu_times()[:2])
    await asyncio.wait(readers, timeout=given.seconds, return_when=asyncio.FIRST_EXCEPTION)
    percent = (sum(child.cpu_times()[:2]) - busy) / (time.perf_counter() - began) * 100
    for reader in readers:
        reader.cancel()
    ended = await asyncio.gather(*readers, return_exceptions=True)
    wrong = [each for each in ended if not isinstance(each, asyncio.CancelledError)]
    if wrong:
        raise SystemExit(f"{path}: {wrong[0]!r}")
    if not path:
        say("nobody reads", f"{percent:.2f}% of a core")
        return percent
    figures = f"{percent:.2f}% - {alone:.2f}%"
    say(f"{path}, {count} readers", f"{percent - alone:.2f}% of a core", figures, "1%")
    return percent


async def main(given: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ssmd-bench-")))
        server = await enter(PostgresServer(directory / "postgres", durable=False))
        await make_template(server, migration_files())
        database = await enter(new_database(server))
        async with database.connect() as connection:
            await fill(connection, SMALL if given.small else FULL)
        valkey = await enter(ValkeyServer(directory / "valkey"))
        nats_server = await enter(NatsServer(directory / "nats"))
        client = await nats.connect(nats_server.url)
        stack.push_async_callback(client.close)
        await client.jetstream().add_stream(name=STREAM, subjects=[SUBJECTS])
        async with await psycopg.AsyncConnection.connect(database.url) as connection:
            cursor = await connection.execute(
                "SELECT ticker FROM markets WHERE status = 'active' ORDER BY ticker LIMIT 1"
            )
            [(market,)] = await cursor.fetchall()
        await make_streams(client, shards=1)
        await publish(client, *(Maker(str(n)).trade(market, known=False) for n in range(50)))
        key = await api_changes.make_key(database.url)
        port = free_port()
        base, child = await enter(
            process(
                "-m", "ssmd_api", port=port, DATABASE_URL=database.url, REDIS_URL=valkey.url,
                NATS_URL=nats_server.url, API_HOST="127.0.0.1", API_PORT=str(port),
                OPS_HOST="127.0.0.1", OPS_PORT=str(free_port()), API_RECENT_SECONDS="0",
                LOG_LEVEL="WARNING",
            )
        )  # fmt: skip
        http = await enter(
            aiohttp.ClientSession(
                headers={"X-API-Key": key, "Accept-Encoding": "identity"},
                cookies={"ssmd_ui_key": key},
                cookie_jar=aiohttp.CookieJar(unsafe=True),
                timeout=aiohttp.ClientTimeout(None),
                connector=aiohttp.TCPConnector(limit=0),
            )
        )
        if given.only != "readers":
            target = Target(base, (child, psutil.Process(server.pid)))
            await first_views(http, target, given.times, given.rounds)
        if given.only == "views":
            return
        alone = await idle(http, base, child, "", given)
        one = f"/ui/markets/{quote(market)}"
        for path in ("/ui", "/ui/markets", one, "/ui/series", "/ui/changes"):
            await idle(http, base, child, path, given, alone)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=20, help="requests of each measurement")
    parser.add_argument("--readers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0, help="that readers of a page stay")
    parser.add_argument("--small", action="store_true", help="3,000 markets")
    parser.add_argument("--only", choices=("views", "readers"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(parser.parse_args()))
