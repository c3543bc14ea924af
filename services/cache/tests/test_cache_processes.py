"""The cache behind the real publisher, as processes that are killed, paused and doubled."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from ssmd_common.tasks import end

# Each test starts some processes, which takes its time on a busy machine.
pytestmark = pytest.mark.timeout(900)
SECONDS = 100.0

UNIVERSE = """
INSERT INTO series (ticker, category) VALUES ('S', 'C'), ('T', NULL);
INSERT INTO events (event_ticker, series_ticker, category, strike_date)
    SELECT 'E' || n, 'S', nullif('D', 'D'), now() + interval '1 day' FROM generate_series(1, 5) n;
INSERT INTO markets (ticker, event_ticker, series_ticker, status, close_time)
    SELECT 'M' || n, 'E' || (1 + n % 5), 'S', 'active', now() + interval '1 hour'
    FROM generate_series(1, 200) n;
"""

STATEMENTS = (
    "UPDATE markets SET yes_bid = {bid} WHERE event_ticker = {event}",
    "UPDATE markets SET status = '{status}' WHERE ticker = {market}",
    "UPDATE markets SET close_time = close_time + interval '1 s' WHERE ticker = {market}",
    "UPDATE events SET category = {category} WHERE event_ticker = {event}",
    "UPDATE events SET series_ticker = '{series}' WHERE event_ticker = {event}",
    "DELETE FROM markets WHERE ticker = {market}",
    """INSERT INTO markets (ticker, event_ticker, series_ticker, status)
       SELECT {market}, event_ticker, series_ticker, 'open' FROM events
       WHERE event_ticker = {event} ON CONFLICT DO NOTHING""",
)


@contextlib.asynccontextmanager
async def load(world: Any, seed: int = 1) -> AsyncIterator[None]:
    """Transactions without end while inside; PostgreSQL may go away and come back."""
    chance = random.Random(seed)
    stop = asyncio.Event()

    async def work() -> None:
        while not stop.is_set():
            await asyncio.sleep(0)
            with contextlib.suppress(psycopg.OperationalError):
                async with world.database.connect() as connection:
                    while not stop.is_set():
                        await connection.execute(statement())

    def statement() -> str:
        return chance.choice(STATEMENTS).format(
            market=f"'M{chance.randrange(200) + 1}'",
            event=f"'E{chance.randrange(5) + 1}'",
            status=chance.choice(["active", "closed", "settled"]),
            bid=chance.randrange(100),
            series=chance.choice("ST"),
            category=chance.choice(["NULL", "'D'"]),
        )

    working = asyncio.create_task(work())
    try:
        yield
    finally:
        stop.set()
        await working


@pytest.fixture
async def system(world: Any) -> AsyncIterator[Any]:
    """A world with the real publisher."""
    await world.js.delete_stream("SECMASTER_CDC")
    await world.pg.execute(UNIVERSE)
    async with world.process("ssmd_cdc") as publisher:
        await publisher.until(ready=True)
        world.publisher = publisher
        yield world


async def right(world: Any) -> None:
    await world.assert_right(seconds=SECONDS)


async def test_behind_the_real_publisher(system: Any) -> None:
    async with system.cache() as cache:
        await cache.ready()
        await right(system)
        async with load(system):
            await asyncio.sleep(2)
        await right(system)


async def test_values_are_the_same_from_snapshot_and_stream(system: Any) -> None:
    """Odd values too: what the warm-up wrote is what the stream says of the same row."""
    async with system.cache() as cache:
        await cache.ready()
        await system.pg.execute(
            """INSERT INTO markets (ticker, event_ticker, series_ticker, title, close_time,
                open_time, settled_time, floor_strike, custom_strike, extra, price_ranges,
                yes_bid_dollars, volume_fp, volume, latest_expiration_time)
            VALUES ('ODD.5', 'E1', 'S', E'q"uo\\\\te\\n\\tü\\u2028', 'infinity',
                '0044-03-15 12:00:00+00 BC', '12026-01-01 00:00:00.5+00', 'NaN',
                '{"b": 1.50, "a": [1e400, "\\u0001"]}', '[]', '[{"x": "0.0100"}]', 0.450000, 1.10,
                9223372036854775807, '0001-01-01 00:00:00+00'),
            ('ODD.6', 'E1', 'S', '', '-infinity', '0001-01-01 00:00:00+00 BC',
                '2026-01-01 00:00:00.000001+00', 'Infinity', 'null', '{}', '1', 0, 0.00, -1,
                NULL)"""
        )
        await system.pg.execute('UPDATE series SET tags = \'{a,"b,c",NULL,""}\', volume = 5')

        async def streamed() -> dict[bytes, Any]:
            keys = [key async for key in system.redis.scan_iter(match="secmaster:series:*")]
            return {key: await system.redis.get(key) for key in keys}

        async def there() -> bool:
            return b"ODD.6" in await system.redis.hkeys("secmaster:markets") and b"b,c" in (
                await system.redis.get("secmaster:series:T")
            )

        await system.eventually(there, "the odd rows")
        before = await streamed()
        await system.redis.incr("secmaster:_cache:rebuild_requests")

        async def rebuilt() -> bool:
            return (await system.position()).get("rebuilds") == 1

        await system.eventually(rebuilt, "a new picture")
        after = await streamed()

    def bare(value: bytes) -> bytes:
        return value.partition(b',"epoch":')[0]

    assert {k: bare(v) for k, v in before.items()} == {k: bare(v) for k, v in after.items()}
    assert b'"floor_strike":"NaN"' in before[b"secmaster:series:S:E1:ODD.5"]


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["cache", "valkey", "nats"])
async def test_kill_9_under_load(system: Any, victim: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        cache = await stack.enter_async_context(system.process("ssmd_cache"))
        await cache.until(ready=True)
        async with load(system):
            for _ in range(3):
                await asyncio.sleep(0.7)
                match victim:
                    case "cache":
                        cache.child.kill()
                        await cache.child.wait()
                        cache = await stack.enter_async_context(system.process("ssmd_cache"))
                    case "valkey":
                        await system.valkey_server.kill()
                        await asyncio.sleep(0.2)
                        await system.valkey_server.start()
                    case _:
                        await system.nats_server.kill()
                        await asyncio.sleep(0.2)
                        await system.nats_server.start()
        if system.publisher.child.returncode is not None:
            # It ends when it cannot go on: its supervisor starts it again.
            await stack.enter_async_context(system.process("ssmd_cdc"))
        await right(system)
        await cache.until(ready=True)


@contextlib.asynccontextmanager
async def supervised(world: Any, module: str) -> AsyncIterator[None]:
    """A service that is started again whenever it ends."""

    async def keep() -> None:
        while True:
            async with world.process(module) as service:
                await service.child.wait()

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        assert not keeping.done()
        await end(keeping)


@pytest.mark.slow
async def test_postgres_killed_under_load(private_postgres: Any, own_world: Any) -> None:
    async with contextlib.AsyncExitStack() as stack:
        world = own_world
        await world.pg.execute(UNIVERSE)
        await stack.enter_async_context(supervised(world, "ssmd_cdc"))
        await stack.enter_async_context(supervised(world, "ssmd_cache"))

        async def warm() -> bool:
            return bool((await world.position()).get("warm"))

        await world.eventually(warm, "a first picture")
        async with load(world):
            for _ in range(3):
                await asyncio.sleep(0.7)
                await private_postgres.kill()
                await private_postgres.start()
        world.pg = await stack.enter_async_context(world.database.connect())
        await world.pg.execute("SET timezone = 'UTC'")
        # Again, while changes flow: a picture that was made before a crash must not hide them.
        async with load(world, seed=2):
            await asyncio.sleep(1)
        await right(world)


async def test_two_replicas_one_leads_and_a_paused_leader_writes_nothing(system: Any) -> None:
    async with system.process("ssmd_cache") as first, contextlib.AsyncExitStack() as stack:
        await first.until(ready=True)
        second = await stack.enter_async_context(system.process("ssmd_cache"))
        await second.until(state="standby", ready=True)
        # Dead: the other takes over, at its next look at the lock.
        first.child.kill()
        await second.until(state="following")
        await right(system)

        third = await stack.enter_async_context(system.process("ssmd_cache"))
        await third.until(state="standby")
        second.child.send_signal(signal.SIGSTOP)
        # As if its node were gone: PostgreSQL ends the sessions that it does not hear from.
        await system.pg.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'ssmd-cache%' AND pid IN (SELECT pid FROM pg_locks"
            " WHERE locktype = 'advisory' AND granted)"
        )
        await third.until(state="following")
        token = (await system.position())["token"]
        async with load(system):
            await asyncio.sleep(0.5)
            second.child.send_signal(signal.SIGCONT)
            await asyncio.wait_for(second.child.wait(), SECONDS)
        assert second.child.returncode == 1
        await right(system)
        assert (await system.position())["token"] == token
        await third.until(ready=True)


@pytest.mark.slow
async def test_readers_never_miss_an_active_market_during_a_rebuild(system: Any) -> None:
    await system.pg.execute(
        "INSERT INTO markets (ticker, event_ticker, series_ticker, status)"
        " SELECT 'B' || n, 'E1', 'S', 'active' FROM generate_series(1, 5000) n"
    )
    async with system.cache(cache_warm_batch_rows=100) as cache:
        await cache.ready()
        await right(system)
        stop = asyncio.Event()
        reads = 0

        async def hammer(seed: int) -> None:
            nonlocal reads
            chance = random.Random(seed)
            while not stop.is_set():
                ticker = f"B{chance.randrange(5000) + 1}"
                pipeline = system.redis.pipeline(transaction=True)
                pipeline.hget("secmaster:markets", ticker)
                pipeline.exists(f"secmaster:series:S:E1:{ticker}")
                pipeline.sismember("secmaster:event_markets:E1", ticker)
                pipeline.sismember("secmaster:markets:by_category:C", ticker)
                pipeline.hlen("secmaster:markets")
                key, value, member, listed, count = await pipeline.execute()
                assert key, ticker
                assert value, ticker
                assert member, ticker
                assert listed, ticker
                assert count == 5200
                reads += 1

        hammers = [asyncio.create_task(hammer(seed)) for seed in range(2)]
        for wanted in (1, 2):
            await system.redis.incr("secmaster:_cache:rebuild_requests")

            async def rebuilt(wanted: int = wanted) -> bool:
                assert not any(task.done() for task in hammers)
                return (await system.position()).get("rebuilds", 0) >= wanted

            await system.eventually(rebuilt, "a new picture")
        stop.set()
        await asyncio.gather(*hammers)
        assert reads > 10


async def test_a_row_as_deep_as_anyone_likes_stops_nothing(system: Any) -> None:
    """Written by hand, through the real publisher, and over a restart."""
    key = "secmaster:series:S:E2:M1"
    async with system.process("ssmd_cache") as cache:
        await cache.until(ready=True)
        await system.pg.execute(
            "UPDATE markets SET custom_strike = (repeat('[', 5000) || repeat(']', 5000))::jsonb"
            " WHERE ticker = 'M1'"
        )

        async def hidden() -> bool:
            return not await system.redis.exists(key)

        await system.eventually(hidden, "the row is not shown")
        await cache.until(ready=True)
        assert "markets M1" in (await cache.document())["degraded"]["unreadable"]
    await system.redis.delete("secmaster:position")
    async with system.process("ssmd_cache") as cache:
        await cache.until(ready=True)
        assert "markets M1" in (await cache.document())["degraded"]["unreadable"]
        # The message that mends it holds the row before.
        await system.pg.execute("UPDATE markets SET custom_strike = NULL WHERE ticker = 'M1'")
        await cache.until(ready=True, degraded={})
        await right(system)
