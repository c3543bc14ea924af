"""What somebody takes out of Redis is noticed and put back, without a word from anyone."""

from typing import Any

import pytest

from ssmd_cache.settings import CacheSettings
from ssmd_cache.verify.verifier import Verifier
from ssmd_common.keys import Keys

UNIVERSE = """
INSERT INTO series (ticker, category) VALUES ('S', 'C'), ('T', 'D'), ('U:', NULL);
INSERT INTO events (event_ticker, series_ticker, status)
    SELECT 'E' || n, CASE n % 3 WHEN 0 THEN 'S' WHEN 1 THEN 'T' ELSE 'U:' END, 'open'
    FROM generate_series(1, 9) n;
INSERT INTO markets (ticker, event_ticker, series_ticker, status, close_time)
    SELECT 'M' || n, e.event_ticker, e.series_ticker,
        CASE n % 7 WHEN 0 THEN 'closed' ELSE 'active' END, now() + interval '1 day'
    FROM generate_series(1, 300) n JOIN events e ON e.event_ticker = 'E' || (1 + n % 9);
INSERT INTO series_fees VALUES ('S', 'quadratic', 1, '2026-01-01', '2026-02-01'),
    ('S', 'quadratic', 2, '2026-02-01', NULL)
"""

INDEXES = (
    "secmaster:markets",
    "secmaster:events",
    "secmaster:markets:expiring",
    "secmaster:markets:by_category:C",
    "secmaster:event_markets:E1",
)


async def take_half(redis: Any, key: str) -> int:
    match (await redis.type(key)).decode():
        case "hash":
            members = await redis.hkeys(key)
            return int(await redis.hdel(key, *members[: len(members) // 2]))
        case "zset":
            members = await redis.zrange(key, 0, -1)
            return int(await redis.zrem(key, *members[: len(members) // 2]))
        case _:
            members = list(await redis.smembers(key))
            return int(await redis.srem(key, *members[: len(members) // 2]))


async def mended(world: Any) -> None:
    last: list[Any] = []

    async def clean() -> bool:
        nonlocal last
        async with world.database.connect() as connection:
            verifier = Verifier(connection, world.redis, Keys(), rechecks=1, pause_seconds=0)
            last = (await verifier.full()).differences
        return not last

    await world.eventually(clean, f"mended: {last[:5]}")


@pytest.mark.slow
async def test_what_is_taken_out_of_redis_is_put_back(world: Any) -> None:
    await world.commit(*UNIVERSE.split(";"))
    async with world.cache(cache_patrol_seconds=0.5) as cache:
        await cache.ready()
        await world.assert_right()
        warmed_at = (await world.position())["warmed_at"]
        for key in INDEXES:
            assert await take_half(world.redis, key) > 0
            await mended(world)
            assert await world.redis.delete(key) == 1
            await mended(world)
        for pattern in ("secmaster:series:*", "secmaster:fee:*", "secmaster:event_markets:*"):
            assert await world.redis.delete(*await world.redis.keys(pattern)) > 0
            await mended(world)
        assert (await world.position())["warmed_at"] == warmed_at, "no new picture was needed"
        # What was restored is followed on.
        await world.commit(
            "UPDATE markets SET status = 'closed', yes_bid = 5 WHERE ticker < 'M2'",
            "UPDATE events SET category = 'X' WHERE event_ticker < 'E5'",
            "DELETE FROM markets WHERE ticker > 'M9'",
            "DELETE FROM series_fees WHERE effective_to IS NULL",
        )
        await world.assert_right()


@pytest.mark.parametrize("kind", ["markets", "events"])
async def test_records_of_its_own_that_are_gone_are_noticed(world: Any, kind: str) -> None:
    await world.commit(*UNIVERSE.split(";"))
    async with world.cache(cache_patrol_seconds=0.5) as cache:
        await cache.ready()
        await world.assert_right()
        warmed_at = (await world.position())["warmed_at"]
        await world.redis.delete(f"secmaster:_cache:{kind}", f"secmaster:{kind}")
        await world.redis.hset(f"secmaster:{kind}", "M1", "elsewhere")

        async def anew() -> bool:
            return bool((await world.position()).get("warmed_at", warmed_at) != warmed_at)

        await world.eventually(anew, "a new picture")
        await world.assert_right()


def test_a_round_is_short_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CacheSettings.model_fields["cache_patrol_seconds"].default <= 10
