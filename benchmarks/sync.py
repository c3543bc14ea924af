"""sync's figures: the whole universe at the Basic budget, unthrottled, and when nothing changed.

The simulator runs in a process of its own, PostgreSQL is embedded; both share the machine with
what is measured. Writing is to be read against a COPY of the same rows into an identically indexed
table, in the same run; fetching against a reader that only counts the bytes of the same pages.

usage: python benchmarks/sync.py [--size full] [--rounds 3] [--skip-basic] [--memory]
"""

import argparse
import asyncio
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString

import aiohttp
import psycopg
from psycopg import sql

from ssmd_common.migrations import migration_files
from ssmd_common.models import Event, Market, Series, SeriesFee
from ssmd_common.settings import load
from ssmd_stack.database import Database, make_template, new_database
from ssmd_stack.ports import free_port
from ssmd_stack.postgres import PostgresServer
from ssmd_store.pages import Store
from ssmd_sync.exchange import Exchange
from ssmd_sync.scope import Mode, Scope
from ssmd_sync.service import run_job
from ssmd_sync.settings import SyncSettings

OLD_PASS_SECONDS_PER_REQUEST = 0.3
"""One request after the other, each series for itself: how such a mirror is first written."""

ROWS = {
    "series": Series.columns(),
    "events": (*Event.columns(), "status"),
    "markets": Market.columns(),
    "series_fees": SeriesFee.columns(),
}
PARENTS: dict[str, tuple[LiteralString, ...]] = {
    "events": ("(series_ticker) REFERENCES series (ticker)",),
    "markets": ("(event_ticker, series_ticker) REFERENCES events (event_ticker, series_ticker)",),
    "series_fees": ("(series_ticker) REFERENCES series (ticker)",),
}


@asynccontextmanager
async def simulator(size: str, budget: float) -> AsyncIterator[str]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ssmd_simulator", "--port", str(port), "--size", size,
        "--tempo", "still", "--budget", str(budget), "--log-level", "WARNING",
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(120), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(url + "/healthz") as reply:
                        if reply.status == 200:
                            break
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)
        yield f"{url}/trade-api/v2"
    finally:
        process.terminate()
        await process.wait()


class Figures:
    """What one run of `ssmd-sync` took, as it tells itself, and its memory."""

    def __init__(self, run: dict[str, Any], peak_bytes: int) -> None:
        self.run = run
        self.peak_bytes = peak_bytes

    @property
    def seconds(self) -> float:
        return float((self.run["finished_at"] - self.run["started_at"]).total_seconds())


async def ssmd_sync(job: str, database: Database, exchange: str, budget: float) -> Figures:
    """One job in a process of its own."""
    environment = {
        **os.environ,
        "DATABASE_URL": database.url,
        "KALSHI_BASE_URL": exchange,
        "KALSHI_READ_BUDGET": str(budget),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ssmd_sync", "run", job, env=environment,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    peak = 0

    async def watch() -> None:
        nonlocal peak
        status = Path(f"/proc/{process.pid}/status")
        while process.returncode is None:
            try:
                text = status.read_text()  # noqa: ASYNC240 - /proc does not block
                found = re.search(r"VmHWM:\s+(\d+) kB", text)
            except OSError:
                return
            if found:
                peak = max(peak, int(found[1]) * 1024)
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    output = await process.stdout.read()
    await process.wait()
    watching.cancel()
    if process.returncode:
        sys.exit(output.decode())
    async with database.connect(row_factory=psycopg.rows.dict_row) as connection:
        cursor = await connection.execute("SELECT * FROM sync_runs ORDER BY id DESC LIMIT 1")
        run = await cursor.fetchone()
        assert run is not None
    return Figures(run, peak)


def cpu_seconds(server: PostgresServer) -> float:
    """What the server's ended processes have used: the wait for a client is none of its work."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


async def settled_cpu_seconds(server: PostgresServer) -> float:
    """The same once the last client's process has ended."""
    before = -1.0
    while (now := cpu_seconds(server)) != before:
        before = now
        await asyncio.sleep(0.3)
    return now


async def plain_copy(server: PostgresServer, database: Database) -> float:
    """The server's seconds for a COPY of every row into tables with the same columns, keys and
    indexes."""
    rows: dict[str, list[bytes]] = {}
    async with database.connect() as connection:
        for table, columns in ROWS.items():
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            out = sql.SQL("COPY {} ({}) TO STDOUT").format(sql.Identifier(table), names)
            async with connection.cursor().copy(out) as copy:
                rows[table] = [bytes(row) async for row in copy]
            reference = sql.Identifier(f"reference_{table}")
            await connection.execute(
                sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(
                    reference, sql.Identifier(table)
                )
            )
            for key in PARENTS.get(table, ()):
                await connection.execute(
                    sql.SQL("ALTER TABLE {} ADD FOREIGN KEY " + key).format(reference)
                )
    before = await settled_cpu_seconds(server)
    async with database.connect() as connection:
        for table, columns in ROWS.items():
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            reference = sql.Identifier(f"reference_{table}")
            into = sql.SQL("COPY {} ({}) FROM STDIN").format(reference, names)
            async with connection.transaction(), connection.cursor().copy(into) as copy:
                for row in rows[table]:
                    await copy.write(row)
    total = await settled_cpu_seconds(server) - before
    async with database.connect() as connection:
        for table in ROWS:
            await connection.execute(
                sql.SQL("DROP TABLE {}").format(sql.Identifier(f"reference_{table}"))
            )
    return total


async def only_read(exchange: str) -> tuple[float, int]:
    """Seconds and bytes of the event pages, read and thrown away."""
    began = time.perf_counter()
    size = 0
    async with aiohttp.ClientSession() as session:
        cursor = ""
        while True:
            query = {"status": "open", "with_nested_markets": "true", "limit": "200"}
            if cursor:
                query["cursor"] = cursor
            async with session.get(exchange + "/events", params=query) as reply:
                body = await reply.read()
            size += len(body)
            match = re.search(rb'"cursor":"([^"]*)"\}$', body)
            cursor = match[1].decode() if match else ""
            if not cursor:
                return time.perf_counter() - began, size


async def basic(server: PostgresServer, size: str) -> None:
    async with simulator(size, 200) as exchange, new_database(server) as database:
        done = await ssmd_sync("everything", database, exchange, 200)
        ideal = done.run["requests"] / 20
        print(
            f"Basic budget, empty database: {done.run['inserted']} rows in {done.seconds:.1f} s, "
            f"{done.run['requests']} requests ({done.seconds / ideal:.2f} × requests / 20 a second)"
        )
        async with database.connect() as connection:
            row = await (
                await connection.execute("SELECT count(DISTINCT series_ticker) FROM events")
            ).fetchone()
        assert row is not None
        old = 3 * row[0] * OLD_PASS_SECONDS_PER_REQUEST
        print(
            f"  a pass over its {row[0]} series, three lists each, one request every 300 ms: "
            f"{old:.0f} s"
        )


async def lifted(server: PostgresServer, size: str, rounds: int) -> None:
    rates, ratios, unchanged, peaks, reads = [], [], [], [], []
    async with simulator(size, 0) as exchange:
        for _ in range(rounds):
            async with new_database(server) as database:
                seconds, _ = await only_read(exchange)
                reads.append(seconds)
                before = await settled_cpu_seconds(server)
                first = await ssmd_sync("everything", database, exchange, 1_000_000)
                writing = await settled_cpu_seconds(server) - before
                async with database.connect() as connection:
                    row = await (
                        await connection.execute("SELECT count(*) FROM markets")
                    ).fetchone()
                assert row is not None
                markets = row[0]
                rates.append(markets / first.seconds)
                ratios.append(writing / await plain_copy(server, database))
                async with database.connect() as connection:
                    await connection.execute("VACUUM ANALYZE")
                again = await ssmd_sync("everything", database, exchange, 1_000_000)
                # A market or two opens or closes in time, whatever the tempo.
                assert again.run["inserted"] == 0, again.run
                assert again.run["updated"] < markets / 1000, again.run
                unchanged.append(markets / again.seconds)
                peaks.append(max(first.peak_bytes, again.peak_bytes))
    print(f"Budget lifted, {markets} markets, medians of {rounds}:")
    print(f"  fetched, parsed, diffed and written: {statistics.median(rates):,.0f} markets/s")
    print(
        f"  (reading the same pages and nothing else: {markets / statistics.median(reads):,.0f}/s)"
    )
    print(f"  PostgreSQL's work: {statistics.median(ratios):.2f} × that of a COPY of the same rows")
    print(f"  nothing changed: {statistics.median(unchanged):,.0f} markets/s")
    print(f"  peak memory: {max(peaks) / 2**20:.0f} MiB")


async def repeated(server: PostgresServer, size: str, rounds: int) -> None:
    """What stays after each of some passes of one process, and two at once."""
    async with simulator(size, 0) as exchange, new_database(server) as database:
        os.environ |= {
            "DATABASE_URL": database.url,
            "KALSHI_BASE_URL": exchange,
            "KALSHI_READ_BUDGET": "1000000",
        }
        settings = load(SyncSettings)
        print(f"before the first pass: {memory_mib('VmRSS')} MiB")
        for modes in [*[(Mode.FULL,)] * rounds, (Mode.FULL, Mode.ACTIVE)]:
            # The kernel begins to count the peak anew.
            Path("/proc/self/clear_refs").write_text("5")  # noqa: ASYNC240 - /proc does not block
            await passes(settings, modes)
            peak, left = memory_mib("VmHWM"), memory_mib("VmRSS")
            print(f"{' and '.join(modes)}: peak {peak} MiB, then {left} MiB", flush=True)


async def passes(settings: SyncSettings, modes: tuple[Mode, ...]) -> None:
    exchange = Exchange(settings)
    async with AsyncExitStack() as stack:
        opened = [Store.open(settings.database_url, "bench", 10) for _ in modes]
        stores = [await stack.enter_async_context(store) for store in opened]
        await asyncio.gather(
            *(
                run_job(f"bench-{mode}", Scope(mode=mode), store, exchange)
                for mode, store in zip(modes, stores, strict=True)
            )
        )


def memory_mib(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) // 1024 if found else 0


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="full", choices=["small", "full"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-basic", action="store_true")
    parser.add_argument("--memory", action="store_true", help="only: passes of one process")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server = PostgresServer(Path(directory) / "postgres")
        async with server:
            await make_template(server, migration_files())
            if options.memory:
                await repeated(server, options.size, options.rounds)
                return
            if not options.skip_basic:
                await basic(server, options.size)
            await lifted(server, options.size, options.rounds)
        server.remove()


if __name__ == "__main__":
    asyncio.run(main())
