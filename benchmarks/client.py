"""The client's figures: a live view's warm-up, memory, look-ups and changes, beside references.

Servers, cdc and the API are embedded and share the machine with what is measured. The warm-up is to
be read against downloading the same snapshot and parsing its JSON alone, in the same run, round by
round. Look-ups and changes are per second of processor time.

usage: python benchmarks/client.py [--markets 90000] [--changes 100000] [--rounds 5]
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psycopg
from sql_universe import FULL, Size, fill

from ssmd_client.live.compact import columns_of
from ssmd_client.live.follower import Follower
from ssmd_client.live.messages import Message
from ssmd_client.live.overhttp import HttpSource
from ssmd_client.live.scope import Scope
from ssmd_client.live.secmaster import Secmaster
from ssmd_common import apikeys
from ssmd_common.migrations import migration_files
from ssmd_stack.database import migrate
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stack.postgres import PostgresServer

EXCLUDED = "rules_primary,extra,settlement_sources"


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--markets", type=int, default=FULL.markets)
    arguments.add_argument("--changes", type=int, default=100_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.child:
        await child(*given.child, changes=given.changes)
        return
    with tempfile.TemporaryDirectory() as directory:
        async with serving(Path(directory), given.markets) as (url, key):
            alone, warm = [], []
            for number in range(given.rounds):
                # Taking turns in being first: the machine's other work comes and goes.
                if number % 2:
                    warm.append(await seconds_of(connect(url, key)))
                alone.append(await seconds_of(download(url, key)))
                if not number % 2:
                    warm.append(await seconds_of(connect(url, key)))
            ratio = statistics.median(w / a for w, a in zip(warm, alone, strict=True))
            say("the snapshot alone, downloaded and parsed", f"{statistics.median(alone):.2f} s")
            say("a live view is warm after", f"{statistics.median(warm):.2f} s ({ratio:.2f} ×)")
            say("", f"all rounds: {shown(alone)} alone, {shown(warm)} warm")
            run = [sys.executable, __file__, "--child", url, key, "--changes", str(given.changes)]
            found = await asyncio.to_thread(
                subprocess.run, run, check=True, stdout=subprocess.PIPE, text=True
            )
            figures = json.loads(found.stdout)
            for name, value in figures.items():
                say(name, value)


def say(name: str, value: str) -> None:
    sys.stdout.write(f"{name:<50} {value}\n")
    sys.stdout.flush()


def shown(seconds: list[float]) -> str:
    return ", ".join(f"{each:.2f}" for each in seconds)


async def seconds_of(work: Coroutine[Any, Any, None]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def download(url: str, key: str) -> None:
    """The same bytes, each line parsed as JSON, and nothing kept."""
    decoder = msgspec.json.Decoder()
    query = f"tables=series,events,markets,series_fees,fees&exclude={EXCLUDED}"
    headers = {"X-API-Key": key, "Accept-Encoding": "identity"}
    async with (
        aiohttp.ClientSession(headers=headers, read_bufsize=1 << 18) as http,
        http.get(f"{url}/v1/snapshot?{query}") as reply,
    ):
        rest = b""
        async for chunk in reply.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                decoder.decode(line)


async def connect(url: str, key: str) -> None:
    async with Secmaster.connect(url, key, patience_seconds=None) as secmaster:
        assert secmaster.age.is_following


async def child(url: str, key: str, *, changes: int) -> None:
    """A process of its own, so that its memory is the view's alone."""
    # What a program has that does nothing but import the library.
    before = resident_bytes()
    async with Secmaster.connect(url, key, patience_seconds=None) as secmaster:
        gc.collect()
        held = resident_bytes()
        tickers = [market.ticker for market in secmaster.markets]
        figures = {
            "resident memory of a process with the view": (
                f"{held / 1e6:.0f} MB ({before / 1e6:.0f} before), {len(tickers):,} markets"
            ),
            "get": f"{looked_up(secmaster, tickers):,.0f}/s",
            "find(closing_within=7 d)": found_soon(secmaster),
            "changes applied, from server-sent events": f"{applied(secmaster, changes):,.0f}/s",
            "changes applied, with 10 readers of changes": (
                f"{applied(secmaster, changes, readers=10):,.0f}/s"
            ),
        }
    sys.stdout.write(json.dumps(figures))


def looked_up(secmaster: Secmaster, tickers: list[str]) -> float:
    get, rounds = secmaster.get, max(1, 1_000_000 // len(tickers))
    began = time.process_time()
    for _ in range(rounds):
        for ticker in tickers:
            get(ticker)
    return rounds * len(tickers) / (time.process_time() - began)


def found_soon(secmaster: Secmaster) -> str:
    count = len(secmaster.find(closing_within=timedelta(days=7)))
    began = time.process_time()
    for _ in range(10):
        secmaster.find(closing_within=timedelta(days=7))
    return f"{(time.process_time() - began) * 100:.2f} ms for {count:,} markets"


def applied(secmaster: Secmaster, count: int, readers: int = 0) -> float:
    """Changes a second from the bytes of server-sent events to the picture."""
    keeper, picture = secmaster._keeper, secmaster._picture  # noqa: SLF001 - measured from within
    markets = list(picture.markets.values())[:5000]
    blocks = [event(number, markets[number % len(markets)]) for number in range(count)]
    source = HttpSource("http://localhost", "k", Scope())
    keeper._follower = Follower(picture, None)  # noqa: SLF001
    joined = [secmaster.changes(series=f"S{number}") for number in range(readers)]
    parse, apply, tell = source._event, keeper._follower.apply, keeper.readers.tell  # noqa: SLF001
    began = time.process_time()
    for block in blocks:
        message, _ = parse(block)
        assert isinstance(message, Message)
        change = apply(message)
        if change is not None:
            keeper._wake(change)  # noqa: SLF001
            tell(change)
    seconds = time.process_time() - began
    for each in joined:
        each.close()
    return count / seconds


def event(number: int, market: Any) -> bytes:
    """A change of a market's quotes and volume, as /v1/changes sends it."""
    row = {name: getattr(market, name) for name in columns_of(market)}
    row |= {"yes_bid": number % 100, "yes_bid_dollars": f"{number % 100 / 100:.4f}00"}
    row |= {"volume": number, "volume_fp": f"{number}.00"}
    changed = {"yes_bid": {"old": 1, "new": row["yes_bid"]}}
    document = {
        "v": 1, "lsn": f"1/{number:X}", "seq": 0, "xid": 1_000_000 + number, "epoch": 1,
        "table": "markets", "op": "update", "type": "market_updated", "ticker": market.ticker,
        "key": {"ticker": market.ticker}, "data": row, "changes": changed,
        "timestamp": "2026-02-03T22:05:00.123456Z",
    }  # fmt: skip
    data = msgspec.json.encode(document)
    return b"id: %d@1:1/%X:0\nevent: market_updated\ndata: %b" % (number + 1, number, data)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def serving(directory: Path, markets: int) -> AsyncIterator[tuple[str, str]]:
    """The API over a database of that many markets; its URL, and a key."""
    key = apikeys.generate("bench")
    share = markets / FULL.markets
    size = Size(max(1, int(FULL.series * share)), max(1, int(FULL.events * share)), markets)
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(PostgresServer(directory / "pg", durable=False))
        nats = await stack.enter_async_context(NatsServer(directory / "nats"))
        await migrate(postgres.url, migration_files())
        async with await psycopg.AsyncConnection.connect(postgres.url, autocommit=True) as made:
            await fill(made, size)
            await made.execute(
                "INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute)"
                " VALUES ('bench', %s, %s, '{read}', 1000000)",
                (key.prefix, key.hash),
            )
        await stack.enter_async_context(process("ssmd_cdc", postgres.url, nats.url))
        url = await stack.enter_async_context(process("ssmd_api", postgres.url, nats.url))
        yield url, key.text


@asynccontextmanager
async def process(module: str, database_url: str, nats_url: str) -> AsyncIterator[str]:
    port, ops = free_port(), free_port()
    environment = {
        **os.environ, "DATABASE_URL": database_url, "NATS_URL": nats_url,
        "REDIS_URL": "redis://127.0.0.1:1/0", "API_HOST": "127.0.0.1", "API_PORT": str(port),
        "OPS_HOST": "127.0.0.1", "OPS_PORT": str(ops), "LOG_LEVEL": "ERROR",
    }  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with aiohttp.ClientSession() as http:
            while True:
                try:
                    if (await http.get(f"http://127.0.0.1:{ops}/readyz")).status == 200:
                        break
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        await child.wait()


asyncio.run(main())
