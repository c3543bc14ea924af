"""The exchange client's figures: decoding, and a whole universe within a Basic budget.

A second process serves prepared pages (today's format, as the simulator renders it) as fast as it
can; the client under test has a core to itself. Ratios are against plain decoding of the same pages
in the same run.

usage: python benchmarks/kalshi.py [--markets 86000] [--budget 200]
"""

import argparse
import asyncio
import gc
import importlib
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import msgspec
from aiohttp import web

from ssmd_common.models import Market
from ssmd_kalshi import convert, decode, markets
from ssmd_kalshi.budget import BASIC_TOKENS_PER_SECOND, Budget
from ssmd_kalshi.drift import Drift
from ssmd_kalshi.endpoints import DEFAULT_COST
from ssmd_kalshi.rest import KalshiRest, MarketStatus
from ssmd_kalshi.wire import WireMarket

orjson = importlib.import_module("orjson") if importlib.util.find_spec("orjson") else None

Work = Callable[[bytes], object]

PER_PAGE = 1000
ROUNDS = 7
SLOW_SECONDS = 0.1
STATUSES: tuple[MarketStatus, ...] = ("unopened", "open", "closed", "settled")


async def pages(count: int) -> list[bytes]:
    """Replies of `GET /markets` that hold so many different markets."""
    from ssmd_simulator.server import Simulator

    rows: list[dict[str, object]] = []
    async with (
        Simulator(budget=0) as simulator,
        KalshiRest(simulator.base_url, budget=Budget(1e6)) as rest,
    ):
        async for page in rest.markets():
            rows += [msgspec.to_builtins(row) for row in page.items]
    for row in rows:
        for name in [name for name, value in row.items() if value is None or name[0] == "("]:
            del row[name]
    replies = []
    for start in range(0, count, PER_PAGE):
        some = [
            {**rows[n % len(rows)], "ticker": f"{rows[n % len(rows)]['ticker']}.{n}"}
            for n in range(start, min(start + PER_PAGE, count))
        ]
        last = start + PER_PAGE >= count
        replies.append(json.dumps({"markets": some, "cursor": "" if last else str(start)}).encode())
    return replies


def serve(markets: int) -> None:
    """The static page server, in a process of its own; prints its port."""

    async def run() -> None:
        replies = await pages(markets)
        following = {
            "": 0,
            **{str(n * PER_PAGE): n + 1 for n in range(len(replies) - 1)},
        }

        async def handle(request: web.Request) -> web.Response:
            if "status" in request.query:
                # An exchange that takes longer for a page than the budget does.
                await asyncio.sleep(SLOW_SECONDS)
            body = replies[following[request.query.get("cursor", "")]]
            return web.Response(body=body, content_type="application/json")

        app = web.Application()
        app.router.add_get("/trade-api/v2/markets", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sys.stdout.write(f"{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()

    asyncio.run(run())


@asynccontextmanager
async def page_server(markets: int) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", "--markets", str(markets), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}/trade-api/v2"
    finally:
        process.terminate()
        await process.wait()


def seconds_per_market(works: dict[str, tuple[Work, list[bytes]]]) -> dict[str, float]:
    """CPU time of each, best of interleaved rounds: other processes share the machine."""
    best = dict.fromkeys(works, float("inf"))
    gc.collect()
    gc.freeze()
    for _ in range(ROUNDS):
        for name, (work, replies) in works.items():
            began = time.process_time()
            for reply in replies:
                work(reply)
            spent = time.process_time() - began
            best[name] = min(best[name], spent / (len(replies) * PER_PAGE))
    gc.unfreeze()
    return best


def to_row(now: datetime, wire: WireMarket) -> Market:
    return markets.market(wire, "S", now)


def decoding(replies: list[bytes]) -> None:
    drift = Drift()
    now = datetime.now(UTC)

    def rows(reply: bytes) -> None:
        page = decode.MARKETS.page(reply, drift)
        found, _ = convert.readable(page.items, partial(to_row, now))
        assert len(found) == PER_PAGE

    strange = [reply.replace(b'"rules_secondary"', b'"rules_tertiary"') for reply in replies]
    works: dict[str, tuple[Work, list[bytes]]] = {
        "`msgspec.json.decode` alone": (msgspec.json.decode, replies),
        "`json.loads` alone": (json.loads, replies),
        "decode to wire rows": (lambda reply: decode.MARKETS.page(reply, drift), replies),
        "decode and model": (rows, replies),
        "the same, every row with an unknown field": (rows, strange),
    }
    if orjson is not None:
        works = {"`orjson.loads` alone": (orjson.loads, replies), **works}
    size = sum(map(len, replies)) / len(replies) / PER_PAGE
    row("size of a market in JSON", f"{size:,.0f} bytes", "")
    best = seconds_per_market(works)
    plain = next(iter(best.items()))
    for name, seconds in best.items():
        aim = "aim 40,000 and 2.5 ×; " if name == "decode and model" else ""
        row(name, rate(seconds), f"{aim}{seconds / plain[1]:.2f} × {plain[0]}")


async def over_http(url: str, size: int) -> None:
    """Everything: HTTP, decoding, rows; CPU time of this process."""
    figures = []
    for _ in range(3):
        began = time.process_time()
        count = 0
        async with KalshiRest(url, budget=Budget(1e9)) as rest:
            async for page in rest.markets():
                now = datetime.now(UTC)
                count += len(convert.readable(page.items, partial(to_row, now))[0])
        assert count == size
        figures.append((time.process_time() - began) / size)
    row(
        "fetch, decode and model over HTTP",
        rate(statistics.median(figures)),
        "per core; aim 40,000",
    )


async def within_budget(url: str, size: int, tokens_per_second: float) -> None:
    budget = Budget(tokens_per_second)
    requests = 0
    began = time.monotonic()
    async with KalshiRest(url, budget=budget) as rest:
        async for page in rest.markets():
            convert.readable(page.items, partial(to_row, datetime.now(UTC)))
            requests += 1
    took = time.monotonic() - began
    allowed = requests * DEFAULT_COST / tokens_per_second
    row(
        f"{size:,} markets, {requests} requests, {tokens_per_second:g} tokens a second",
        f"{took:.2f} s",
        f"{took / allowed:.2f} × requests × {DEFAULT_COST / tokens_per_second * 1e3:g} ms; "
        "aim 1.15; the burst of two seconds is used",
    )
    began = time.monotonic()
    async with KalshiRest(url, budget=budget) as rest:
        async for _ in rest.markets():
            pass
    took = time.monotonic() - began
    row("again, with the burst spent", f"{took:.2f} s", f"{took / allowed:.2f} ×; aim 1.15")
    async with KalshiRest(url, budget=budget) as rest:

        async def scan(status: MarketStatus) -> None:
            async for _ in rest.markets(status=status):
                pass

        for count in (1, 4):
            began = time.monotonic()
            await asyncio.gather(*map(scan, STATUSES[:count]))
            took = time.monotonic() - began
            what = f"replies after {SLOW_SECONDS * 1e3:g} ms, scans side by side: {count}"
            aim = "a cursor is one page at a time" if count == 1 else "aim 1.15"
            row(what, f"{took:.2f} s", f"{took / allowed / count:.2f} ×; {aim}")


def rate(seconds: float) -> str:
    return f"{1 / seconds:,.0f} markets/s"


def row(what: str, figure: str, reference: str) -> None:
    sys.stdout.write(f"| {what} | {figure} | {reference} |\n")
    sys.stdout.flush()


async def main(markets: int, tokens_per_second: float) -> None:
    decoding(await pages(20 * PER_PAGE))
    async with page_server(markets) as url:
        await over_http(url, markets)
        await within_budget(url, markets, tokens_per_second)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markets", type=int, default=86_000)
    parser.add_argument("--budget", type=float, default=BASIC_TOKENS_PER_SECOND)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.markets)
    else:
        asyncio.run(main(options.markets, options.budget))
