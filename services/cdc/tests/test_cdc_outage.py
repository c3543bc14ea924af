"""NATS is down for an hour while the database is written to (make cdc-outage).

Its length is CDC_OUTAGE_SECONDS (60 in `make test-slow`).
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp
import psutil
import pytest

from ssmd_common.exitcodes import ExitCode
from ssmd_stack.ports import free_port

SECONDS = float(os.environ.get("CDC_OUTAGE_SECONDS", "60"))
ROWS = 180_000
"""As many whatever the length, so that to keep them would show: 300 MB."""
GROWTH_MB = 64.0
"""What a window of messages and catching up may take; what waited, kept, would be far more."""


class Supervised:
    """`ssmd-cdc` as a supervisor keeps it: one that gives the outage up (4) is started again."""

    def __init__(self, bench: Any) -> None:
        self._bench = bench
        self._port = free_port()
        self.starts = 0
        self.memory_mb: list[float] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        keeping = asyncio.create_task(self._keep())
        try:
            yield self
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
            if self._process.returncode is None:
                self._process.terminate()
            assert await self._process.wait() == ExitCode.OK

    async def readiness(self) -> int:
        """The status of /readyz; 0 while it is being started, or stands by."""
        url = f"http://127.0.0.1:{self._port}/readyz"
        async with aiohttp.ClientSession() as session:
            try:
                async with session.get(url) as reply:
                    stands_by = (await reply.json())["state"] == "standby"
                    return 0 if stands_by else reply.status
            except aiohttp.ClientError:
                return 0

    async def _keep(self) -> None:
        while True:
            self.starts += 1
            self._process = await self._bench.process(
                OPS_PORT=str(self._port), OPS_HOST="127.0.0.1", CDC_WINDOW_MESSAGES="1000"
            )
            process = psutil.Process(self._process.pid)
            while self._process.returncode is None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.memory_mb.append(process.memory_info().rss / 2**20)
                await asyncio.sleep(0.5)
            assert self._process.returncode == ExitCode.UPSTREAM


async def write_rows(bench: Any) -> None:
    """A hundred in a transaction, spread over the outage."""
    began, written = time.monotonic(), 0
    async with bench.database.connect() as db:
        while written < ROWS:
            await asyncio.sleep(max(began + written / ROWS * SECONDS - time.monotonic(), 0))
            await db.execute(
                "INSERT INTO series (ticker, title) SELECT 'O' || g, repeat('x', 300)"
                " FROM generate_series(%s::bigint, %s) g",
                (written + 1, written + 100),
            )
            written += 100


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 1200)
async def test_an_hour_without_nats_is_bounded_memory_and_no_loss(bench: Any) -> None:
    async with Supervised(bench).running() as cdc:
        await bench.until_sequence(bench.ANNOUNCED)
        before = max(cdc.memory_mb)
        await bench.nats_server.stop()
        await write_rows(bench)
        async with asyncio.timeout(180):
            while (status := await cdc.readiness()) == 0:  # noqa: ASYNC110 - it asks a process
                await asyncio.sleep(0.1)
        assert status == 503
        during = max(cdc.memory_mb)
        await bench.nats_server.start()
        async with asyncio.timeout(SECONDS + 600):
            while await bench.last_sequence() < bench.ANNOUNCED + ROWS:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        print(  # noqa: T201 - what the run is for
            f"{ROWS} rows waited; started {cdc.starts} times; at most {before:.0f} MB before,"
            f" {during:.0f} MB while NATS was away, {max(cdc.memory_mb):.0f} MB after it"
        )
        assert max(cdc.memory_mb) < before + GROWTH_MB
    publisher = bench.start()
    stream = await bench.assert_faithful(publisher)
    assert stream.epochs == {1}
    assert len(stream.bodies) == bench.ANNOUNCED + ROWS
