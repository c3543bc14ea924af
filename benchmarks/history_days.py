"""Thirty days of the exchange's rate in history, and what is asked of them."""

import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import aiohttp
import psutil
from costs import cost, execute

from ssmd_api.__main__ import open_context
from ssmd_api.app import make_app
from ssmd_api.settings import ApiSettings
from ssmd_common import apikeys, health
from ssmd_common.health import Health
from ssmd_stack.database import Database, new_database
from ssmd_stack.postgres import PostgresServer

NEW_MARKETS, CHANGES, BATCH = 60_000, 300_000, 100
"""A day of the exchange's recorded rate, and how many rows a transaction has."""
DATE = f"{datetime.now(UTC):%y%b%d}".upper()
TICKER = f"'KXDAY' || g % 40 || '-{DATE}H' || g % 600 || '-T' || g"
"""Of the market `g` of the day."""
NUMBERS = 1_000_000
"""More than a day takes of history's counter."""
FIRST = 400 * NUMBERS
"""Where the counter stands before the recorded day, so that days before it have numbers, too."""
ASKED_DAYS_AGO = (0, 1, 7, 15, 29)

LISTS = 100


async def day(database: Database) -> None:
    """New markets, each of which becomes active, closes, and settles in two steps; and changes of
    their close times."""
    async with database.connect() as connection:
        for at in range(0, NEW_MARKETS, 1000):
            await connection.execute(
                f"INSERT INTO markets (ticker, event_ticker, series_ticker, title, status,"
                " open_time, close_time, rules_primary, price_level_structure, market_type)"
                f" SELECT {TICKER}, 'E' || g % 600, 'S' || g % 40, 'Title of the market', 'open',"
                " now(), now() + interval '1 h', repeat('Rules of the market. ', 20), 'linear',"
                f" 'binary' FROM generate_series({at}, {at + 999}) g".encode()
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
                await connection.execute(
                    f"UPDATE markets SET {step}, observed_at = now(), updated_at = now()"
                    f" WHERE ticker IN (SELECT {TICKER} FROM"
                    f" generate_series({at}, {at + BATCH - 1}) g)".encode()
                )


async def copy_day(database: Database, ago: int) -> None:
    """What the triggers recorded of the one day, as if it had been so many days before."""
    day, numbers = f"interval '{ago} day'", ago * NUMBERS
    as_of_then = {
        "ticker": f"replace(ticker, '{DATE}', upper(to_char(now() - {day}, 'YYMONDD')))",
        **{name: f"{name} - {numbers}" for name in ("number", "transaction", "since")},
        **{name: f"{name} - {numbers}" for name in ("began", "ended")},
        "at": f"at - {day}",
    }
    async with database.connect() as connection:
        await connection.execute("SET TIME ZONE 'UTC'")
        for table, condition in (
            ("history.commits", f"began > {FIRST}"),
            ("history.markets", f"number > {FIRST}"),
            ("public.markets", f"ticker LIKE '%{DATE}%'"),
        ):
            query = "SELECT history.columns(%s::text::regclass)"
            [(names,)] = await (await connection.execute(query, (table,))).fetchall()
            await connection.execute(
                f"INSERT INTO {table} ({', '.join(names)})"
                f" SELECT {', '.join(as_of_then.get(name, name) for name in names)}"
                f" FROM {table} WHERE {condition}".encode()
            )
        await connection.execute(
            "UPDATE history.spans SET known_from ="
            f" least(known_from, now() - {day} - interval '1 h')".encode()
        )


async def fill(database: Database, number: int) -> None:
    """The last of the days is written by writers, and recorded by triggers; the others are copies
    of it, as to write them all would take an hour."""
    await execute(
        database,
        "INSERT INTO series (ticker) SELECT 'S' || g FROM generate_series(0, 39) g",
        "INSERT INTO events (event_ticker, series_ticker)"
        " SELECT 'E' || g, 'S' || g % 40 FROM generate_series(0, 599) g",
        f"SELECT setval('history.counter', {FIRST})",
    )
    before = await execute(database, "SELECT history.bytes()")
    await day(database)
    after = await execute(database, "SELECT history.bytes()")
    print(f"a day: {(after[0][0] - before[0][0]) / 1e6:.0f} MB of history", flush=True)
    await execute(
        database,
        # Neither lists nor exports read it, and to fill it takes longer than all else.
        "DROP INDEX markets_search",
        "ALTER TABLE markets DISABLE TRIGGER USER",
        # The copies have their commits.
        "ALTER TABLE history.markets DISABLE TRIGGER stamp",
        *(
            f"CREATE TABLE history.{table}_{month} PARTITION OF history.{table}"
            f" FOR VALUES FROM ('{begins}') TO ('{ends}')"
            for table in ("markets", "commits")
            for month, begins, ends in months_before(number)
        ),
    )
    for ago in range(1, number):
        await copy_day(database, ago)
        print(".", end="", flush=True)
    print()
    await execute(
        database,
        "ALTER TABLE markets ENABLE TRIGGER USER",
        "ALTER TABLE history.markets ENABLE ALWAYS TRIGGER stamp",
        *(
            f"ALTER TABLE markets ENABLE ALWAYS TRIGGER history_{what}"
            for what in ("inserted", "updated", "deleted", "truncated")
        ),
        "VACUUM ANALYZE",
    )


def months_before(number: int) -> Iterator[tuple[str, str, str]]:
    """The months before this one that so many days go back to: as partitions are named, and from
    when until when."""
    end = datetime.now(UTC).replace(day=1)
    while end > datetime.now(UTC) - timedelta(days=number):
        begin = (end - timedelta(days=1)).replace(day=1)
        yield f"{begin:%Y_%m}", f"{begin:%Y-%m-01Z}", f"{end:%Y-%m-01Z}"
        end = begin


async def days(server: PostgresServer, number: int) -> None:
    async with new_database(server) as database:
        await execute(database, "SELECT history.notice()", "SELECT history.maintain('90 days')")
        await fill(database, number)
        moments = {}
        for ago in sorted({number - 1, *ASKED_DAYS_AGO}, reverse=True):
            query = f"SELECT (clock_timestamp() - interval '{ago} day')::text"
            if ago < number:
                moments[f"{ago} days ago"] = (await execute(database, query))[0][0]
        await asked(server, database, moments)


async def asked(server: PostgresServer, database: Database, moments: dict[str, str]) -> None:
    present = await exported(server, database, "SELECT * FROM markets")
    for name, moment in moments.items():
        told = await exported(server, database, f"SELECT * FROM markets_as_of('{moment}')")
        seconds = [rows / rate for rate, rows in (present, told)]
        print(
            f"export as of {name}: {told[1]:,} rows, {told[0]:,.0f} for each second of the"
            f" processor ({told[0] / present[0]:.2f} × the present's {present[0]:,.0f});"
            f" all {seconds[1]:.1f} s ({seconds[1] / seconds[0]:.2f} × the present's)",
            flush=True,
        )
    pages = {
        "present": "markets",
        **{f"as of {name}": f"markets_as_of_by_key('{at}')" for name, at in moments.items()},
    }
    for name, source in pages.items():
        query = f"SELECT * FROM {source} WHERE deleted_at IS NULL ORDER BY ticker LIMIT 100"
        took = await timed(database, query)
        print(f"page of 100, {name}: p50 {statistics.median(took) * 1e3:.1f} ms", flush=True)
    await listed(server, database, moments)


async def listed(server: PostgresServer, database: Database, moments: dict[str, str]) -> None:
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
    for name, moment in moments.items():
        at = datetime.fromisoformat(moment).astimezone(UTC)
        paths[f"as of {name}"] = f"{now}&as_of={at:%Y-%m-%dT%H:%M:%S.%fZ}"
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
            before = used_now(server) + time.process_time()
            for _ in range(LISTS):
                await ask(name)
            spent[name] = used_now(server) + time.process_time() - before
    for name, seconds in took.items():
        p50 = statistics.median(seconds)
        print(
            f"GET {now}, {name}: p50 {p50 * 1e3:.1f} ms"
            f" ({p50 / statistics.median(took['now']):.2f} ×), best {min(seconds) * 1e3:.1f} ms"
            f" ({min(seconds) / min(took['now']):.2f} ×), processor"
            f" {spent[name] / LISTS * 1e3:.1f} ms ({spent[name] / spent['now']:.2f} ×)",
            flush=True,
        )


def used_now(server: PostgresServer) -> float:
    """The processor seconds of the server's processes that live: the API keeps its connections."""
    assert server.pid is not None
    used = [each.cpu_times() for each in psutil.Process(server.pid).children()]
    return sum(each.user + each.system for each in used)


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

    took = await cost(server, copied)
    return rows / took.server, rows
