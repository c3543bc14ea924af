"""The archive is what the stream said, whatever ends the process or fills its disk."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator

import pytest

from ssmd_archive import writer as writers
from ssmd_stream.subjects import STREAM

from .conftest import Process, World, eventually

ORACLE_SECONDS = float(os.environ.get("ARCHIVER_ORACLE_SECONDS", "90"))


@contextlib.asynccontextmanager
async def traffic(world: World, pause: float = 0.02) -> AsyncIterator[asyncio.Lock]:
    """Messages of all tables all the while; whoever holds the lock changes the stream."""
    lock = asyncio.Lock()

    async def publish() -> None:
        chance = random.Random(1)
        while True:
            async with lock:
                table = chance.choice(("markets", "markets", "events", "series", "fees"))
                with contextlib.suppress(TimeoutError):
                    await world.publish(chance.randrange(1, 40), table)
            await asyncio.sleep(pause)

    task = asyncio.create_task(publish())
    try:
        yield lock
    finally:
        async with lock:
            task.cancel()
        await asyncio.wait([task])


async def archives_more(world: World, seconds: float) -> None:
    """Wait until files have grown, and then some time more."""

    def size() -> int:
        with contextlib.suppress(FileNotFoundError):
            return sum(path.stat().st_size for path in world.stream.rglob("*.gz*"))
        return -1

    before = size()

    async def has_grown() -> bool:
        return size() > max(before, 0)

    await eventually(has_grown, lambda: "files grow")
    await asyncio.sleep(seconds)


async def test_kill_nine_at_any_moment_loses_and_doubles_nothing(world: World) -> None:
    chance = random.Random(3)
    async with traffic(world):
        for _ in range(3):
            async with world.process():
                await archives_more(world, chance.random())
    async with world.archiver():
        found = await world.settled()
    assert found.messages == world.published
    assert not found.missing


async def test_a_full_disk_stops_and_leaves_no_hole(world: World) -> None:
    async with world.process(ARCHIVER_ROTATE_SECONDS="60") as process:
        await world.publish(100, size=1000)
        await archives_more(world, 0)
        process.limit_files(0)
        await world.publish(3000, "events", size=1000)
        await process.until(lambda said: "full" in said["reasons"].get("disk", ""))
        process.limit_files(1 << 40)
        await process.until(lambda said: said["ready"])
    async with world.archiver():
        found = await world.settled()
    assert found.messages == world.published
    assert not found.missing


async def test_what_a_full_disk_kept_from_being_read_is_recorded(world: World) -> None:
    async with world.process() as process:
        await world.publish(100)
        await archives_more(world, 0)
        process.limit_files(0)
        await world.publish(20_000, "events", size=200)
        await process.until(lambda said: "full" in said["reasons"].get("disk", ""))
        await world.js.purge_stream(STREAM, seq=20_001)
        process.limit_files(1 << 40)
        await world.publish(1)
        found = await world.settled()
    lost = {key for key in world.published if key not in found.messages}
    assert lost
    assert found.missing.keys() == lost
    assert set(found.missing.values()) <= {writers.EXPIRED, writers.LOST}
    assert found.messages == {k: v for k, v in world.published.items() if k not in lost}


async def test_a_second_archiver_waits_for_the_first(world: World) -> None:
    async with world.process() as first, world.process() as second:
        await first.until(lambda said: bool(said["ready"]))
        leading, waiting = first, second
        if (await first.document())["state"] == "standby":
            leading, waiting = second, first
        await waiting.until(lambda said: said["state"] == "standby" and bool(said["ready"]))
        assert "writes to the archive" in (await waiting.document())["reasons"]["lock"]
        await world.publish(50)
        await archives_more(world, 0)
        await leading.kill()
        await waiting.until(lambda said: said["state"] == "archiving")
        await world.publish(50, "events")
        found = await world.settled()
    assert found.messages == world.published


async def test_a_directory_that_cannot_be_written_to_is_named(world: World) -> None:
    world.root.parent.mkdir(exist_ok=True)
    world.root.write_text("a file")
    async with world.process() as process:
        assert await process.child.wait() == 2


async def test_a_process_that_stops_leaves_what_it_took(world: World) -> None:
    async with world.process(ARCHIVER_ROTATE_SECONDS="86400") as process:
        await world.publish(500)
        await process.until(lambda said: bool(said["ready"]))
        await archives_more(world, 0)
        process.child.send_signal(signal.SIGTERM)
        assert await process.child.wait() == 0
    async with world.archiver():
        found = await world.settled()
    assert found.messages == world.published


@pytest.mark.slow
@pytest.mark.timeout(ORACLE_SECONDS + 1200)
async def test_an_hour_of_everything(world: World) -> None:
    """Kills, restarts of NATS, purges, streams made anew, full disks: the archive knows it all."""
    chance = random.Random(5)
    may_be_lost: set[tuple[int, int]] = set()
    until = time.monotonic() + ORACLE_SECONDS
    async with traffic(world) as lock:
        while time.monotonic() < until:
            async with world.process() as process:
                await archives_more(world, chance.random())
                await _something(world, process, lock, may_be_lost, chance)
    async with world.archiver():
        await world.publish(1)
        found = await world.settled()
    lost = {key for key in world.published if key not in found.messages}
    assert lost <= may_be_lost
    assert found.messages == {k: v for k, v in world.published.items() if k not in lost}
    last = max(world.published)[0]
    assert {key for key in lost if key[0] == last} <= found.missing.keys()


async def _something(
    world: World,
    process: Process,
    lock: asyncio.Lock,
    may_be_lost: set[tuple[int, int]],
    chance: random.Random,
) -> None:
    what = chance.choice(("kill", "kill", "kill", "nats", "purge", "recreate", "full", "holes"))
    async with lock:
        if what == "nats":
            await world.nats_server.stop()
            await asyncio.sleep(chance.random())
            await world.nats_server.start()
            await world.nats.flush()
        elif what == "purge":
            await process.kill()
            last = (await world.js.stream_info(STREAM)).state.last_seq
            await world.publish(200)
            may_be_lost |= {key for key in world.published if key[0] == world.chain}
            await world.js.purge_stream(STREAM, seq=last + 100)
        elif what == "recreate":
            may_be_lost |= {key for key in world.published if key[0] == world.chain}
            await world.recreate()
        elif what == "holes":
            await process.kill()
            for _ in range(50):
                may_be_lost.add((world.chain, await world.put("cdc.x.GONE", b"{}")))
                await world.publish(1)
            await world.js.purge_stream(STREAM, subject="cdc.x.GONE")
    if what == "full":
        process.limit_files(0)
        await process.until(lambda said: "full" in said["reasons"].get("disk", ""))
        process.limit_files(1 << 40)
        await archives_more(world, chance.random())
