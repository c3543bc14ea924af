"""`service_status`: what a process says of itself, and that saying it never gets in its way."""

import asyncio
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from ssmd_common import postgreswatch, reporter
from ssmd_common.health import Health
from ssmd_common.metrics import LAG_SECONDS, STATUS_WRITE_FAILURES, WORK, total
from ssmd_common.reporter import reporting
from ssmd_stack.postgres import PostgresServer

Rows = list[dict[str, Any]]


async def eventually(look: Callable[[], Awaitable[Any]]) -> Any:
    """The first true value of an async look."""
    async with asyncio.timeout(180):
        while not (found := await look()):  # noqa: ASYNC110 - it asks a database
            await asyncio.sleep(0.05)
        return found


async def rows_of(url: str, service: str) -> Rows:
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row) as connection:
        cursor = await connection.execute(
            "SELECT *, clock_timestamp() - updated_at AS age FROM service_status"
            " WHERE service = %s ORDER BY started_at",
            (service,),
        )
        return await cursor.fetchall()


async def test_a_service_tells_how_it_is_and_each_change_at_once(database: Any) -> None:
    # What another test of this process has measured.
    LAG_SECONDS.set(math.nan)
    health = Health("cdc")
    health.set("slot", "the slot is not taken yet")

    async def row() -> dict[str, Any]:
        found = await rows_of(database.url, "cdc")
        return found[0] if found else {}

    async with reporting(health, SecretStr(database.url)):
        first = await eventually(row)
        assert (first["state"], first["ready"]) == ("starting", False)
        assert first["reasons"] == {"slot": "the slot is not taken yet"}
        assert first["lag_seconds"] is None, "it has not said"
        assert first["version"] == "0.1.0"
        assert first["memory_bytes"] is None or first["memory_bytes"] > 1_000_000
        assert first["system_identifier"]
        assert first["timeline"] == 1
        health.state = "leading"
        health.set("slot", None)
        health.degrade("disk", "nearly full")
        health.position |= {"epoch": 3, "commit_time": datetime(2026, 11, 28, tzinfo=UTC)}
        health.lag_seconds = 0.25
        WORK.inc(7)

        async def changed() -> dict[str, Any]:
            found = await row()
            return found if found["state"] == "leading" else {}

        second = await eventually(changed)
        # Sooner than the next regular write.
        told_within = (second["updated_at"] - first["updated_at"]).total_seconds()
        assert second["ready"]
        assert (second["reasons"], second["degraded"]) == ({}, {"disk": "nearly full"})
        assert second["position"] == {"epoch": 3, "commit_time": "2026-11-28T00:00:00Z"}
        assert second["lag_seconds"] == 0.25
        assert second["work"] >= 7
        assert second["started_at"] == first["started_at"]
        assert told_within > 0

        async def again() -> bool:
            return (await row())["updated_at"] > second["updated_at"]

        await eventually(again)
        # It does not know any more, whatever the gauge still has.
        LAG_SECONDS.set(0.25)
        health.lag_seconds = None
        health.ended(None)
    LAG_SECONDS.set(math.nan)
    last = await row()
    assert last["lag_seconds"] is None
    assert (last["state"], last["ready"]) == ("stopped", False)
    assert last["instance"] == first["instance"]


@pytest.mark.slow
async def test_updates_touch_no_index_and_leave_the_change_stream_alone(database: Any) -> None:
    health = Health("sync")
    async with reporting(health, SecretStr(database.url)), database.connect() as connection:
        for number in range(12):
            health.set("round", f"number {number}")

            async def told(number: int = number) -> bool:
                found = await rows_of(database.url, "sync")
                return bool(found) and found[0]["reasons"].get("round") == f"number {number}"

            await eventually(told)

        async def counted() -> tuple[int, int]:
            await connection.execute("SELECT pg_stat_clear_snapshot()")
            cursor = await connection.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
                " WHERE relname = 'service_status'"
            )
            return await cursor.fetchone() or (0, 0)

        async def enough() -> tuple[int, int] | None:
            found = await counted()
            return found if found[0] >= 11 else None

        updated, hot = await eventually(enough)
        assert hot == updated
        published = await connection.execute(
            "SELECT count(*) FROM pg_publication_tables WHERE tablename = 'service_status'"
        )
        assert await published.fetchone() == (0,)


async def test_what_postgresql_cannot_hold_is_written_without_it(database: Any) -> None:
    health = Health("sync")
    health.set("exchange", "bad\x00byte \ud800 and a \\u0000 that is only text" + "x" * 5000)
    health.position |= {"nan": float("nan"), "job\x00": {"deep": ["\x00", object()]}}
    health.failed("run", "no\x00t good")
    async with reporting(health, SecretStr(database.url)):
        found = await eventually(lambda: rows_of(database.url, "sync"))
    reason = found[0]["reasons"]["exchange"]
    assert reason.startswith("badbyte ? and a \\u0000 that is only text")
    assert len(reason) <= 500
    assert found[0]["position"]["nan"] is None
    assert found[0]["last_error"] == "not good"


async def test_two_replicas_are_two_rows_and_the_dead_are_forgotten(database: Any) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO service_status SELECT 'api', 'old:' || n, 'old', n, 'serving', true, '{}',"
            " '{}', '{}', NULL, 0, NULL, 0, NULL, NULL, NULL, '0', NULL, NULL, now(),"
            " now() - n * interval '2 minutes' FROM generate_series(1, 40) AS n"
        )
        await connection.execute(
            "INSERT INTO service_status SELECT service, instance, host, pid, state, ready, reasons,"
            " degraded, position, NULL, 0, NULL, 0, NULL, NULL, NULL, '0', NULL, NULL, started_at,"
            " now() - interval '3 days' FROM (SELECT 'gone' AS service, 'last' AS instance, host,"
            " pid, state, ready, reasons, degraded, position, started_at FROM service_status"
            " LIMIT 1) AS one"
        )
    url = SecretStr(database.url)
    async with reporting(Health("api"), url), reporting(Health("api"), url):

        async def tidied() -> Rows:
            found = await rows_of(database.url, "api")
            live = [row for row in found if not row["instance"].startswith("old")]
            return found if len(live) == 2 and len(found) <= 22 else []

        found = await eventually(tidied)
        assert len({row["instance"] for row in found}) == len(found)
    assert len(await rows_of(database.url, "gone")) == 1, "the last word of a service stays"


async def test_without_the_table_a_service_runs_and_says_so(empty_database: Any) -> None:
    health = Health("sync")
    health.set("postgres", None)
    before = total(STATUS_WRITE_FAILURES)
    async with reporting(health, SecretStr(empty_database.url)):

        async def degraded() -> bool:
            return "service_status" in health.degraded

        await eventually(degraded)
        assert "ssmd db migrate" in health.degraded["service_status"]
        assert health.ready
        assert total(STATUS_WRITE_FAILURES) > before


async def test_a_role_that_may_not_write_is_degraded_not_dead(database: Any) -> None:
    async with database.connect() as connection:
        await connection.execute("REVOKE ALL ON service_status FROM CURRENT_USER")
        health = Health("sync")
        health.set("postgres", None)
        async with reporting(health, SecretStr(database.url)):

            async def denied() -> bool:
                return "permission denied" in health.degraded.get("service_status", "")

            await eventually(denied)
            assert health.ready
            await connection.execute("GRANT ALL ON service_status TO CURRENT_USER")

            async def well() -> bool:
                return not health.degraded

            await eventually(well)


@pytest.mark.slow
async def test_a_server_that_is_not_there_is_told_and_is_no_hindrance(
    private_postgres: Any,
) -> None:
    health = Health("sync")
    health.set("postgres", None)
    async with reporting(health, SecretStr(private_postgres.url)):
        await eventually(lambda: rows_of(private_postgres.url, "sync"))
        await private_postgres.kill()

        async def told() -> bool:
            return not health.ready

        await eventually(told)
        assert "PostgreSQL does not answer" in (health.conditions["postgres"] or "")
        await private_postgres.start()

        async def well() -> bool:
            return health.ready

        await eventually(well)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is asked more often, and sooner taken for silent and its connection for lost."""
    monkeypatch.setattr(reporter, "WRITE_SECONDS", 0.5)
    monkeypatch.setattr(postgreswatch, "SILENT_SECONDS", 2.0)
    monkeypatch.setattr(postgreswatch, "LOST_SECONDS", 4.0)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_a_frozen_server_is_told_and_taken_back(
    private_postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(private_postgres, PostgresServer):
        pytest.skip("only a server of our own can be frozen")
    given_up = asyncio.Event()
    cut_off = reporter.Reporter.cut_off

    def cut_off_and_tell(self: reporter.Reporter) -> None:
        cut_off(self)
        given_up.set()

    monkeypatch.setattr(reporter.Reporter, "cut_off", cut_off_and_tell)
    fine, early, knows = Health("sync"), Health("sync"), Health("sync")
    fine.set("postgres", None)
    knows.set("postgres", "the service said this")
    url = SecretStr(private_postgres.url)
    loop = asyncio.get_running_loop()
    async with reporting(fine, url), reporting(early, url), reporting(knows, url):

        async def all_there() -> bool:
            return len(await rows_of(private_postgres.url, "sync")) == 3

        await eventually(all_there)
        with private_postgres.frozen():

            async def told() -> bool:
                return not fine.ready and "postgres" in early.conditions

            await eventually(told)
            async with asyncio.timeout(180):
                await given_up.wait()
        assert knows.conditions["postgres"] == "the service said this"

        async def well() -> bool:
            return fine.ready and "postgres" not in early.conditions

        await eventually(well)
        with private_postgres.frozen():
            before = loop.time()
            # The end does not wait for it either: left with the server still frozen.
            await asyncio.sleep(0.3)
            async with reporting(Health("late"), url):
                pass
            assert loop.time() - before < 40


@pytest.mark.usefixtures("impatient")
async def test_what_we_are_late_by_is_no_silence_of_the_server(database: Any) -> None:
    health = Health("sync")
    health.set("postgres", None)
    async with reporting(health, SecretStr(database.url)):
        await eventually(lambda: rows_of(database.url, "sync"))
        # Its answer has been noticed, and the next one is not due yet.
        await asyncio.sleep(0.3)
        # Nobody runs in the loop for longer than the server may be silent.
        time.sleep(postgreswatch.SILENT_SECONDS + 1)  # noqa: ASYNC251
        for _ in range(200):
            await asyncio.sleep(0.005)
            assert health.ready


SERVICE = """
import os, sys
from ssmd_common.errors import SsmdError
from ssmd_common.runtime import Runtime, run
from ssmd_common.settings import PostgresSettings

async def serve(runtime: Runtime, settings: PostgresSettings) -> None:
    if os.environ["MODE"] == "fails":
        raise SsmdError("the filter is no YAML: mend line 3")
    runtime.health.set("loop", None)
    runtime.health.state = "working"
    await runtime.stop.wait()

sys.exit(run("example", PostgresSettings, serve))
"""


def start(url: str, mode: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVICE)],
        stdout=subprocess.PIPE,
        text=True,
        # The rest is for a moved clock, which the server has, too (tests/dates.py).
        env={
            **os.environ,
            "DATABASE_URL": url,
            "OPS_PORT": "0",
            "OPS_HOST": "127.0.0.1",
            "MODE": mode,
        },
    )


async def test_how_a_process_ended_is_in_its_row(database: Any) -> None:
    async def working() -> Rows:
        return [row for row in await rows_of(database.url, "example") if row["ready"]]

    process = start(database.url, "works")
    try:
        await eventually(working)
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 0
        [row] = await rows_of(database.url, "example")
        assert (row["state"], row["ready"]) == ("stopped", False)
    finally:
        process.kill()

    process = start(database.url, "fails")
    await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 1
    row = (await rows_of(database.url, "example"))[-1]
    assert (row["state"], row["ready"]) == ("failed", False)
    assert row["reasons"] == {"running": "the filter is no YAML: mend line 3"}

    process = start(database.url, "works")
    await eventually(working)
    process.kill()
    await asyncio.to_thread(process.communicate, timeout=60)

    async def old() -> bool:
        row = (await rows_of(database.url, "example"))[-1]
        assert row["ready"], "it said nothing more"
        return bool(row["age"].total_seconds() > 2 * reporter.WRITE_SECONDS)

    await eventually(old)
