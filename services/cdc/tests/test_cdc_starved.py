"""A publisher that seldom gets its turn: late itself, it blames nobody, and gets there."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from ssmd_stack.process import Process

ROWS = 10_000
LONG_SECONDS = 6.0
"""Longer than any connection attempt, ping or answer may take."""


@asynccontextmanager
async def starved(process: Process, share: float) -> AsyncIterator[None]:
    """It gets that share of the time, and now and then nothing for long."""

    async def stop_and_go() -> None:
        turn = 0
        while True:
            process.send(signal.SIGSTOP)
            await asyncio.sleep(LONG_SECONDS if turn == 4 else 0.05 / share - 0.05)
            process.send(signal.SIGCONT)
            await asyncio.sleep(0.05)
            turn += 1

    task = asyncio.create_task(stop_and_go())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        process.send(signal.SIGCONT)


def launch(bench: Any, log: Path) -> Process:
    # PostgreSQL goes by its own clock when it frees the slot of who is silent.
    settings = bench.environment(CDC_WAL_SENDER_TIMEOUT_SECONDS="60", CDC_READY_LAG_SECONDS="600")
    return Process([sys.executable, "-m", "ssmd_cdc"], log=log, env=settings)


def assert_undisturbed(log: Path) -> None:
    text = log.read_text()
    for word in ("session ended", "publishing interrupted", "beside the stream"):
        assert word not in text, text


async def test_it_makes_progress_without_ending_a_session(bench: Any, tmp_path: Path) -> None:
    log = tmp_path / "starved.log"
    process = launch(bench, log)
    try:
        await bench.until_sequence(bench.ANNOUNCED)
        async with starved(process, 0.1), bench.database.connect() as db:
            for number in range(ROWS // 1000):
                await db.execute(
                    "INSERT INTO series (ticker) SELECT %s || g FROM generate_series(1, 1000) g",
                    (f"S{number}-",),
                )
            await bench.until_sequence(bench.ANNOUNCED + ROWS)
        assert_undisturbed(log)
    finally:
        await process.stop()


async def test_it_starts_and_goes_on_where_the_stream_ends(bench: Any, tmp_path: Path) -> None:
    log = tmp_path / "first.log"
    process = launch(bench, log)
    await bench.until_sequence(bench.ANNOUNCED)
    await bench.insert(1)
    await bench.until_sequence(bench.ANNOUNCED + 1)
    await process.stop()
    await bench.insert(1, "T")
    log = tmp_path / "second.log"
    process = launch(bench, log)
    try:
        started = psutil.Process(process.pid)
        async with starved(process, 0.25):
            await bench.until_sequence(bench.ANNOUNCED + 2)
            spent = sum(started.cpu_times()[:2])
        # Seconds of its own, whatever the clock says; of these most are Python's imports.
        assert spent < 5
        assert_undisturbed(log)
    finally:
        await process.stop()
