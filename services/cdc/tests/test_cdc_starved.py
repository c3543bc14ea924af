"""A publisher that seldom gets its turn: late itself, it blames nobody, and gets there."""

import asyncio
import itertools
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from ssmd_cdc import kept_connection, metrics
from ssmd_stack.process import Process
from ssmd_stream.publish import wire

ROWS = 5_000
PATIENCE_SECONDS = 240.0
"""It gets a part of what a loaded machine gives."""

ON_SECONDS = 0.05


@asynccontextmanager
async def starved(process: Process, share: float) -> AsyncIterator[None]:
    """It gets that share of the time."""

    async def stop_and_go() -> None:
        while True:
            process.send(signal.SIGSTOP)
            await asyncio.sleep(ON_SECONDS / share - ON_SECONDS)
            process.send(signal.SIGCONT)
            await asyncio.sleep(ON_SECONDS)

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
    # The shortest that libpq knows: what is slow here is not the server.
    url = settings["DATABASE_URL"]
    settings["DATABASE_URL"] = f"{url}{'&' if '?' in url else '?'}connect_timeout=2"
    return Process([sys.executable, "-m", "ssmd_cdc"], log=log, env=settings)


def told(publisher: Any) -> str:
    return publisher.health.conditions.get("postgres") or ""


def assert_undisturbed(log: Path) -> None:
    text = log.read_text()
    for word in ("session ended", "publishing interrupted", "beside the stream"):
        assert word not in text, text


@pytest.mark.timeout(900)
async def test_it_makes_progress_without_ending_a_session(bench: Any, tmp_path: Path) -> None:
    log = tmp_path / "starved.log"
    process = launch(bench, log)
    try:
        await bench.until_sequence(bench.ANNOUNCED, PATIENCE_SECONDS)
        async with starved(process, 0.1), bench.database.connect() as db:
            for number in range(ROWS // 1000):
                await db.execute(
                    "INSERT INTO series (ticker) SELECT %s || g FROM generate_series(1, 1000) g",
                    (f"S{number}-",),
                )
            await bench.until_sequence(bench.ANNOUNCED + ROWS, PATIENCE_SECONDS)
        assert_undisturbed(log)
    finally:
        await process.stop()


@pytest.mark.timeout(600)
async def test_it_starts_and_goes_on_where_the_stream_ends(bench: Any, tmp_path: Path) -> None:
    log = tmp_path / "first.log"
    process = launch(bench, log)
    await bench.until_sequence(bench.ANNOUNCED, PATIENCE_SECONDS)
    await bench.insert(1)
    await bench.until_sequence(bench.ANNOUNCED + 1)
    await process.stop()
    await bench.insert(1, "T")
    log = tmp_path / "second.log"
    process = launch(bench, log)
    try:
        started = psutil.Process(process.pid)
        async with starved(process, 0.25):
            await bench.until_sequence(bench.ANNOUNCED + 2, PATIENCE_SECONDS)
            spent = sum(started.cpu_times()[:2])
        # Seconds of its own, whatever the clock says; of these most are Python's imports.
        assert spent < 5
        assert_undisturbed(log)
    finally:
        await process.stop()


async def test_beside_a_stream_that_flows_a_statement_may_hang(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_connection, "STATEMENT_SECONDS", 0.3)
    publisher = bench.start()
    await publisher.ready()
    restarts = metrics.RESTARTS.labels("postgres")._value.get()
    async with bench.database.connect() as db:
        async with db.transaction():
            # Only its memory, which heartbeats wait for in turn.
            await db.execute("LOCK TABLE cdc_state")
            await bench.insert(5)
            await publisher.until(lambda p: "although changes flow" in told(p))
            # In the stream all the same, and longer than many deadlines.
            await bench.until_sequence(bench.ANNOUNCED + 5)
            for number in range(4):
                await asyncio.sleep(0.5)
                await bench.insert(1, f"L{number}")
                await bench.until_sequence(bench.ANNOUNCED + 6 + number)
            assert metrics.RESTARTS.labels("postgres")._value.get() == restarts
        await publisher.ready()
        assert not told(publisher)
    await bench.assert_faithful(publisher)
    assert metrics.RESTARTS.labels("postgres")._value.get() == restarts


async def test_its_connections_are_kept(bench: Any) -> None:
    publisher = bench.start()
    await publisher.ready()

    async def backends() -> list[Any]:
        async with bench.database.connect() as db:
            cursor = await db.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'ssmd-cdc%'"
                " AND datname = current_database() ORDER BY pid"
            )
            return await cursor.fetchall()

    before = await backends()
    assert len(before) == 2
    seen = publisher.health._beat
    for _ in range(4):
        mark = metrics.HEARTBEAT_SECONDS._value.get()
        await publisher.until(lambda p: metrics.HEARTBEAT_SECONDS._value.get() != mark)  # noqa: B023
    assert publisher.health._beat > seen
    assert await backends() == before


async def test_an_answer_that_waits_while_we_are_away_is_not_overdue(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = bench.start(cdc_ack_seconds=0.5, cdc_wal_sender_timeout_seconds=30)
    await publisher.ready()
    publish = wire.Wire.flush
    paused = 0

    def publish_and_pause(self: Any) -> None:
        nonlocal paused
        sends = bool(self._frames)
        publish(self)
        if sends and paused < 5:
            paused += 1
            # Nothing runs here meanwhile, as if the process was stopped.
            time.sleep(1.2)

    monkeypatch.setattr(wire.Wire, "flush", publish_and_pause)
    async with asyncio.timeout(PATIENCE_SECONDS):
        # How many rows go out together is not ours to say.
        for number in itertools.count():
            if paused == 5:
                break
            await bench.insert(1, f"P{number}-")
    await bench.assert_faithful(publisher)
    assert publisher.health.last_error is None
