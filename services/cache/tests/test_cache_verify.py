"""The verification names every difference and nothing that is only under way."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import redis.exceptions
from pydantic import SecretStr

from ssmd_cache.settings import CacheSettings
from ssmd_cache.verify.reconcile import compare_once
from ssmd_cache.verify.report import Report
from ssmd_cache.verify.verifier import Verifier
from ssmd_cache.warmup.rebuild import Fruitless, rebuild
from ssmd_cache.writer.redis_writer import RedisWriter
from ssmd_common.health import Health
from ssmd_common.keys import Keys

UNIVERSE = """
INSERT INTO series (ticker, category) VALUES ('S', 'C'), ('T', NULL);
INSERT INTO events (event_ticker, series_ticker, category, status, strike_date) VALUES
    ('E', 'S', 'D', 'open', NULL), ('F', 'S', NULL, 'settled', now());
INSERT INTO markets (ticker, event_ticker, series_ticker, status, close_time, settled_time)
    SELECT 'M' || n, 'E', 'S', 'active', now(), NULL FROM generate_series(1, 20) n
    UNION ALL SELECT 'Z', 'F', 'S', 'settled', now(), now();
INSERT INTO series_fees VALUES ('S', 'quadratic', 1, '2026-01-01', NULL)
"""
FIRST = "secmaster:series:S:E:M1"


async def verify(world: Any, sample: int | None = None, prefix: str = "") -> Report:
    async with world.database.connect() as connection:
        verifier = Verifier(connection, world.redis, Keys(prefix), rechecks=3, pause_seconds=0.3)
        return await (verifier.full() if sample is None else verifier.sample(sample))


async def warmed(world: Any, **settings: Any) -> None:
    await world.commit(*UNIVERSE.split(";"))
    async with world.cache(**settings) as cache:
        await cache.ready()
        await world.settled(settings.get("redis_key_prefix", ""))


async def test_every_kind_of_difference_is_named(world: Any) -> None:
    await warmed(world)
    report = await verify(world)
    assert (report.differences, report.rows) == ([], 26)
    assert not (await verify(world, sample=10)).differences
    row = msgspec.json.decode(await world.redis.get(FIRST))
    spoil = [
        ("set", FIRST, msgspec.json.encode(row | {"status": "closed", "more": 1})),
        ("delete", "secmaster:series:S:E:M2"),
        ("persist", "secmaster:series:S:F:Z"),
        ("expire", "secmaster:series:S:E:M3", 1000),
        ("hdel", "secmaster:markets", "M4"),
        ("hset", "secmaster:markets", "X", "secmaster:series:S:E:X"),
        ("hset", "secmaster:events", "E", "elsewhere"),
        ("srem", "secmaster:event_markets:E", "M5"),
        ("sadd", "secmaster:event_markets:F", "M5"),
        ("sadd", "secmaster:markets:by_category:C", "M6"),
        ("srem", "secmaster:markets:by_category:D", "M6"),
        ("zadd", "secmaster:markets:expiring", {"M7": 1, "Y": 2}),
        ("set", "secmaster:series:S:E:surplus", "{}"),
        ("set", "secmaster:fee:S", "[]"),
        ("set", "secmaster:fee:T", "[]"),
        ("delete", "secmaster:series:T"),
    ]
    for command, *arguments in spoil:
        await getattr(world.redis, command)(*arguments)
    named = {(d.key.removeprefix("secmaster:"), d.field) for d in (await verify(world)).differences}
    assert named == {
        ("series:S:E:M1", "status"),
        ("series:S:E:M1", "more"),
        ("series:S:E:M2", "value"),
        ("series:S:F:Z", "expires"),
        ("series:S:E:M3", "expires"),
        ("markets", "M4"),
        ("markets", "X"),
        ("events", "E"),
        ("event_markets:E", "M5"),
        ("event_markets:F", "M5"),
        ("markets:by_category:C", "M6"),
        ("markets:by_category:D", "M6"),
        ("markets:expiring", "M7"),
        ("markets:expiring", "Y"),
        ("series:S:E:surplus", "value"),
        ("fee:S", "value"),
        ("fee:T", "value"),
        ("series:T", "value"),
    }
    assert (await verify(world, sample=100)).differences
    # A rebuild mends all of it.
    await world.redis.incr("secmaster:_cache:rebuild_requests")
    async with world.cache():

        async def mended() -> bool:
            return (await world.position()).get("rebuilds") == 1

        await world.eventually(mended, "the rebuild")
        assert not (await verify(world)).differences
        await world.assert_right()


async def test_changes_under_way_are_not_told(world: Any) -> None:
    await warmed(world)
    async with world.cache() as cache:
        await cache.ready()
        stop = asyncio.Event()

        async def churn() -> None:
            bid = 0
            while not stop.is_set():
                bid += 1
                await world.commit(f"UPDATE markets SET yes_bid = {bid % 100}")

        churning = asyncio.create_task(churn())
        try:
            for _ in range(3):
                assert not (await verify(world)).differences
        finally:
            stop.set()
            await churning


@pytest.mark.parametrize("prefix", ["kalshi-prod:", "a*[b]?:"])
async def test_a_prefix_keeps_two_caches_apart(world: Any, prefix: str) -> None:
    await world.redis.set("secmaster:series:other", "someone else's")
    await warmed(world, redis_key_prefix=prefix)
    assert not await world.differences(prefix)
    assert not (await verify(world, prefix=prefix)).differences
    assert {key for key in await world.redis.keys() if not key.startswith(prefix.encode())} == {
        b"secmaster:series:other"
    }
    # A rebuild takes away what is under this prefix alone, whatever the prefix would match.
    neighbours = ["secmaster:series:other", "axxxb!:secmaster:fee:T"]
    await world.redis.set(neighbours[1], "someone else's")
    await world.redis.set(f"{prefix}secmaster:series:surplus", "{}")
    await world.redis.incr(f"{prefix}secmaster:_cache:rebuild_requests")
    async with world.cache(redis_key_prefix=prefix):

        async def rebuilt() -> bool:
            return (await world.position(prefix)).get("rebuilds") == 1

        await world.eventually(rebuilt, "the rebuild")
    assert not await world.differences(prefix)
    assert await world.redis.exists(*neighbours) == 2


async def test_two_caches_of_one_database_work_side_by_side(world: Any) -> None:
    await world.commit(*UNIVERSE.split(";"))
    other = world.valkey_server.url.removesuffix("/0") + "/1"
    async with (
        world.cache(redis_key_prefix="a:") as first,
        world.cache(redis_key_prefix="b:") as second,
        world.cache(redis_key_prefix="a:", redis_url=SecretStr(other)) as third,
    ):
        for bid in range(3):
            await world.commit(f"UPDATE markets SET yes_bid = {bid}")
            for prefix in ("a:", "b:"):
                await world.assert_right(prefix)
        for cache in (first, second, third):
            await cache.ready()
            info = await world.js.consumer_info("SECMASTER_CDC", cache.settings.consumer)
            assert info.config.opt_start_seq < world.sequence - 40, "made once, before the changes"
        async with world.cache(redis_key_prefix="a:") as standby:
            await standby.says("leader", "another replica leads")


def test_one_lock_for_each_picture() -> None:
    def lock(url: str, prefix: str = "") -> str:
        made = CacheSettings(
            database_url=SecretStr("postgresql://u@h/d"),
            redis_url=SecretStr(url),
            redis_key_prefix=prefix,
        )
        return made.lock

    assert lock("redis://host") == lock("rediss://:pw@HOST:6379/0?ssl_ca_certs=x")
    different = [
        lock("redis://host"),
        lock("redis://host/1"),
        lock("redis://host:6380"),
        lock("redis://other"),
        lock("redis://host", "p:"),
    ]
    assert len(set(different)) == len(different)
    assert "pw" not in lock("redis://:pw@host")


async def test_reconciliation_finds_and_mends_drift(world: Any) -> None:
    await world.commit(*UNIVERSE.split(";"))
    async with world.cache(cache_reconcile_seconds=0.2, cache_ready_lag_seconds=1) as cache:
        await cache.ready()
        await world.settled()
        await world.redis.delete(FIRST)

        async def mended() -> bool:
            return bool(await world.redis.exists(FIRST))

        await world.eventually(mended, "the deleted key is back")
        await world.assert_right()


@pytest.mark.parametrize(
    ("state", "waits", "told"),
    [("following", None, True), ("following", "nats", False), ("warming", None, False)],
)
async def test_a_picture_that_is_behind_has_not_drifted(
    world: Any, state: str, waits: str | None, told: bool
) -> None:
    await warmed(world)
    await world.redis.delete(FIRST)
    health = Health("cache", state=state, conditions={"warm": None})
    if waits is not None:
        health.set(waits, "it is away")
    housekeeping: Any = SimpleNamespace(drift=None)
    sink = RedisWriter(world.redis, Keys(""), 1)
    settings = world.settings(cache_ready_lag_seconds=0.1)
    await compare_once(health, settings, sink, housekeeping)
    assert bool(housekeeping.drift) is told


async def test_a_rebuild_without_a_service(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> None:
        raise redis.exceptions.ConnectionError("nobody is there")

    async def attempt(seconds: float = 60) -> Any:
        return await rebuild(
            world.settings(), world.redis, deadline_seconds=seconds, say=lambda _: None
        )

    await world.commit(*UNIVERSE.split(";"))
    assert (await attempt()).warm
    await world.assert_right()
    with monkeypatch.context() as patch:
        patch.setattr(RedisWriter, "fill", refuse)
        with pytest.raises(Fruitless, match="within 2 s: Redis does not answer"):
            await attempt(2)
    await world.redis.delete("secmaster:events")
    await world.redis.set("secmaster:events", "mine")
    with pytest.raises(Fruitless, match="hold another type"):
        await attempt()
