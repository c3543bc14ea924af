"""The API's figures: each against a reference in the same run, medians of three, interleaved.

Servers are embedded; the API, the reference (`api_reference.py`) and this process, which asks,
share the machine. Ratios are of medians. The full universe has 90,000 markets, the small one 3,000
(`tests/sql_universe.py`).

usage: python benchmarks/api.py [--rounds 3] [--seconds 1.0] [--readers 2000] [--only cached …]
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import api_changes
import api_orders
import nats
import psutil
import psycopg
import redis.asyncio as aioredis
import uvloop
from sql_universe import FULL, SMALL, fill

from ssmd_api import rows
from ssmd_common.keys import Keys
from ssmd_common.migrations import migration_files
from ssmd_stack.database import make_template, new_database
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.valkey import ValkeyServer
from ssmd_stream.subjects import STREAM, SUBJECTS

CONNECTIONS = 32
_LEAST_ANSWERS = 15
_PAGE_ROWS = 100
_SLOW = 2
_SHOWN = 20
SPARSE = "fields=ticker,status,close_time,yes_bid,yes_ask"
LISTS = [
    f"/v1/{path}"
    for path in (
        "markets?limit=100",
        "markets?sort=-close_time",
        "markets?sort=-volume",
        "markets?sort=open_interest",
        "markets?status=active&sort=-volume",
        "markets?status=settled&sort=-close_time",
        "markets?status=open&sort=close_time",
        "markets?category=Sports",
        "markets?category=Sports&sort=-volume",
        "markets?category=World&status=active&sort=close_time",
        "markets?series=KXSERIES0&sort=-volume",
        "markets?tag=Tag%207",
        "markets?games_only=true&sort=-open_interest",
        "markets?closing_after=0s&closing_before=24h&sort=close_time",
        "markets?min_volume=1000&sort=-volume",
        "markets?q=price&sort=-volume_24h",
        "events?sort=-strike_date",
        "events?category=Sports&sort=strike_date",
        "events?closing_after=0s&closing_before=24h",
        "series?sort=-volume",
        "markets?open_interest.gte=100&sort=-open_interest",
        "markets?volume.gte=1&sort=-volume,close_time",
        "markets?close_time.gt=0s&close_time.lte=7d&sort=-volume",
        "markets?close_time.null=true",
        "markets?series=KXSERIES0&series=KXSERIES2",
        "markets?series=KXSERIES0&sort=-volume,close_time",
        "markets?category=World",
        "markets?category=World&sort=-volume",
        "markets?category=Sports&category=World&trading=yes",
        "events?strike_date.null=true",
        "markets?status=active&count=estimated",
    )
]


class Asker(asyncio.BufferedProtocol):
    """Asks the same again and again over one connection."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._buffer = bytearray(1 << 20)
        self._filled = 0
        self._length = 0
        self.status = b""
        self.answers = 0
        self.seconds: list[float] = []
        self._sent = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._ask()

    def _ask(self) -> None:
        self._filled = self._length = 0
        self._sent = time.perf_counter()
        self.transport.write(self._request)

    def get_buffer(self, _: int) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if not self._length:
            end = self._buffer.find(b"\r\n\r\n", 0, self._filled)
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            self.status = head[9:12]
            self._length = end + 4 + int(head.partition(b"content-length: ")[2].split(b"\r")[0])
        if self._filled >= self._length:
            if self.status != b"200":
                raise SystemExit(f"{self._request!r}: {bytes(self._buffer[: self._filled])!r}")
            self.answers += 1
            self.seconds.append(time.perf_counter() - self._sent)
            self._ask()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


@dataclass(frozen=True, slots=True)
class Target:
    """A server to ask."""

    url: str
    processes: tuple[psutil.Process, ...]
    """The server's, and those of the servers behind it, which nobody else asks meanwhile."""
    key: str = ""

    def busy_seconds(self) -> float:
        """Processor time so far."""
        found = 0.0
        for parent in self.processes:
            for each in (parent, *parent.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    found += sum(each.cpu_times()[:2])
        return found

    async def asked(self, path: str, seconds: float, connections: int = CONNECTIONS) -> list[Asker]:
        port = urlsplit(self.url).port
        assert port is not None
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {self.key}\r\n\r\n".encode()
        loop = asyncio.get_running_loop()
        askers = [
            (await loop.create_connection(lambda: Asker(head), "127.0.0.1", port))[1]
            for _ in range(connections)
        ]
        await asyncio.sleep(seconds)
        for asker in askers:
            asker.transport.abort()
            await asker.ended
        return askers

    async def rate(self, path: str, seconds: float) -> tuple[float, float]:
        """Answers a second, and answers for each second of processor time."""
        began, busy = time.perf_counter(), self.busy_seconds()
        askers = await self.asked(path, seconds)
        took, busy = time.perf_counter() - began, self.busy_seconds() - busy
        answers = sum(asker.answers for asker in askers)
        return answers / took, answers / max(busy, 0.01)

    async def p50(self, path: str, seconds: float) -> float:
        """Milliseconds, of one who asks after the other."""
        # The first ones make plans, and counts.
        found: list[float] = []
        while len(found) < _LEAST_ANSWERS:
            (asker,) = await self.asked(path, seconds, 1)
            found += asker.seconds
        return statistics.median(found[5:]) * 1e3


async def compared(
    ours: Callable[[], Awaitable[float]], reference: Callable[[], Awaitable[float]], rounds: int
) -> tuple[float, float]:
    """Medians, measured by turns."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        found[0].append(await ours())
        found[1].append(await reference())
    return statistics.median(found[0]), statistics.median(found[1])


@asynccontextmanager
async def process(
    *command: str, port: int, **environment: str
) -> AsyncIterator[tuple[str, psutil.Process]]:
    child = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, *command],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError):
                    (await asyncio.open_connection("127.0.0.1", port))[1].close()
                    break
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}", psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait()


@asynccontextmanager
async def api(
    database: str, redis: str, behind: Sequence[psutil.Process] = (), **settings: str
) -> AsyncIterator[Target]:
    port = free_port()
    key = await api_changes.make_key(database)
    async with process(
        "-m", "ssmd_api", port=port, DATABASE_URL=database, REDIS_URL=redis,
        NATS_URL="nats://127.0.0.1:1", API_HOST="127.0.0.1", API_PORT=str(port),
        OPS_HOST="127.0.0.1", OPS_PORT=str(free_port()), **settings,
    ) as (url, child):  # fmt: skip
        yield Target(url, (child, *behind), key)


async def warmed(target: Target, database: str, redis_url: str) -> str:
    """Put a market into Redis as the cache does; its path."""
    import aiohttp

    async with await psycopg.AsyncConnection.connect(database) as connection:
        row = await (
            await connection.execute("SELECT ticker FROM markets WHERE status = 'active' LIMIT 1")
        ).fetchone()
    assert row
    path = f"/v1/markets/{row[0]}"
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": target.key}) as http,
        http.get(target.url + path) as reply,
        aioredis.Redis.from_url(redis_url) as redis,
    ):
        market: dict[str, Any] = rows.decode(await reply.read())
        event, series = market.pop("event"), market.pop("series")
        place = {"epoch": 1, "lsn": "0/1", "seq": 0}
        keys = Keys()
        names = (series["ticker"], event["event_ticker"], market["ticker"])
        await redis.set(keys.series(names[0]), rows.encode({**series, **place}))
        await redis.set(keys.event(*names[:2]), rows.encode({**event, **place}))
        await redis.set(keys.market(*names), rows.encode({**market, **place}))
        await redis.hset(keys.markets, names[2], keys.market(*names))
    return path


async def exported(target: Target) -> float:
    """Rows a second of the whole."""
    import aiohttp

    headers = {"X-API-Key": target.key, "Accept-Encoding": "identity"}
    began, lines = time.perf_counter(), 0
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(target.url + "/v1/export") as reply,
    ):
        async for chunk in reply.content.iter_any():
            lines += chunk.count(b"\n")
    return lines / (time.perf_counter() - began)


async def copied(database: str) -> float:
    """The same of COPY with the same columns."""
    began, lines = time.perf_counter(), 0
    async with (
        await psycopg.AsyncConnection.connect(database) as connection,
        connection.cursor() as cursor,
        cursor.copy(
            "COPY (SELECT m.*, e.event_ticker, e.title, e.sub_title, e.category, e.status,"
            " e.strike_date, e.mutually_exclusive, s.ticker, s.title, s.category, s.tags,"
            " s.is_game, s.volume, coalesce(e.category, s.category), m.latest_expiration_time"
            " FROM markets m JOIN events e USING (event_ticker)"
            " JOIN series s ON s.ticker = m.series_ticker WHERE m.deleted_at IS NULL"
            " ORDER BY m.ticker) TO STDOUT"
        ) as copy,
    ):
        async for _ in copy:
            lines += 1
    return lines / (time.perf_counter() - began)


async def is_full(target: Target, path: str) -> bool:
    """Whether a page has as many rows as it may."""
    import aiohttp

    headers = {"X-API-Key": target.key}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(target.url + path) as reply,
    ):
        found = await reply.json()
    return len(next(iter(found.values()))) == _PAGE_ROWS


async def lists(full: Target, small: Target, seconds: float, rounds: int) -> None:
    """Pages that are full at both sizes are compared; of others the small one has less to send."""
    slowest: list[tuple[float, float, float, str]] = []
    took: list[tuple[float, str]] = []
    for path in LISTS:
        if not (await is_full(full, path) and await is_full(small, path)):
            found = await full.p50(path, seconds / 5)
            say(f"{path}, a page that is not full", f"{found:.1f} ms")
            took.append((found, path))
            continue
        here, there = await compared(
            lambda path=path: full.p50(path, seconds / 5),  # type: ignore[misc]
            lambda path=path: small.p50(path, seconds / 5),  # type: ignore[misc]
            rounds,
        )
        slowest.append((here / there, here, there, path))
        took.append((here, path))
    slowest.sort(reverse=True)
    plain = next(here for here, path in took if path == LISTS[0])
    for here, path in sorted(took, reverse=True)[:3]:
        say(f"{path} ÷ the plain list", f"{here / plain:.2f}", f"{here:.1f} ÷ {plain:.1f} ms", "2")
    for ratio, here, there, path in slowest[:3]:
        say(f"{path}, full ÷ small", f"{ratio:.2f}", f"{here:.1f} ms ÷ {there:.1f} ms", "1.5")
    median = statistics.median(ratio for ratio, *_ in slowest)
    say(f"median of {len(slowest)} filters and orders", f"{median:.2f}", "", "1.5")


async def every_order(database: str) -> None:
    """The slowest of all filters and orders, in PostgreSQL's processor time."""
    found = await api_orders.compared(database)
    slow = [each for each in found if each[0] > _SLOW]
    say(
        f"lists slower than {_SLOW} × the plain one, of filters × orders",
        f"{len(slow)}",
        f"of {len(found)}",
    )
    for ratio, took, what in found[:_SHOWN]:
        say(f"{what} ÷ the plain list", f"{ratio:.2f}", f"{took:.1f} ms", f"{_SLOW}")


async def readers(directory: Path, database: str, count: int) -> None:
    async with NatsServer(directory / "nats") as server:
        client = await nats.connect(server.url)
        await client.jetstream().add_stream(name=STREAM, subjects=[SUBJECTS])
        key = await api_changes.make_key(database)
        given = argparse.Namespace(readers=count, rate=500, seconds=8, rest=3)
        async with api_changes.api(database, server.url, count) as (child, url):
            most = await api_changes.measure(given, "one series", child, url, key, client)
        await client.close()
    say(f"resident with {count:,} readers at 500 changes/s", f"{most:.0f} MB", "", "200 MB")


def say(what: str, figure: str, of: str = "", need: str = "") -> None:
    sys.stdout.write(f"| {what} | {figure} | {of} | {need} |\n")
    sys.stdout.flush()


async def main(given: argparse.Namespace) -> None:
    def wanted(name: str) -> bool:
        return not given.only or name in given.only

    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ssmd-bench-")))
        server = await enter(PostgresServer(directory / "postgres", durable=False))
        await make_template(server, migration_files())
        databases = []
        for size in (FULL, SMALL):
            database = await enter(new_database(server))
            async with database.connect() as connection:
                await fill(connection, size)
            databases.append(database.url)
        valkey = await enter(ValkeyServer(directory / "valkey"))
        port = free_port()
        behind = [psutil.Process(server.pid)]
        url, child = await enter(
            process(
                str(Path(__file__).with_name("api_reference.py")),
                str(port),
                databases[0],
                port=port,
            )
        )
        reference = Target(url, (child, *behind))
        full = await enter(api(databases[0], valkey.url, behind))
        cached = replace(full, processes=(full.processes[0], psutil.Process(valkey.pid)))
        bare = replace(reference, processes=(child,))
        seconds, rounds = given.seconds, given.rounds

        async def against(
            what: str,
            ours: str,
            theirs: str,
            need: str,
            targets: tuple[Target, Target] = (full, reference),
        ) -> None:
            # First connections are made, and plans.
            await targets[0].rate(ours, seconds)
            await targets[1].rate(theirs, seconds)
            found = [
                (await targets[0].rate(ours, seconds), await targets[1].rate(theirs, seconds))
                for _ in range(rounds)
            ]
            for n, unit, name in ((0, "s", what), (1, "s of processors", "· of processor time")):
                mine, other = (statistics.median(each[i][n] for each in found) for i in (0, 1))
                of = f"{mine:,.0f} ÷ {other:,.0f} a {unit}"
                say(name, f"{mine / other:.2f}", of, need)

        if wanted("cached"):
            path = await warmed(full, databases[0], valkey.url)
            await against("cached market ÷ bare aiohttp", path, "/hello", "0.3", (cached, bare))
            valkeys = cached.processes[1:]
            async with api(databases[0], valkey.url, valkeys, LOG_LEVEL="WARNING") as silent:
                await silent.rate(path, seconds)
                logged, quiet = zip(
                    *[
                        (
                            (await cached.rate(path, seconds))[1],
                            (await silent.rate(path, seconds))[1],
                        )
                        for _ in range(rounds)
                    ],
                    strict=True,
                )
            line = (1 / statistics.median(logged) - 1 / statistics.median(quiet)) * 1e6
            say("a line of the access log", f"{line:.0f} µs of processor time")
        if wanted("list") or wanted("size"):
            # The same page again and again is mostly remembered; with nothing remembered each
            # request costs what a page costs that nobody else asks for.
            forgetful = await enter(api(databases[0], valkey.url, behind, API_RECENT_SECONDS="0"))
        if wanted("list"):
            for how, target in (("the same page again", full), ("each page read", forgetful)):
                targets = (target, reference)
                for what, path, theirs in (
                    ("list of 100", "/v1/markets", "/whole"),
                    ("five fields", f"/v1/markets?{SPARSE}", "/sparse"),
                ):
                    await against(f"{what} ÷ json_agg, {how}", path, theirs, "0.8", targets)
        if wanted("export"):
            mine, other = await compared(
                lambda: exported(full), lambda: copied(databases[0]), rounds
            )
            figures = f"{mine:,.0f} rows/s ÷ {other:,.0f} rows/s"
            say("export ÷ COPY", f"{mine / other:.2f}", figures, "0.3")
        if wanted("size") or wanted("stats"):
            small = await enter(api(databases[1], "redis://127.0.0.1:1/0", API_RECENT_SECONDS="0"))
        if wanted("size"):
            await lists(forgetful, small, seconds, rounds)
        if wanted("orders"):
            await every_order(databases[0])
        if wanted("stats"):
            here, there = await compared(
                lambda: full.p50("/v1/stats/markets", seconds),
                lambda: small.p50("/v1/stats/markets", seconds),
                rounds,
            )
            of = f"{here:.1f} ms ÷ {there:.1f} ms"
            say("/v1/stats/markets, full ÷ small", f"{here / there:.2f}", of, "2")
        if wanted("readers"):
            await readers(directory, databases[1], given.readers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--readers", type=int, default=2000)
    parser.add_argument(
        "--only",
        nargs="*",
        choices=("cached", "list", "export", "size", "orders", "stats", "readers"),
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(parser.parse_args()))
