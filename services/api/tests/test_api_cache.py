"""Redis and PostgreSQL give the same answer; without Redis nothing breaks."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis.asyncio as aioredis
from api_testbed import Client, Reply, Serve, make_key
from api_universe import NOW, insert
from psycopg import sql

from ssmd_common.keys import Keys
from ssmd_stack.database import Database
from ssmd_stack.proxy import TcpProxy
from ssmd_stack.valkey import ValkeyServer

pytestmark = pytest.mark.usefixtures("universe")

TICKER = "KXBTCD-26FEB03-T97500.99"
KEYS = Keys()


async def warm(database: Database, url: str, keys: Keys = KEYS) -> None:
    """Write every row as the contract says (docs/contracts.md § 3), columns in another order."""
    client = aioredis.Redis.from_url(url)
    async with database.connect() as connection:
        await connection.execute("SET timezone = 'UTC'")
        for table in ("series", "events", "markets", "series_fees"):
            for row in await _rows(connection, table):
                value = msgspec.json.encode(row)[:-1] + b',"epoch":3,"lsn":"0/16B3748","seq":7}'
                text = msgspec.json.decode(value)
                if table == "series":
                    await client.set(keys.series(text["ticker"]), value)
                elif table == "events":
                    key = keys.event(text["series_ticker"], text["event_ticker"])
                    await client.set(key, value)
                    await client.hset(keys.events, text["event_ticker"], key)
                elif table == "markets" and text["deleted_at"] is None:
                    key = keys.market(text["series_ticker"], text["event_ticker"], text["ticker"])
                    await client.set(key, value)
                    await client.hset(keys.markets, text["ticker"], key)
                elif table == "series_fees":
                    key = keys.fee(text["series_ticker"])
                    steps = (await client.get(key) or b"[]")[1:-1]
                    await client.set(key, b"[" + (steps + b"," if steps else b"") + value + b"]")
    await client.aclose()


async def _rows(connection: Any, table: str) -> list[dict[str, msgspec.Raw]]:
    """Rows in the shape of the change stream, made by PostgreSQL."""
    cursor = await connection.execute(
        "SELECT a.attname, t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
        " WHERE a.attrelid = %s::regclass AND a.attnum > 0 ORDER BY a.attname",
        (table,),
    )
    parts = []
    for column, kind in await cursor.fetchall():
        shape = {
            "numeric": "'{0}', {1}::text",
            "timestamptz": "'{0}', replace({1}::text, ' ', 'T')",
        }.get(kind, "'{0}', {1}")
        parts.append(
            sql.SQL(shape.replace("'{0}'", "{0}")).format(
                sql.Literal(column), sql.Identifier(column)
            )
        )
    order = "effective_from" if table == "series_fees" else "1"
    half = len(parts) // 2
    query = sql.SQL(
        "SELECT json_build_object({})::text, json_build_object({})::text FROM {} ORDER BY {}"
    ).format(
        sql.SQL(", ").join(parts[:half]),
        sql.SQL(", ").join(parts[half:]),
        sql.Identifier(table),
        sql.SQL(order),
    )
    rows = []
    for one, other in await (await connection.execute(query)).fetchall():
        whole = (one[:-1] + "," + other[1:]).replace('+00"', 'Z"')
        rows.append(msgspec.json.decode(whole, type=dict[str, msgspec.Raw]))
    return rows


@pytest.fixture
async def warm_api(cached_api: Client, database: Database, valkey_server: ValkeyServer) -> Client:
    async with database.connect() as connection:
        for multiplier, begin, end in (("0.5", -48, -24), ("1.25", -24, None)):
            now = datetime.now(UTC).replace(microsecond=123400)
            await insert(
                connection,
                "series_fees",
                series_ticker="KXBTCD",
                fee_type="quadratic",
                fee_multiplier=multiplier,
                effective_from=now + timedelta(hours=begin),
                effective_to=None if end is None else now + timedelta(hours=end),
            )
    await warm(database, valkey_server.url)
    return cached_api


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/v1/markets/{TICKER}", None),
        ("GET", "/v1/markets/KXNBAGAME-26FEB03HOUPIT-HOU", None),
        ("GET", "/v1/fees/KXBTCD", None),
        ("GET", "/v1/fees/KXBTCD?price=0.55&count=10", None),
        ("POST", "/v1/markets/lookup", {"tickers": ["KXOLD-25-A", TICKER]}),
    ],
)
async def test_the_reply_is_the_same_byte_for_byte(
    warm_api: Client, valkey_server: ValkeyServer, method: str, path: str, body: Any
) -> None:
    cached = await warm_api.ask(method, path, json=body)
    assert cached.headers["X-Ssmd-Source"] == "cache"
    client = aioredis.Redis.from_url(valkey_server.url)
    await client.flushall()
    await client.aclose()
    stored = await warm_api.ask(method, path, json=body)
    assert stored.headers["X-Ssmd-Source"] == "database"
    assert cached.status == stored.status == 200
    assert cached.body == stored.body
    assert cached.headers["ETag"] == stored.headers["ETag"]


async def test_a_redis_that_its_address_leads_to_no_more_is_left(
    serve: Serve, database: Database, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    """Though the connection to it is open, and it answers."""
    await warm(database, valkey_server.url)
    async with (
        ValkeyServer(tmp_path / "new") as new,
        TcpProxy(valkey_server.url) as address,
        serve(redis_url=address.url) as api,
    ):

        async def source() -> Any:
            await api.context.cached.follow_master()
            return (await api.get(f"/v1/markets/{TICKER}")).headers["X-Ssmd-Source"]

        assert await source() == "cache"
        address.lead_to(new.url)
        assert await source() == "database"
        await warm(database, new.url)
        assert await source() == "cache"


async def test_lookup_asks_the_database_for_what_the_cache_lacks(warm_api: Client) -> None:
    body = {"tickers": [TICKER, "NONE", "KXBTCD-26FEB03-GONE"]}
    reply = await warm_api.ask("POST", "/v1/markets/lookup", json=body)
    assert reply.headers["X-Ssmd-Source"] == "database"
    assert reply.json["missing"] == ["NONE", "KXBTCD-26FEB03-GONE"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (KEYS.market("KXBTCD", "KXBTCD-26FEB03", TICKER), b"no json"),
        (KEYS.market("KXBTCD", "KXBTCD-26FEB03", TICKER), b"[]"),
        (KEYS.market("KXBTCD", "KXBTCD-26FEB03", TICKER), b'{"ticker":"x"}'),
        (KEYS.market("KXBTCD", "KXBTCD-26FEB03", TICKER), None),
        (KEYS.event("KXBTCD", "KXBTCD-26FEB03"), None),
        (KEYS.series("KXBTCD"), None),
        (KEYS.markets, None),
        (KEYS.markets, b"of another type"),
    ],
)
async def test_what_redis_cannot_answer_the_database_does(
    warm_api: Client, valkey_server: ValkeyServer, key: str, value: bytes | None
) -> None:
    client = aioredis.Redis.from_url(valkey_server.url)
    await (client.delete(key) if value is None else client.set(key, value))
    await client.aclose()
    reply = await warm_api.get(f"/v1/markets/{TICKER}")
    assert reply.status == 200
    assert reply.headers["X-Ssmd-Source"] == "database"


async def test_the_past_is_not_asked_of_redis(warm_api: Client, database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("SELECT history.notice()")
    lookup = {"tickers": [TICKER]}
    for reply in (
        await warm_api.get(f"/v1/markets/{TICKER}?as_of=-0s"),
        await warm_api.ask("POST", "/v1/markets/lookup?as_of=-0s", json=lookup),
        await warm_api.get("/v1/fees/KXBTCD?known_at=-0s"),
    ):
        assert reply.status == 200
        assert reply.headers["X-Ssmd-Source"] == "database"
        assert reply.headers["X-Ssmd-As-Of"]


async def test_a_key_prefix_is_used(
    serve: Serve, database: Database, valkey_server: ValkeyServer
) -> None:
    await warm(database, valkey_server.url, Keys("kalshi-prod:"))
    async with serve(redis_url=valkey_server.url, redis_key_prefix="kalshi-prod:") as api:
        reply = await api.get(f"/v1/markets/{TICKER}")
    assert reply.headers["X-Ssmd-Source"] == "cache"


async def test_redis_may_go_and_come_back(warm_api: Client, valkey_server: ValkeyServer) -> None:
    path = f"/v1/markets/{TICKER}"
    first = await warm_api.get(path)
    await valkey_server.kill()
    for _ in range(3):
        away = await warm_api.get(path)
        assert (away.status, away.body) == (200, first.body)
        assert away.headers["X-Ssmd-Source"] == "database"
    assert not warm_api.context.cached.up
    await valkey_server.start()
    async with asyncio.timeout(180):
        while not warm_api.context.cached.up:
            await warm_api.context.cached.ping()
    assert (await warm_api.get(path)).status == 200


@pytest.mark.embedded
async def test_redis_that_hangs_only_slows(
    serve: Serve,
    database: Database,
    valkey_server: ValkeyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first reply waits for the timeout; those after it do not try."""
    import os
    import signal

    assert valkey_server.pid
    monkeypatch.setattr("ssmd_api.cached.READ_SECONDS", 0.5)
    await warm(database, valkey_server.url)
    async with serve(redis_url=valkey_server.url) as api:
        os.kill(valkey_server.pid, signal.SIGSTOP)
        try:
            replies = await asyncio.gather(*(api.get(f"/v1/markets/{TICKER}") for _ in range(10)))
            assert {reply.status for reply in replies} == {200}
        finally:
            os.kill(valkey_server.pid, signal.SIGCONT)


async def test_cached_reads_go_on_without_the_database(
    serve: Serve, database: Database, valkey_server: ValkeyServer, private_postgres: Any
) -> None:
    """A key in use stays good, and what Redis has is read; the rest is 503 with a Retry-After."""
    from ssmd_stack.database import Database as Located

    located = Located("private", private_postgres.url, private_postgres.url)
    await warm(database, valkey_server.url)
    async with serve(
        database_url=located.url, redis_url=valkey_server.url, api_key_memory_seconds=0
    ) as api:
        from api_testbed import make_key

        api.key = await make_key(located, "read")
        assert (await api.get("/v1/series")).status == 200
        await private_postgres.kill()
        reply = await api.get(f"/v1/markets/{TICKER}")
        assert reply.status == 200
        assert reply.headers["X-Ssmd-Source"] == "cache"
        away = await api.get("/v1/series")
        assert away.status == 503
        assert away.headers["Retry-After"]
        assert away.json["type"] == "urn:ssmd:problem:unavailable"
        await private_postgres.start()
        async with asyncio.timeout(180):
            while (await api.get("/v1/series")).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


# Ages


async def test_age_is_the_last_run_that_covered_the_row(
    warm_api: Client, database: Database, valkey_server: ValkeyServer
) -> None:
    now = datetime.now(UTC)
    # The universe's rows were observed 100 s before this file was read.
    observed = int((now - NOW).total_seconds()) + 100

    async def run(scope: dict[str, Any], seconds_ago: int, outcome: str = "ok") -> None:
        at = now - timedelta(seconds=seconds_ago)
        async with database.connect() as connection:
            await insert(
                connection,
                "sync_runs",
                job="j",
                scope=scope,
                started_at=at,
                finished_at=at,
                outcome=outcome,
            )
        warm_api.context.freshness.forget()

    async def age(path: str) -> int:
        return int((await warm_api.get(path)).headers["X-Ssmd-Age"])

    crypto = "/v1/markets?series=KXBTCD&status=active"
    sports = "/v1/markets?series=KXNBAGAME"
    assert observed <= await age(crypto) < observed + 45
    await run({"categories": ["Crypto"]}, 50)
    assert 50 <= await age(crypto) < 95
    assert observed <= await age(sports) < observed + 45
    await run({"tags": ["Basketball"], "games_only": True, "mode": "active"}, 40)
    assert 40 <= await age(sports) < 95
    await run({"min_volume": 1_000_000}, 0)
    await run({"mode": "fees"}, 0)
    await run({}, 0, outcome="failed")
    assert 50 <= await age(crypto) < 95
    # The cache knows of no run yet: what it says may be as old as the row's observation.
    single = f"/v1/markets/{TICKER}"
    assert observed <= await age(single) < observed + 45
    client = aioredis.Redis.from_url(valkey_server.url)
    await client.set(KEYS.last_sync, (now - timedelta(seconds=50)).isoformat())
    await client.aclose()
    assert 50 <= await age(single) < 95


async def test_a_304_for_which_no_query_ran_costs_no_token(
    warm_api: Client, database: Database
) -> None:
    def left(reply: Reply) -> int:
        return int(reply.headers["RateLimit"].split(";")[1].removeprefix("r="))

    mine = {"X-API-Key": await make_key(database, "read", rate=6)}
    first = await warm_api.get(f"/v1/markets/{TICKER}", headers=mine)
    assert first.headers["X-Ssmd-Source"] == "cache"
    tagged = {**mine, "If-None-Match": first.headers["ETag"]}
    replies = [await warm_api.get(f"/v1/markets/{TICKER}", headers=tagged) for _ in range(12)]
    assert {reply.status for reply in replies} == {304}
    # From PostgreSQL the same 304 costs one.
    listed = await warm_api.get("/v1/series", headers=mine)
    tagged = {**mine, "If-None-Match": listed.headers["ETag"]}
    again = await warm_api.get("/v1/series", headers=tagged)
    assert again.status == 304
    assert left(again) == left(listed) - 1
