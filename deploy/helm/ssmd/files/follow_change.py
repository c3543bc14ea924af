"""Follows one change through the whole system, as the test pod of the chart does.

usage: python -c "$SCRIPT" [--redis] [--simulator URL]

The change is a series that is written again as it is. So nothing is invented, nothing has to be
removed, and what readers get is what they have already: a `series_updated` without differences.
It has to come out of /v1/changes (PostgreSQL, cdc, NATS, api), and with --redis stand in Redis
under its position in the log or a later one (cache). With --simulator a market is made at the
simulated exchange as well, and has to come to the API (lifecycle or sync before the rest).
"""

import argparse
import asyncio
import json
import os
import time

import aiohttp

from ssmd_common.connections import postgres
from ssmd_common.connections import redis as redis_connection
from ssmd_common.errors import SsmdError
from ssmd_common.keys import Keys
from ssmd_common.settings import PostgresSettings, RedisSettings, load

PATIENCE_SECONDS = float(os.environ.get("FOLLOW_SECONDS", "120"))
STARTUP_SECONDS = 30.0
API = os.environ["SSMD_API_URL"].rstrip("/")
HEADERS = {"X-API-Key": os.environ["SSMD_DATA_API_KEY"]}


def number(lsn):
    """A position in the log, `0/16B3748`, as a number."""
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


async def within(what, work):
    """What the work returns; a sentence if that takes too long."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await work
    except TimeoutError:
        raise SystemExit(f"within {PATIENCE_SECONDS:.0f} s {what}") from None


async def until_found(look):
    """The first thing found, looked for again and again."""
    while not (found := await look()):  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.5)
    return found


async def written_again(connection, ticker):
    """Write the series as it is; a position in the log before its commit."""
    async with connection.transaction():
        # Whoever holds the row for longer than this hinders more than the test.
        await connection.execute("SET LOCAL lock_timeout = '20s'")
        found = await connection.execute("SELECT pg_current_wal_insert_lsn()::text")
        (before,) = await found.fetchone()
        await connection.execute(
            "UPDATE series SET title = title WHERE ticker = %s", (ticker,), prepare=False
        )
    return number(before)


async def through_the_stream(http, connection, ticker):
    """Follow the series in /v1/changes, write it, and wait for it; the same position."""
    url = f"{API}/v1/changes"
    query = {"table": "series", "series": ticker}
    quiet = aiohttp.ClientTimeout(total=None, sock_read=PATIENCE_SECONDS)
    before = None
    async with http.get(url, params=query, timeout=quiet) as reply:
        if reply.status != 200:
            raise SystemExit(f"{url} answers {reply.status}: {(await reply.text())[:500]}")
        async for line in reply.content:
            name, _, text = line.decode().strip().partition(":")
            if name == "id" and before is None:
                # From here on nothing is missed.
                before = await written_again(connection, ticker)
            elif name == "data" and before is not None:
                change = json.loads(text)
                if change["key"] == {"ticker": ticker} and number(change["lsn"]) > before:
                    return before
    raise SystemExit(f"{url} ended before the change came")


async def in_redis(ticker, before):
    """Wait until Redis has the series from that position or a later one."""
    settings = load(RedisSettings)
    client = await redis_connection.connect(
        settings, "ssmd-helm-test", budget_seconds=STARTUP_SECONDS
    )

    async def applied():
        text = await client.get(Keys(settings.redis_key_prefix).series(ticker))
        return text is not None and number(json.loads(text)["lsn"]) > before

    try:
        await within(f"the change of {ticker} did not come to Redis", until_found(applied))
    finally:
        await client.aclose()


async def made_by_the_exchange(http, simulator):
    """Make a market at the simulated exchange and wait until the API has it."""
    body = {"series": "KXHELMTEST", "close_in": 60}
    async with http.post(f"{simulator}/control/markets", json=body) as reply:
        if reply.status != 200:
            raise SystemExit(f"the simulator answers {reply.status}: {await reply.text()}")
        [market] = (await reply.json())["markets"]
    ticker = market["market_ticker"]

    async def served():
        async with http.get(f"{API}/v1/markets/{ticker}") as reply:
            return reply.status == 200

    await within(f"the market {ticker} did not come to the API", until_found(served))
    return ticker


async def main():
    """One change, or two."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis", action="store_true")
    parser.add_argument("--simulator")
    told = parser.parse_args()
    url = load(PostgresSettings).database_url
    connection = await postgres.connect(url, "ssmd-helm-test", budget_seconds=STARTUP_SECONDS)
    async with connection, aiohttp.ClientSession(headers=HEADERS) as http:
        newest = "SELECT ticker FROM series ORDER BY updated_at DESC LIMIT 1"

        async def series():
            return await (await connection.execute(newest)).fetchone()

        (ticker,) = await within(
            "no series came from the exchange: see sync's log", until_found(series)
        )
        began = time.monotonic()
        before = await within(
            f"the change of {ticker} did not come out of {API}/v1/changes",
            through_the_stream(http, connection, ticker),
        )
        print(f"{ticker} went from PostgreSQL to the API in {time.monotonic() - began:.2f} s")
        if told.redis:
            await in_redis(ticker, before)
            print(f"{ticker} was in Redis after {time.monotonic() - began:.2f} s")
        if told.simulator:
            began = time.monotonic()
            made = await made_by_the_exchange(http, told.simulator)
            seconds = time.monotonic() - began
            print(f"{made} went from the exchange to the API in {seconds:.2f} s")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except SsmdError as error:
        raise SystemExit(str(error)) from error
