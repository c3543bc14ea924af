"""NATS is down for an hour while the database is written to (make cdc-outage).

Its length is CDC_OUTAGE_SECONDS (60 in `make test-slow`).
"""

import asyncio
import os
import time
from dataclasses import dataclass, fields
from typing import Any

import aiohttp
import psutil
import pytest

from ssmd_stack.ports import free_port

SECONDS = float(os.environ.get("CDC_OUTAGE_SECONDS", "60"))
SAMPLES = 60
ROWS_PER_SECOND = 50
WINDOW = 1000
ANNOUNCED = 13
"""Messages of the first announcement: begin and end of six tables, and the default fees."""
GROWTH_MB = 16.0
"""From the outage's start: one window of messages, whatever waits in PostgreSQL."""


@dataclass(frozen=True)
class Sample:
    """What the publisher holds at one moment."""

    memory_mb: float
    files: int
    threads: int
    cpu_seconds: float


def sample(process: psutil.Process) -> Sample:
    times = process.cpu_times()
    return Sample(
        memory_mb=process.memory_info().rss / 2**20,
        files=process.num_fds(),
        threads=process.num_threads(),
        cpu_seconds=times.user + times.system,
    )


async def write_rows(bench: Any, seconds: float) -> int:
    """Five transactions a second; how many rows they wrote."""
    rows = ROWS_PER_SECOND // 5
    began, written = time.monotonic(), 0
    async with bench.database.connect() as db:
        while (past := time.monotonic() - began) < seconds:
            if written > past * ROWS_PER_SECOND:
                await asyncio.sleep(0.02)
                continue
            await db.execute(
                "INSERT INTO series (ticker, title) SELECT 'O' || g, repeat('x', 300)"
                " FROM generate_series(%s::bigint, %s) g",
                (written + 1, written + rows),
            )
            written += rows
    return written


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 240)
async def test_an_hour_without_nats_is_bounded_memory_and_no_loss(bench: Any) -> None:
    port = free_port()
    running = await bench.process(
        OPS_PORT=str(port), OPS_HOST="127.0.0.1", CDC_WINDOW_MESSAGES=str(WINDOW)
    )
    try:
        await bench.until_sequence(ANNOUNCED)
        process = psutil.Process(running.pid)
        before = sample(process)
        await bench.nats_server.stop()
        writing = asyncio.create_task(write_rows(bench, SECONDS))
        samples = []
        for _ in range(SAMPLES):
            await asyncio.sleep(SECONDS / SAMPLES)
            samples.append(sample(process))
        written = await writing
        for column in fields(Sample):
            values = [getattr(one, column.name) for one in samples]
            start = getattr(before, column.name)
            print(f"{column.name}: {start:g}, then {min(values):g} to {max(values):g}")  # noqa: T201
        assert max(one.memory_mb for one in samples) - before.memory_mb < GROWTH_MB
        quarter = SAMPLES // 4
        early, late = samples[:quarter], samples[-quarter:]
        assert min(one.files for one in late) <= max(one.files for one in early)
        assert min(one.threads for one in late) <= max(one.threads for one in early)
        # It says so, and has not given up: the slot is still its own.
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/readyz") as reply,
        ):
            assert reply.status == 503
            assert "nats" in (await reply.json())["reasons"]
        async with bench.database.connect() as db:
            slot = await db.execute(
                "SELECT active_pid IS NOT NULL, wal_status FROM pg_replication_slots"
                " WHERE slot_name = %s",
                (bench.slot,),
            )
            assert (await slot.fetchone())[0]
        await bench.nats_server.start()
        async with asyncio.timeout(SECONDS + 60):
            while await bench.last_sequence() < ANNOUNCED + written:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        assert running.returncode is None
        # The connection, too, is back as it was.
        print(f"{written} rows waited; {sample(process)}")  # noqa: T201 - what the run is for
    finally:
        if running.returncode is None:
            running.terminate()
        assert await running.wait() == 0
    publisher = bench.start()
    stream = await bench.assert_faithful(publisher)
    assert stream.epochs == {1}
    assert len(stream.bodies) == ANNOUNCED + written
