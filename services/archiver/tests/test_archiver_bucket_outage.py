"""The bucket is away for an hour while the archiver goes on (make bucket-outage).

Its length is BUCKET_OUTAGE_SECONDS (60 in `make test-slow`).
"""

import asyncio
import os
import secrets
import time
from contextlib import AsyncExitStack
from statistics import median
from typing import Any

import aiohttp
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from s3_server import S3Server

from ssmd_archive.bucket import Bucket

from .conftest import Process, World, eventually
from .test_archiver_bucket import has_all, require_same, sealed

SECONDS = float(os.environ.get("BUCKET_OUTAGE_SECONDS", "60"))
A_SECOND = 100
GROWTH = 10e6
"""Bytes from the second quarter to the last, whatever waits on the disk."""


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 600)
async def test_an_hour_without_the_bucket_costs_nothing_but_its_files_disk(
    world: World, s3: S3Server
) -> None:
    prefix = f"outage/{secrets.token_hex(6)}"
    bucket = Bucket(s3.settings(archiver_bucket_prefix=prefix))
    given = s3.environment(archiver_bucket_prefix=prefix, archiver_rotate_seconds=5)
    given |= {"archiver_upload_seconds": 0.1, "archiver_flush_seconds": 1}
    settings = {name.upper(): str(value) for name, value in given.items()}
    memory: list[float] = []
    asked = 0.0
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(world.process(**settings))
        await sealed(world)
        await has_all(world, bucket)
        await s3.kill()
        began = time.monotonic()
        killed = False
        while (lasted := time.monotonic() - began) < SECONDS:
            await world.publish(A_SECOND)
            if not killed and lasted > SECONDS / 4:
                # A new process does not know how long the bucket has been away.
                killed, asked = True, await failures(running)
                await running.kill()
                running = await stack.enter_async_context(world.process(**settings))
                await ready(running)
            memory.append(float(psutil.Process(running.child.pid).memory_info().rss))
            await asyncio.sleep(max(0.0, 1 - (time.monotonic() - began - lasted)))
        await world.caught_up()
        document = await running.document()
        assert document["ready"], document
        assert "sealed files are not uploaded, and stay here" in document["degraded"]["bucket"]
        asked += await failures(running)
        await s3.start()
        await has_all(world, bucket)
        await require_same(world, bucket)

        async def content() -> bool:
            return "bucket" not in (await running.document()).get("degraded", {})

        await eventually(content, lambda: "the bucket is there, and it is still degraded")
        assert world.archive(whole=False).messages.items() >= world.published.items()
    quarters = memory[len(memory) // 4 : len(memory) // 2], memory[-len(memory) // 4 :]
    second, last = (median(part) for part in quarters)
    print(  # noqa: T201 - what the run is for
        f"{lasted:,.0f} s; {len(world.published):,} messages; asked {asked:.0f} times; "
        f"{max(memory) / 1e6:.0f} MB at most, medians {second / 1e6:.1f} and {last / 1e6:.1f}"
    )
    # Each process asks a few times soon, then once a minute; a pause has half a minute at least.
    assert 0 < asked <= 2 * 10 + lasted / 30
    if len(memory) >= 240:
        assert last - second <= GROWTH


async def ready(running: Process) -> None:
    async def so() -> bool:
        return bool((await running.document()).get("ready"))

    await eventually(so, lambda: "the archiver is not ready")


async def failures(running: Process) -> float:
    """Rounds of uploading that failed."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{running.port}/metrics") as reply,
    ):
        text = await reply.text()
    samples: list[Any] = [s for f in text_string_to_metric_families(text) for s in f.samples]
    return float(sum(s.value for s in samples if s.name == "ssmd_archiver_upload_failures_total"))
