"""Servers that hang, frozen and not closed, and a process that hardly gets to run."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import aiohttp
import psutil
import pytest

pytestmark = pytest.mark.timeout(600)

SERIES = "INSERT INTO series (ticker, category) VALUES ('S', 'C')"
EVENT = "INSERT INTO events (event_ticker, series_ticker) VALUES ('E', 'S')"
MARKETS = (
    "INSERT INTO markets (ticker, event_ticker, series_ticker, status)"
    " SELECT 'M' || n, 'E', 'S', 'active' FROM generate_series(1, 20) n"
)


@contextlib.contextmanager
def frozen(pid: int | None) -> Iterator[None]:
    """A server with all its processes: its sockets stay open, and nothing answers."""
    assert pid is not None, "psutil takes None for this process, which would stop itself"
    root = psutil.Process(pid)
    processes = [root, *root.children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


async def until_not_ready(cache: Any) -> None:
    """Wait until /readyz does not say 200 any more; an ended process is not ready either."""
    timeout = aiohttp.ClientTimeout(total=30)
    async with asyncio.timeout(180), aiohttp.ClientSession(timeout=timeout) as session:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            while True:
                async with session.get(f"http://127.0.0.1:{cache.port}/readyz") as reply:
                    if reply.status != 200:
                        return
                await asyncio.sleep(0.1)


@pytest.mark.embedded
@pytest.mark.parametrize("server", ["valkey", "nats"])
async def test_a_frozen_server_is_told_and_back(world: Any, server: str) -> None:
    await world.commit(SERIES, EVENT, MARKETS)
    of = {"valkey": world.valkey_server, "nats": world.nats_server}[server]
    async with world.process("ssmd_cache") as cache:
        await cache.until(ready=True)
        with frozen(of.pid):
            await until_not_ready(cache)
        await cache.until(ready=True)
        await world.commit("UPDATE markets SET yes_bid = 5")
        await world.assert_right()


@pytest.mark.slow
@pytest.mark.embedded
async def test_a_frozen_postgresql_is_told_and_back(private_postgres: Any, own_world: Any) -> None:
    world = own_world
    await world.create_stream()
    await world.commit(SERIES, EVENT, MARKETS)
    async with world.process("ssmd_cache") as cache:
        await cache.until(ready=True)
        with frozen(private_postgres.pid):
            await until_not_ready(cache)
    # A leader that cannot tell whether it still leads ends, and is started again.
    async with world.process("ssmd_cache") as cache:
        await cache.until(ready=True)
        await world.commit("UPDATE markets SET yes_bid = 6")
        await world.assert_right()


@pytest.mark.embedded
async def test_the_stream_does_not_wait_for_postgresql(
    private_postgres: Any, own_world: Any
) -> None:
    world = own_world
    await world.create_stream()
    await world.commit(SERIES, EVENT, MARKETS)
    async with world.cache() as cache:
        await cache.ready()
        messages = await world.commit("UPDATE markets SET yes_bid = 7", publish=False)
        with frozen(private_postgres.pid):
            # For longer than the last sync's time goes unasked.
            for message in messages[:16]:
                await asyncio.sleep(0.5)
                await world.publish(f"cdc.markets.update.S.E.{message['key']['ticker']}", message)
                key = f"secmaster:series:S:E:{message['key']['ticker']}"

                async def there(key: str = key) -> bool:
                    return b'"yes_bid":7' in await world.redis.get(key)

                await world.eventually(there, "applied while PostgreSQL hangs", 20)


async def test_a_starved_cache_goes_on_without_a_restart(world: Any) -> None:
    """It runs for a twentieth of the time: 50 ms, then a second's pause."""
    await world.commit(SERIES, EVENT, MARKETS)
    async with world.process("ssmd_cache") as cache:
        await cache.until(ready=True)
        before = await world.position()
        starved = True

        async def starve() -> None:
            while starved:
                os.kill(cache.child.pid, signal.SIGSTOP)
                await asyncio.sleep(0.95)
                os.kill(cache.child.pid, signal.SIGCONT)
                await asyncio.sleep(0.05)

        starving = asyncio.create_task(starve())
        try:
            for bid in range(5):
                await world.commit(f"UPDATE markets SET yes_bid = {bid}")
                reached = world.sequence

                async def applied(reached: int = reached) -> bool:
                    assert cache.child.returncode is None
                    return bool((await world.position()).get("sequence", 0) >= reached)

                await world.eventually(applied, "it makes progress")
        finally:
            starved = False
            await starving
        await cache.until(ready=True)
        await world.assert_right()
        after = await world.position()
        assert after["token"] == before["token"], "it led all the time"
        assert after["warmed_at"] == before["warmed_at"], "no new picture was needed"
    async with world.process("ssmd_cache") as cache:
        await cache.until(ready=True)
        assert (await world.position())["warmed_at"] == before["warmed_at"]
