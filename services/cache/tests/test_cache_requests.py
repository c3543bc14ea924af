"""Redis is compared when somebody asks for it, once, also when the cache that does it dies."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(900)


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(180):
        while not await check():  # noqa: ASYNC110 - it asks another process
            await asyncio.sleep(0.05)


async def test_a_request_to_verify_survives_the_cache_that_began_it(world: Any) -> None:
    await world.create_stream()
    await world.pg.execute("INSERT INTO series (ticker) VALUES ('S')")

    async def state() -> Any:
        cursor = await world.pg.execute(
            "SELECT state, attempts, result, error FROM requests ORDER BY id"
        )
        return await cursor.fetchone()

    async with world.process("ssmd_cache", CACHE_PATROL_SECONDS="0") as first:
        await first.until(ready=True)
        # The comparison cannot read this table, and so does not end.
        async with world.database.connect() as locker, locker.transaction():
            await locker.execute("LOCK TABLE series_fees IN ACCESS EXCLUSIVE MODE")
            await world.pg.execute(
                "INSERT INTO requests (service, task, asked_by, key_id)"
                " VALUES ('cache', 'verify', 'x', 1);"
            )
            await world.pg.execute("SELECT pg_notify('ssmd_requests', 'cache')")

            async def runs() -> bool:
                return (await state())[0] == "running"

            await eventually(runs)
            first.child.kill()
            await first.child.wait()
    assert (await state())[:2] == ("running", 1)
    # Somebody else writes to Redis: that is found.
    await world.redis.set("secmaster:series:STRANGER", "{}")
    async with world.process("ssmd_cache", CACHE_PATROL_SECONDS="0") as second:
        await second.until(ready=True)

        async def answered() -> bool:
            return (await state())[0] == "done"

        await eventually(answered)
    _, attempts, result, error = await state()
    assert (attempts, error) == (2, None)
    assert result["rows"] == 1
    assert result["drift"] == len(result["differences"]) == 1
    assert result["differences"][0]["key"] == "secmaster:series:STRANGER"
