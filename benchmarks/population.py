"""The real population through the whole pipeline: every ticker, under its real event and series.

Starts a system whose simulated exchange lists recorded tickers (events, series and hierarchy as
they really are, the rest of each row made up), waits until nothing moves, and compares what
PostgreSQL, the stream, Redis and the API hold with the recorded files. Redis need not hold markets
that settled more than a day ago. Any difference ends with exit code 1.

usage: PYTHONPATH=tests python benchmarks/population.py DIRECTORY [SYSTEM_DIRECTORY]
"""

import asyncio
import csv
import gzip
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import nats
import psutil
import psycopg
import redis.asyncio as aioredis
from newcomer import System
from observers import eventually, read_stream

MARGIN = 200
"""Keys that may expire while we wait for the others."""

Parents = dict[str, tuple[str, str]]
"""Market ticker → (event ticker, series ticker)."""


async def main(population: Path, directory: Path) -> int:
    wanted = recorded(population)
    system = System(directory, own=False)
    began = time.monotonic()
    system.ssmd("up", "--detach", "--tempo", "still", "--population", str(population))
    say(f"ready after {time.monotonic() - began:.0f} s; {len(wanted):,} markets to come")
    try:
        env = system.env
        began = time.monotonic()
        await eventually(lambda: counted(env, len(wanted)), 600)
        say(f"PostgreSQL has as many after {time.monotonic() - began:.0f} s")
        least = len(wanted) - len(await expired(env)) - MARGIN
        await eventually(lambda: cached(env, least), 600)
        say(f"Redis has as many after {time.monotonic() - began:.0f} s")
        in_cache = await in_redis(env)
        # Keys go on expiring: what ended while Redis was read is not missing.
        ended = await expired(env)
        alive = {ticker: parents for ticker, parents in wanted.items() if ticker not in ended}
        faults = (
            report("PostgreSQL", wanted, await in_postgresql(env))
            + report("the stream", wanted, await in_stream(env))
            + report("Redis", alive, in_cache)
            + report("the API", wanted, await in_api(env))
        )
        for name, service in system.status()["services"].items():
            rss = psutil.Process(service["pid"]).memory_info().rss / 1e6
            say(f"resident memory of {name}: {rss:.0f} MB")
        verified = system.ssmd("cache", "verify", "--full", check=False)
        say(verified.stdout.strip())
        return 1 if faults or verified.returncode else 0
    finally:
        system.ssmd("down")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def recorded(population: Path) -> Parents:
    with gzip.open(population / "markets_index.csv.gz", "rt") as lines:
        return {
            row["ticker"]: (row["event_ticker"], row["series_ticker"])
            for row in csv.DictReader(lines)
        }


def report(where: str, wanted: Parents, found: Parents) -> int:
    """The number of recorded markets that are missing or under other parents."""
    missing = [ticker for ticker in wanted if ticker not in found]
    misplaced = [t for t, parents in wanted.items() if t in found and found[t] != parents]
    say(f"{where}: {len(found):,} markets, {len(missing)} missing, {len(misplaced)} misplaced")
    for ticker in (missing + misplaced)[:5]:
        say(f"  {ticker}: {found.get(ticker)} instead of {wanted[ticker]}")
    return len(missing) + len(misplaced)


async def counted(env: dict[str, str], least: int) -> None:
    async with await psycopg.AsyncConnection.connect(env["DATABASE_URL"]) as sql:
        row = await (await sql.execute("SELECT count(*) FROM markets")).fetchone()
    assert row is not None
    assert row[0] >= least


async def expired(env: dict[str, str]) -> set[str]:
    """The markets whose key has ended: a day after the earlier of close and settlement."""
    async with await psycopg.AsyncConnection.connect(env["DATABASE_URL"]) as sql:
        cursor = await sql.execute(
            """SELECT ticker FROM markets WHERE status = 'settled'
               AND least(close_time, settled_time) + interval '1 day' < now()"""
        )
        return {ticker async for (ticker,) in cursor}


async def cached(env: dict[str, str], least: int) -> None:
    async with aioredis.Redis.from_url(env["REDIS_URL"]) as cache:
        assert await cache.hlen("secmaster:markets") >= least


async def in_postgresql(env: dict[str, str]) -> Parents:
    async with await psycopg.AsyncConnection.connect(env["DATABASE_URL"]) as sql:
        cursor = await sql.execute("SELECT ticker, event_ticker, series_ticker FROM markets")
        return {ticker: (event, series) async for ticker, event, series in cursor}


async def in_stream(env: dict[str, str]) -> Parents:
    connection = await nats.connect(env["NATS_URL"])
    try:
        found: Parents = {}
        for change in await read_stream(connection.jetstream()):
            if change.table == "markets" and change.data is not None:
                data = change.data
                found[data["ticker"]] = (data["event_ticker"], data["series_ticker"])
        return found
    finally:
        await connection.close()


async def in_redis(env: dict[str, str]) -> Parents:
    found: Parents = {}
    async with aioredis.Redis.from_url(env["REDIS_URL"], decode_responses=True) as cache:
        keys = await cache.hgetall("secmaster:markets")
        names = list(keys.values())
        for first in range(0, len(names), 1000):
            for value in await cache.mget(names[first : first + 1000]):
                if value is None:
                    continue
                row = msgspec.json.decode(value)
                key = str(keys[row["ticker"]])
                assert key.endswith(f":{row['event_ticker']}:{row['ticker']}")
                found[row["ticker"]] = (row["event_ticker"], row["series_ticker"])
    return found


async def in_api(env: dict[str, str]) -> Parents:
    """Every page of every market that the API lists."""
    found: Parents = {}
    headers = {"X-API-Key": env["SSMD_DATA_API_KEY"]}
    async with aiohttp.ClientSession(headers=headers) as http:
        parameters: dict[str, Any] = {"limit": "1000"}
        while True:
            url = f"{env['SSMD_API_URL']}/v1/markets"
            async with http.get(url, params=parameters) as reply:
                if reply.status == 429:
                    await asyncio.sleep(float(reply.headers["Retry-After"]))
                    continue
                page = await reply.json()
            for row in page["markets"]:
                found[row["ticker"]] = (row["event_ticker"], row["series_ticker"])
            if not page["cursor"]:
                return found
            parameters["cursor"] = page["cursor"]


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory(prefix="ssmd-population-") as scratch:
        chosen = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(scratch)
        raise SystemExit(asyncio.run(main(Path(sys.argv[1]).absolute(), chosen)))
