"""Rows and cached values that readers cannot read cost themselves, and nothing beside them."""

import asyncio
import csv
import io
import json
from typing import Any

import msgspec
import pytest
import redis.asyncio as aioredis
from api_testbed import Client, Serve
from nats.js.client import JetStreamContext

from ssmd_api import rendering, rows
from ssmd_common.depth import is_deep
from ssmd_common.keys import Keys
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.proxy import TcpProxy
from ssmd_stack.valkey import ValkeyServer

pytestmark = pytest.mark.usefixtures("universe")

TICKER = "KXBTCD-26FEB03-T97500.99"
OTHER = "KXNBAGAME-26FEB03HOUPIT-HOU"
DEEP = "[" * 2000 + "]" * 2000
KEYS = Keys()
STEP = {
    "series_ticker": "KXBTCD",
    "fee_type": "quadratic",
    "fee_multiplier": "1",
    "effective_from": "2026-01-01T00:00:00Z",
    "effective_to": None,
    "source_id": None,
}


@pytest.fixture
async def deep(database: Database, universe: None) -> None:
    """Rows of every table with a value 2,000 deep, and a number that no reader holds."""
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE markets SET custom_strike = %s, extra = %s, price_ranges = %s"
            " WHERE ticker = %s",
            (f'{{"a": {DEEP}}}', DEEP, "1e5000", TICKER),
        )
        await connection.execute(
            "UPDATE series SET settlement_sources = %s WHERE ticker = 'KXBTCD'", (DEEP,)
        )
        await connection.execute(
            "INSERT INTO market_lifecycle_events (market_ticker, event_ticker, event_type,"
            " metadata, received_at, dedupe_key) VALUES (%s, 'E', 'settled', %s, now(), 'a')",
            (TICKER, DEEP),
        )
        await connection.execute(
            "INSERT INTO sync_runs (job, scope, started_at, outcome, rejected_rows)"
            " VALUES ('j', '{}', now(), 'failed', %s)",
            (DEEP,),
        )


def told(value: Any) -> str:
    """The text of a value that could not be sent as JSON."""
    assert set(value) == {"unreadable", "text"}
    assert value["unreadable"]
    return str(value["text"])


def assert_told(market: dict[str, Any]) -> None:
    assert told(market["custom_strike"]) == f'{{"a": {DEEP}}}'
    assert told(market["extra"]) == DEEP
    assert told(market["price_ranges"]) == "1" + "0" * 5000
    assert market["yes_bid_dollars"] == "0.450000"


def test_what_is_sent_as_postgresql_has_it_is_too_short_to_be_unreadable() -> None:
    most = rendering.FIT_BYTES
    worst = ["[" * (most // 2) + "]" * (most // 2), "9" * most, "-0." + "9" * (most - 3)]
    for text in worst:
        assert len(text) == most
        assert rows.encode(rows.loaded_json(text.encode())) == text.encode()
    assert told(rows.loaded_json(f"[{worst[0]}]".encode())) == f"[{worst[0]}]"


@pytest.mark.usefixtures("deep")
async def test_a_value_that_is_nested_deep_comes_as_text_and_the_rest_as_ever(
    api: Client,
) -> None:
    single = await api.ok(f"/v1/markets/{TICKER}")
    assert_told(single)
    assert told(single["series"]["settlement_sources"]) == DEEP
    listed = {row["ticker"]: row for row in (await api.ok("/v1/markets"))["markets"]}
    assert len(listed) == 7
    assert_told(listed[TICKER])
    assert "unreadable" not in json.dumps(listed[OTHER])
    event = await api.ok("/v1/events/KXBTCD-26FEB03")
    assert_told(next(row for row in event["markets"] if row["ticker"] == TICKER))
    assert told(event["series"]["settlement_sources"]) == DEEP
    assert told((await api.ok("/v1/series/KXBTCD"))["settlement_sources"]) == DEEP
    assert len((await api.ok("/v1/series"))["series"]) == 3
    (recorded,) = (await api.ok(f"/v1/markets/{TICKER}/lifecycle"))["lifecycle"]
    assert told(recorded["metadata"]) == DEEP
    stats = await api.ok("/v1/stats/sync")
    assert told(stats["recent_runs"][0]["rejected_rows"]) == DEEP
    for path in ("/v1/search?q=bitcoin", "/v1/events", "/v1/fees/KXBTCD", "/v1/stats/markets"):
        await api.ok(path)
    body = {"tickers": [TICKER, OTHER]}
    reply = await api.ask("POST", "/v1/markets/lookup", json=body)
    assert reply.json["missing"] == []


@pytest.mark.usefixtures("deep")
async def test_beside_other_rows_too_and_with_times_that_no_reader_holds(
    api: Client, database: Database
) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE markets SET settled_time = 'infinity' WHERE ticker = %s", (TICKER,)
        )
        await connection.execute(
            "UPDATE market_lifecycle_events SET settled_ts = '0044-03-15 BC' WHERE dedupe_key = 'a'"
        )
    events = (await api.ok("/v1/events?include=series,markets"))["events"]
    (event,) = [row for row in events if row["event_ticker"] == "KXBTCD-26FEB03"]
    assert told(event["series"]["settlement_sources"]) == DEEP
    markets = {row["ticker"]: row for row in event["markets"]}
    assert_told(markets[TICKER])
    assert markets[TICKER]["settled_time"] == "infinity"
    assert len(markets) > 1
    assert "unreadable" not in json.dumps([row for name, row in markets.items() if name != TICKER])
    listed = (await api.ok(f"/v1/markets?ticker={TICKER}&include=series,lifecycle"))["markets"]
    assert_told(listed[0])
    assert told(listed[0]["series"]["settlement_sources"]) == DEEP
    (step,) = listed[0]["lifecycle"]
    assert told(step["metadata"]) == DEEP
    assert step["settled_ts"] == "-0043-03-15T00:00:00Z"


@pytest.mark.usefixtures("deep")
async def test_in_exports_and_snapshots_too(
    serve: Serve, nats_server: NatsServer, js: JetStreamContext
) -> None:
    async with serve(nats_url=nats_server.url) as api:
        lines = (await api.get("/v1/export")).body.splitlines()
        exported = {row["ticker"]: row for row in map(json.loads, lines)}
        text = (await api.get("/v1/export?format=csv")).body.decode()
        csv.field_size_limit(1 << 20)
        cells = {row["ticker"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}
        tables = "series,markets,market_lifecycle_events"
        lines = (await api.get(f"/v1/snapshot?tables={tables}")).body.splitlines()
    assert len(exported) == len(cells) == 7
    assert_told(exported[TICKER])
    assert told(json.loads(cells[TICKER]["extra"])) == DEEP
    assert json.loads(lines[-1]) == {"end": True, "rows": 3 + 8 + 1}
    snapshot = [json.loads(line)["data"] for line in lines[1:-1]]
    assert_told(next(row for row in snapshot if row.get("ticker") == TICKER))


@pytest.mark.parametrize("depth", [1, rows.MAX_DEPTH, rows.MAX_DEPTH + 1, 900, 100_000])
def test_what_is_nested_as_deep_as_readers_follow_is_json(depth: int) -> None:
    """And brackets in texts are no depth."""
    raw = b"[" * depth + rb'"[[\"[[{{\\"' + b"]" * depth
    assert is_deep(raw, rows.MAX_DEPTH) == (depth > rows.MAX_DEPTH)
    flat = b"[" + b",".join([b'{"a":["[\\"{"]}'] * depth) + b"]"
    assert not is_deep(flat, rows.MAX_DEPTH)


async def written(api: Client, redis: aioredis.Redis) -> tuple[str, bytes]:
    """Put one market with its event and series into Redis as the cache does; its key and value."""
    document = rows.decode((await api.get(f"/v1/markets/{TICKER}")).body)
    key = KEYS.market("KXBTCD", "KXBTCD-26FEB03", TICKER)
    place = {"epoch": 1, "lsn": "0/1", "seq": 0}
    market = {**document, **place}
    series, event = market.pop("series"), market.pop("event")
    await redis.set(KEYS.series("KXBTCD"), rows.encode({**series, **place}))
    await redis.set(KEYS.event("KXBTCD", "KXBTCD-26FEB03"), rows.encode({**event, **place}))
    await redis.set(key, rows.encode(market))
    await redis.hset(KEYS.markets, TICKER, key)
    return key, rows.encode(market)


async def test_a_cached_value_that_cannot_be_read_is_read_from_the_database(
    cached_api: Client, valkey_server: ValkeyServer
) -> None:
    """Whatever of it is wrong; and Redis goes on being asked for all else."""
    redis = aioredis.Redis.from_url(valkey_server.url)
    key, value = await written(cached_api, redis)
    stored = await cached_api.get(f"/v1/markets/{TICKER}")
    assert stored.headers["X-Ssmd-Source"] == "cache"
    row = rows.decode(value)
    poison: list[Any] = [
        value.replace(b'"custom_strike":', b'"custom_strike":' + DEEP.encode() + b',"x":'),
        value[:-7],
        b"\xff" + value,
        value.replace(b"ticker", b"\xff\xfe", 1),
        b"",
        *[
            rows.encode({**row, **wrong})
            for wrong in (
                {"observed_at": 5},
                {"observed_at": "yesterday"},
                {"observed_at": "2026-02-03T22:05:00"},
                {"status": ["active"]},
                {"volume": "7"},
                {"volume": True},
                {"yes_bid_dollars": "a"},
                {"yes_bid_dollars": 0.45},
                {"can_close_early": "true"},
                {"ticker": OTHER},
                {"ticker": None},
                {"series_ticker": "KXOLD"},
            )
        ],
        *[rows.encode({n: v for n, v in row.items() if n != name}) for name in rows.LOOKUP.names],
    ]
    for content in poison:
        await redis.set(key, content)
        reply = await cached_api.get(f"/v1/markets/{TICKER}")
        assert (reply.status, reply.body) == (200, stored.body), content[:200]
        assert reply.headers["X-Ssmd-Source"] == "database", content[:200]
        looked_up = await cached_api.ask("POST", "/v1/markets/lookup", json={"tickers": [TICKER]})
        assert looked_up.json["missing"] == []
        assert cached_api.context.cached.up
    await redis.set(key, value)
    assert (await cached_api.get(f"/v1/markets/{TICKER}")).headers["X-Ssmd-Source"] == "cache"
    # Of another type is what is there as well.
    await redis.delete(key)
    await redis.lpush(key, "a")
    await redis.set(KEYS.last_sync, b"2026-02-03T22:05:00")
    for name in (KEYS.series("KXBTCD"), KEYS.fee("KXBTCD")):
        await redis.delete(name)
        await redis.sadd(name, "a")
    for path in (f"/v1/markets/{TICKER}", "/v1/fees/KXBTCD"):
        reply = await cached_api.get(path)
        assert (reply.status, reply.headers["X-Ssmd-Source"]) == (200, "database")
    assert cached_api.context.cached.up
    await redis.aclose()


@pytest.mark.parametrize(
    "steps",
    [
        b"{}",
        b"7",
        b"[7]",
        b'["a"]',
        b"[null]",
        b'[{"fee_multiplier":"1"}]',
        DEEP.encode(),
        json.dumps([{**STEP, "fee_multiplier": "much"}]).encode(),
        json.dumps([{**STEP, "effective_from": "soon"}]).encode(),
        json.dumps([STEP, {**STEP, "effective_to": 7}]).encode(),
    ],
)
async def test_so_is_a_fee_schedule(
    cached_api: Client, valkey_server: ValkeyServer, steps: bytes
) -> None:
    redis = aioredis.Redis.from_url(valkey_server.url)
    await redis.set(KEYS.fee("KXBTCD"), steps)
    await redis.aclose()
    reply = await cached_api.get("/v1/fees/KXBTCD?price=0.5")
    assert (reply.status, reply.headers["X-Ssmd-Source"]) == (200, "database")
    assert reply.json["in_force"]["fee_multiplier"].startswith("0.5")


@pytest.mark.parametrize(
    "synced", [b"2026-02-03T22:05:00", b"soon", b"\xff", b"infinity", b"9999-12-31T23:59:59-05:00"]
)
async def test_so_is_the_last_sync(
    cached_api: Client, valkey_server: ValkeyServer, synced: bytes
) -> None:
    redis = aioredis.Redis.from_url(valkey_server.url)
    await written(cached_api, redis)
    await redis.set(KEYS.last_sync, synced)
    await redis.aclose()
    async with cached_api.context.database.cursor() as cursor:
        await cursor.execute(
            "INSERT INTO sync_runs (job, scope, started_at, finished_at, outcome)"
            " VALUES ('j', '{}', now(), now(), 'ok')"
        )
    reply = await cached_api.get(f"/v1/markets/{TICKER}")
    assert (reply.status, reply.headers["X-Ssmd-Source"]) == (200, "cache")
    assert reply.headers["X-Ssmd-Age"]


async def test_one_slow_reply_costs_one_request_and_not_the_cache(
    serve: Serve, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is well: nobody else may notice, and the API must not say that it is away."""
    monkeypatch.setattr("ssmd_api.cached.READ_SECONDS", 2.0)
    monkeypatch.setattr("ssmd_api.cached.PROBE_SECONDS", 60.0)
    path = f"/v1/markets/{TICKER}"
    async with TcpProxy(valkey_server.url) as proxy, serve(redis_url=proxy.url) as api:
        redis = aioredis.Redis.from_url(valkey_server.url)
        await written(api, redis)
        await redis.aclose()
        assert (await api.get(path)).headers["X-Ssmd-Source"] == "cache"
        proxy.freeze()
        slow = await api.get(path)
        assert (slow.status, slow.headers["X-Ssmd-Source"]) == (200, "database")
        assert api.context.cached.up
        proxy.thaw()
        for _ in range(5):
            assert (await api.get(path)).headers["X-Ssmd-Source"] == "cache"
        await api.context.cached.ping()
        assert api.context.cached.up


async def test_redis_that_does_not_answer_a_patient_probe_is_away_until_it_does(
    serve: Serve, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssmd_api.cached.PROBE_SECONDS", 0.2)
    async with TcpProxy(valkey_server.url) as proxy, serve(redis_url=proxy.url) as api:
        cached = api.context.cached
        await cached.ping()
        proxy.freeze()
        await cached.ping()
        assert not cached.up
        # Nobody waits for it now: a read would hang here, were it tried.
        monkeypatch.setattr("ssmd_api.cached.READ_SECONDS", 600.0)
        async with asyncio.timeout(180):
            assert await cached.market(TICKER) is None
        proxy.thaw()
        async with asyncio.timeout(180):
            while not cached.up:
                await cached.ping()


def test_the_decoder_refuses_by_one_error() -> None:
    for raw in (b"", b"[", b"\xff", b'"\xff"', b"1" + b"0" * 5000, DEEP.encode(), b"NaN"):
        with pytest.raises(rows.Unreadable):
            rows.decode(raw)
    assert msgspec.json.encode(rows.decode(b"[1.50]")) == b'["1.50"]'
