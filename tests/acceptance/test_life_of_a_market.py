"""The acceptance test: single markets from creation to settlement, seen by public means only.

SQL, a NATS subscription, Redis commands and HTTP; nothing of the project's own code decides what
is right here, but the envelope's decoder and the documented rules of contracts § 1 to 4.
"""

import itertools
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import msgspec
import nats
import psycopg
import pytest
import redis.asyncio as aioredis
from nats.js import JetStreamContext
from newcomer import System, port_is_free
from observers import (
    Listener,
    assert_stream_equals_tables,
    assert_strictly_ordered,
    eventually,
    listen,
)
from psycopg.rows import dict_row

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1200)]

CATEGORY = "World"
PATIENCE_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class View:
    """The four public sides of a running system, and the exchange's control port."""

    sql: psycopg.AsyncConnection[dict[str, Any]]
    js: JetStreamContext
    redis: aioredis.Redis
    http: aiohttp.ClientSession
    api: str
    control: str
    database_url: str

    async def get(self, path: str, **parameters: str) -> Any:
        async with self.http.get(f"{self.api}{path}", params=parameters) as reply:
            assert reply.status == 200, (path, reply.status, await reply.text())
            return await reply.json()

    async def order(self, path: str, **body: Any) -> Any:
        async with self.http.post(f"{self.control}{path}", json=body) as reply:
            assert reply.status == 200, await reply.text()
            return await reply.json()

    async def row(self, ticker: str) -> dict[str, Any]:
        cursor = await self.sql.execute("SELECT * FROM markets WHERE ticker = %s", [ticker])
        found = await cursor.fetchone()
        assert found is not None, f"{ticker} has no row"
        return found

    async def lifecycle(self, ticker: str) -> list[str]:
        cursor = await self.sql.execute(
            """SELECT event_type FROM market_lifecycle_events
               WHERE market_ticker = %s ORDER BY id""",
            [ticker],
        )
        return [row["event_type"] for row in await cursor.fetchall()]


@asynccontextmanager
async def look(system: System) -> AsyncIterator[View]:
    env = system.env
    connection = await nats.connect(env["NATS_URL"])
    cache = aioredis.Redis.from_url(env["REDIS_URL"], decode_responses=True)
    headers = {"X-API-Key": env["SSMD_DATA_API_KEY"]}
    async with (
        await psycopg.AsyncConnection.connect(
            env["DATABASE_URL"], autocommit=True, row_factory=dict_row, options="-c timezone=UTC"
        ) as sql,
        aiohttp.ClientSession(headers=headers) as http,
    ):
        try:
            yield View(
                sql=sql,
                js=connection.jetstream(timeout=60),
                redis=cache,
                http=http,
                api=env["SSMD_API_URL"],
                control=env["KALSHI_BASE_URL"].removesuffix("/trade-api/v2") + "/control",
                database_url=env["DATABASE_URL"],
            )
        finally:
            await cache.aclose()
            await connection.close()


async def assert_stage(view: View, market: dict[str, Any], status: str) -> dict[str, Any]:
    """PostgreSQL, Redis (key, TTL, indexes) and the API agree that a market is at a stage."""
    ticker, event, series = (
        market["market_ticker"], market["event_ticker"], market["series_ticker"],
    )  # fmt: skip
    row = await view.row(ticker)
    assert row["status"] == status
    assert (row["event_ticker"], row["series_ticker"]) == (event, series)

    key = f"secmaster:series:{series}:{event}:{ticker}"
    value = await view.redis.get(key)
    assert value is not None, f"{key} is missing"
    assert msgspec.json.decode(value)["status"] == status
    assert await view.redis.hget("secmaster:markets", ticker) == key
    assert await view.redis.hget("secmaster:events", event) == f"secmaster:series:{series}:{event}"
    assert await view.redis.sismember(f"secmaster:event_markets:{event}", ticker)

    trading = status in ("open", "active")
    by_category = f"secmaster:markets:by_category:{CATEGORY}"
    assert bool(await view.redis.sismember(by_category, ticker)) == trading
    expiring = await view.redis.zscore("secmaster:markets:expiring", ticker)
    assert expiring == (row["close_time"].timestamp() if trading else None)

    expires = await view.redis.pexpiretime(key)
    if status == "settled":
        end = min(row["close_time"], row["settled_time"]) + timedelta(days=1)
        assert abs(expires - end.timestamp() * 1000) < 1000
    else:
        assert expires == -1

    answer = await view.get(f"/v1/markets/{ticker}")
    shown = answer.get("market", answer)
    assert shown["status"] == status
    assert (shown["event_ticker"], shown["series_ticker"]) == (event, series)
    listed = await view.get("/v1/markets", event=event, status="open")
    assert (ticker in {found["ticker"] for found in listed["markets"]}) == trading
    looked_up = await lookup(view, [ticker, "NO-SUCH-MARKET"])
    assert looked_up["missing"] == ["NO-SUCH-MARKET"]
    return row


async def all_reach(view: View, markets: list[dict[str, Any]], status: str) -> None:
    async def reached() -> None:
        for market in markets:
            await assert_stage(view, market, status)

    await eventually(reached, PATIENCE_SECONDS)


async def lookup(view: View, tickers: list[str]) -> Any:
    body = {"tickers": tickers}
    async with view.http.post(f"{view.api}/v1/markets/lookup", json=body) as reply:
        assert reply.status == 200, await reply.text()
        return await reply.json()


def assert_history(listener: Listener, ticker: str) -> None:
    """One market's messages: in order, none twice, and each says exactly what it changed."""
    changes = listener.of(ticker)
    assert_strictly_ordered(changes)
    first, *rest = changes
    assert (first.op, first.type) == ("insert", "market_added")
    data = first.data
    for change in rest:
        assert change.op == "update", change
        assert data is not None
        assert change.data is not None
        assert change.changes is not None
        differing = {name for name in change.data if change.data[name] != data[name]}
        assert set(change.changes) == differing
        for name, difference in change.changes.items():
            assert (difference.old, difference.new) == (data[name], change.data[name])
        data = change.data
    told = [change.type for change in changes if change.type != "market_updated"]
    assert [kind for kind, _ in itertools.groupby(told)] == [
        "market_added", "market_activated", "market_closed", "market_determined", "market_settled",
    ]  # fmt: skip


LIFE = ["created", "opened", "close_date_updated", "closed", "determined", "settled"]


async def assert_end(view: View, listener: Listener, market: dict[str, Any]) -> None:
    """What must hold once a market is settled, however its life went."""
    ticker, event = market["market_ticker"], market["event_ticker"]

    async def settled_everywhere() -> None:
        row = await assert_stage(view, market, "settled")
        assert (row["result"], row["exchange_status"]) == ("yes", "finalized")
        kinds = await view.lifecycle(ticker)
        assert sorted(kinds) == sorted(LIFE), kinds
        listed = await view.get(f"/v1/markets/{ticker}/lifecycle")
        events = listed.get("lifecycle") or listed.get("events") or []
        assert len(events) == len(LIFE)
        final = listener.of(ticker)
        assert final
        assert final[-1].data is not None
        assert final[-1].data["status"] == "settled"
        updated = datetime.fromisoformat(final[-1].data["updated_at"])
        assert updated == row["updated_at"]

    await eventually(settled_everywhere, PATIENCE_SECONDS)
    assert_history(listener, ticker)
    event_changes = listener.of(event)
    assert (event_changes[0].type, event_changes[-1].type) == ("event_added", "event_settled")


async def assert_consistent(system: System, view: View) -> None:
    """The cache has no difference, and the stream replayed equals the tables."""
    done = system.ssmd("cache", "verify", "--full", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    await assert_stream_equals_tables(view.database_url, view.js)


def assert_gone(system: System, env: dict[str, str]) -> None:
    """`down` has left no process and no port."""
    assert [process for process in system.processes() if process.is_running()] == []
    for name in ("DATABASE_URL", "NATS_URL", "REDIS_URL", "SSMD_API_URL", "KALSHI_BASE_URL"):
        assert port_is_free(env[name]), name


async def order_markets(view: View, series: str, open_in: float) -> list[dict[str, Any]]:
    answer = await view.order(
        "/markets",
        series=series,
        category=CATEGORY,
        ticker=f"{series}-26NOV21-T97500.99",
        strike=97500.99,
        count=2,
        open_in=open_in,
        close_in=3600,
    )
    markets: list[dict[str, Any]] = answer["markets"]
    return markets


@pytest.mark.slow
async def test_markets_live_their_lives_in_every_store(system: System) -> None:
    env = system.env
    async with look(system) as view:
        listener = await listen(view.js, "cdc.*.*.KXACCEPT.>")
        markets = await order_markets(view, "KXACCEPT", open_in=60)
        await all_reach(view, markets, "open")
        await all_reach(view, markets, "active")
        for market in markets:
            await view.order(f"/markets/{market['market_ticker']}/close", close_in=3)
        await all_reach(view, markets, "closed")
        for market in markets:
            await view.order(f"/markets/{market['market_ticker']}/determine", result="yes")

        async def determined() -> None:
            for market in markets:
                row = await assert_stage(view, market, "closed")
                assert row["result"] == "yes"

        await eventually(determined, PATIENCE_SECONDS)
        for market in markets:
            await view.order(f"/markets/{market['market_ticker']}/settle")
        for market in markets:
            await assert_end(view, listener, market)
        series_only = {change.data["series_ticker"] for change in listener.changes if change.data}
        assert series_only == {"KXACCEPT"}, "the server filters by series"
        await assert_consistent(system, view)
    assert system.processes()
    system.ssmd("down")
    assert_gone(system, env)


@pytest.mark.slow
async def test_no_kill_of_a_service_loses_or_doubles_anything(cloned_system: System) -> None:
    system = cloned_system
    env = system.env
    async with look(system) as view:
        listener = await listen(view.js, "cdc.*.*.KXKILLED.>")

        async def kill(service: str) -> None:
            before = system.status()["services"][service]["pid"]
            os.kill(before, signal.SIGKILL)

            async def restarted() -> None:
                found = system.status()["services"][service]
                assert found["pid"] not in (None, before)
                assert found["ready"] is True

            await eventually(restarted, PATIENCE_SECONDS)

        markets = await order_markets(view, "KXKILLED", open_in=60)
        await kill("lifecycle")
        await all_reach(view, markets, "active")
        for market in markets:
            await view.order(f"/markets/{market['market_ticker']}/close", close_in=4)
        await kill("cdc")
        await all_reach(view, markets, "closed")
        for market in markets:
            await view.order(f"/markets/{market['market_ticker']}/determine", result="yes")
        await kill("cache")
        await kill("sync")
        for market in markets:
            await view.order(f"/markets/{market['market_ticker']}/settle")
        await kill("api")
        for market in markets:
            await assert_end(view, listener, market)
        await assert_consistent(system, view)
    system.make("down")
    assert_gone(system, env)
