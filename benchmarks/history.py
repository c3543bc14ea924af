"""What history costs and takes: the same work with its triggers and without, in the same run.

The server's own processor seconds are compared, which other load disturbs less than the clock;
seconds by the clock stand beside. The simulator runs in a process of its own, PostgreSQL is
embedded.

usage: make bench BENCH=history ARGS="[--size full] [--rounds 3] [--days 3]"
"""

import argparse
import asyncio
import logging
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from sync import settled_cpu_seconds, simulator, ssmd_sync

from ssmd_api.__main__ import open_context
from ssmd_api.app import make_app
from ssmd_api.settings import ApiSettings
from ssmd_common import apikeys, health
from ssmd_common.health import Health
from ssmd_common.migrations import migration_files
from ssmd_stack.database import Database, make_template, new_database
from ssmd_stack.postgres import PostgresServer

QUOTES = 50_000
NEW_MARKETS, CHANGES, BATCH = 60_000, 300_000, 100
"""A day of the exchange's recorded rate, and how many rows a transaction has."""
TABLES = ("series", "events", "markets", "series_fees", "fees")

LISTS = 100

Cost = tuple[float, float]
"""Seconds of the server's processor, and by the clock."""


async def cost(server: PostgresServer, work: Callable[[], Awaitable[Any]]) -> Cost:
    before, began = await settled_cpu_seconds(server), time.perf_counter()
    await work()
    seconds = time.perf_counter() - began
    return await settled_cpu_seconds(server) - before, seconds


async def prepare(database: Database, is_recorded: bool) -> None:
    async with database.connect() as connection:
        await connection.execute("SELECT history.notice()")
        await connection.execute("SELECT history.maintain('90 days')")
        for table in TABLES if not is_recorded else ():
            for what in ("inserted", "updated", "deleted", "truncated"):
                await connection.execute(f"DROP TRIGGER history_{what} ON {table}".encode())


async def execute(database: Database, *statements: str) -> Any:
    """Each in a transaction of its own; the rows of the last."""
    async with database.connect() as connection:
        for statement in statements:
            cursor = await connection.execute(statement.encode())
        return await cursor.fetchall() if cursor.description else None


def quotes() -> list[str]:
    """As sync writes them, 1,000 in a transaction; the page's rows by their keys."""
    return [
        "UPDATE markets SET yes_bid = coalesce(yes_bid, 0) % 98 + 1, volume_fp ="
        " coalesce(volume_fp, 0) + 1, observed_at = now(), updated_at = now() WHERE ticker IN"
        f" (SELECT ticker FROM markets ORDER BY ticker OFFSET {at} LIMIT 1000)"
        for at in range(0, QUOTES, 1000)
    ]


async def compared(server: PostgresServer, size: str, rounds: int) -> None:
    found: dict[tuple[str, bool], list[Cost]] = {}
    tuples = 0
    async with simulator(size, 0) as exchange:
        for number in range(rounds):
            # Which is first changes, because what is second finds the machine warm.
            for is_recorded in (True, False) if number % 2 else (False, True):
                async with new_database(server) as database:
                    await prepare(database, is_recorded)

                    async def passed(to: Database = database) -> None:
                        await ssmd_sync("everything", to, exchange, 1_000_000)

                    async def quoted(to: Database = database) -> None:
                        await execute(to, *quotes())

                    for what, work in (
                        ("full", passed),
                        ("no change", passed),
                        ("quotes", quoted),
                    ):
                        await execute(database, "VACUUM ANALYZE")
                        [(before,)] = await execute(
                            database, "SELECT count(*) FROM history.markets"
                        )
                        found.setdefault((what, is_recorded), []).append(await cost(server, work))
                        [(after,)] = await execute(database, "SELECT count(*) FROM history.markets")
                        tuples += (after - before) * (what == "quotes")
    print(f"{rounds} rounds, medians; with history, without it:")
    for what in ("full", "no change", "quotes"):
        cpu, clock = (
            [
                statistics.median(each[part] for each in found[what, is_recorded])
                for is_recorded in (True, False)
            ]
            for part in (0, 1)
        )
        print(
            f"  {what}: the server's processor {cpu[0]:.2f} s, {cpu[1]:.2f} s"
            f" ({cpu[0] / cpu[1]:.2f} ×);"
            f" by the clock {clock[0]:.1f} s, {clock[1]:.1f} s ({clock[0] / clock[1]:.2f} ×)",
            flush=True,
        )
    print(f"  events that quotes left: {tuples}")


async def day(database: Database, number: int) -> None:
    """New markets, each of which becomes active, closes, and settles in two steps; and changes of
    their close times."""
    async with database.connect() as connection:
        for at in range(0, NEW_MARKETS, 1000):
            await connection.execute(
                "INSERT INTO markets (ticker, event_ticker, series_ticker, title, status,"
                " open_time, close_time, rules_primary, price_level_structure, market_type)"
                " SELECT 'KXDAY' || g %% 40 || '-26NOV29H' || g %% 600 || '-T' || g,"
                " 'E' || g %% 600, 'S' || g %% 40, 'Title of the market', 'open', now(),"
                " now() + interval '1 h', repeat('Rules of the market. ', 20), 'linear', 'binary'"
                " FROM generate_series(%s::int, %s) g",
                (number * NEW_MARKETS + at, number * NEW_MARKETS + at + 999),
            )
        steps = (
            "status = 'active', exchange_status = 'active'",
            "close_time = close_time - interval '1 min'",
            (
                "status = 'closed', exchange_status = 'determined', result = 'yes',"
                " settlement_value_dollars = 1, expiration_value = '12.5'"
            ),
            "exchange_status = 'finalized', status = 'settled', settled_time = now()",
            "extra = '{\"settlement_timer_seconds\": 60}'",
        )
        for step in steps:
            for at in range(0, CHANGES // len(steps), BATCH):
                first = number * NEW_MARKETS + at
                await connection.execute(
                    f"UPDATE markets SET {step}, observed_at = now(), updated_at = now()"
                    " WHERE ticker IN"
                    " (SELECT 'KXDAY' || g % 40 || '-26NOV29H' || g % 600 || '-T' || g"
                    f" FROM generate_series({first}, {first + BATCH - 1}) g)".encode()
                )


async def days(server: PostgresServer, number: int) -> None:
    async with new_database(server) as database:
        await prepare(database, True)
        await execute(
            database,
            "INSERT INTO series (ticker) SELECT 'S' || g FROM generate_series(0, 39) g",
            "INSERT INTO events (event_ticker, series_ticker)"
            " SELECT 'E' || g, 'S' || g % 40 FROM generate_series(0, 599) g",
        )
        moments = []
        for each in range(number):
            before = await execute(database, "SELECT history.bytes()")
            await day(database, each)
            after = await execute(database, "SELECT history.bytes()")
            print(
                f"day {each + 1}: {(after[0][0] - before[0][0]) / 1e6:.0f} MB of history",
                flush=True,
            )
            moments.append((await execute(database, "SELECT clock_timestamp()::text"))[0][0])
        await execute(database, "VACUUM ANALYZE")
        present = await exported(server, database, "SELECT * FROM markets")
        for each, moment in enumerate(moments):
            told = await exported(server, database, f"SELECT * FROM markets_as_of('{moment}')")
            print(
                f"export: the present {present[0]:,.0f} rows/s, as after day {each + 1}"
                f" {told[0]:,.0f} rows/s of {told[1]:,} ({told[0] / present[0]:.2f} ×)"
            )
        pages = {
            "present": "markets",
            **{
                f"as after day {n + 1}": f"markets_as_of_by_key('{at}')"
                for n, at in enumerate(moments)
            },
        }
        for name, source in pages.items():
            query = f"SELECT * FROM {source} WHERE deleted_at IS NULL ORDER BY ticker LIMIT 100"
            took = await timed(database, query)
            print(f"page of 100, {name}: p50 {statistics.median(took) * 1e3:.1f} ms")
        await listed(server, database, moments)


async def listed(server: PostgresServer, database: Database, moments: list[str]) -> None:
    """The API's list of markets, as of moments and now, in turn: half of what it takes here is by
    chance, and processor seconds are told beside the clock's."""
    key = apikeys.generate("bench")
    await execute(
        database,
        "INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute)"
        f" VALUES ('b', '{key.prefix}', '\\x{key.hash.hex()}', '{{read}}', 1000000)",
    )
    settings = ApiSettings.model_validate(
        {"database_url": database.url, "redis_url": "redis://127.0.0.1:1/0"}
    )
    now = "/v1/markets?limit=100"
    paths = {"now": now}
    for number, moment in enumerate(moments):
        at = datetime.fromisoformat(moment).astimezone(UTC)
        paths[f"as after day {number + 1}"] = f"{now}&as_of={at:%Y-%m-%dT%H:%M:%S.%fZ}"
    took: dict[str, list[float]] = {name: [] for name in paths}
    async with (
        open_context(settings) as context,
        health.serve(make_app(context, Health("ssmd-api")), "127.0.0.1", 0, "API_PORT") as port,
        aiohttp.ClientSession(headers={"X-API-Key": key.text}) as http,
    ):

        async def ask(name: str) -> None:
            async with http.get(f"http://127.0.0.1:{port()}{paths[name]}") as reply:
                await reply.read()
                assert reply.status == 200, await reply.text()

        for _ in range(20):
            for name in paths:
                await ask(name)
        for _ in range(LISTS):
            for name in paths:
                began = time.perf_counter()
                await ask(name)
                took[name].append(time.perf_counter() - began)
        spent = {}
        for name in paths:
            before = await settled_cpu_seconds(server) + time.process_time()
            for _ in range(LISTS):
                await ask(name)
            spent[name] = await settled_cpu_seconds(server) + time.process_time() - before
    for name, seconds in took.items():
        p50 = statistics.median(seconds)
        print(
            f"GET {now}, {name}: p50 {p50 * 1e3:.1f} ms"
            f" ({p50 / statistics.median(took['now']):.2f} ×), best {min(seconds) * 1e3:.1f} ms"
            f" ({min(seconds) / min(took['now']):.2f} ×), processor"
            f" {spent[name] / LISTS * 1e3:.1f} ms ({spent[name] / spent['now']:.2f} ×)",
            flush=True,
        )


async def timed(database: Database, query: str) -> list[float]:
    """Seconds of each of some times on one connection, as a pool has it."""
    async with database.connect() as connection:
        found = []
        for _ in range(21):
            began = time.perf_counter()
            await (await connection.execute(query.encode())).fetchall()
            found.append(time.perf_counter() - began)
    return found[1:]


async def exported(server: PostgresServer, database: Database, query: str) -> tuple[float, int]:
    """Rows a second of the server's processor, and how many."""
    rows = 0

    async def copied() -> None:
        nonlocal rows
        async with (
            database.connect() as connection,
            connection.cursor().copy(f"COPY ({query}) TO STDOUT".encode()) as copy,
        ):
            async for block in copy:
                rows += bytes(block).count(b"\n")

    seconds, _ = await cost(server, copied)
    return rows / seconds, rows


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="full", choices=["small", "full"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--days", type=int, default=3)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="ssmd-bench-") as directory:
        server = PostgresServer(Path(directory) / "postgres", durable=False)
        async with server:
            await make_template(server, migration_files())
            if arguments.rounds:
                await compared(server, arguments.size, arguments.rounds)
            if arguments.days:
                await days(server, arguments.days)


if __name__ == "__main__":
    asyncio.run(main())
