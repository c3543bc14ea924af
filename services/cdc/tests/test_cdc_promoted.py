"""A standby that is promoted: on which server the publisher is, and whether its stream goes on."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from prometheus_client import REGISTRY

from ssmd_cdc.control import Control
from ssmd_cdc.replication.heartbeat import Heartbeats
from ssmd_stack.database import Database
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.proxy import TcpProxy
from ssmd_stack.standby import FAILOVER, FAILOVER_SLOT, promote, standby_of
from ssmd_stream.change import parse_lsn

# Two servers and a copy are made first.
pytestmark = pytest.mark.timeout(900)

PATIENCE_SECONDS = 180


def count(metric: str, cause: str) -> float:
    return REGISTRY.get_sample_value(f"ssmd_cdc_{metric}_total", {"cause": cause}) or 0.0


async def one(url: str, query: str, *parameters: object) -> Any:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        row = await (await connection.execute(query, parameters)).fetchone()  # type: ignore[arg-type]
    return row and row[0]


async def until(url: str, query: str, *parameters: object) -> None:
    """Until the query's first value is true."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await one(url, query, *parameters):  # noqa: ASYNC110 - it asks a server
            await asyncio.sleep(0.05)


async def alter(server: PostgresServer, *settings: str) -> None:
    async with await psycopg.AsyncConnection.connect(server.admin_url, autocommit=True) as admin:
        for setting in settings:
            await admin.execute(f"ALTER SYSTEM SET {setting}")  # type: ignore[arg-type]
        await admin.execute("SELECT pg_reload_conf()")


def database_of(server: PostgresServer) -> Database:
    return Database("ssmd", server.url, server.admin_url)


@contextlib.asynccontextmanager
async def address_of(primary: PostgresServer, bench: Any) -> AsyncIterator[TcpProxy]:
    """An address that moves; the bench looks at the primary."""
    bench.database = database_of(primary)
    async with TcpProxy(primary.url) as address:
        yield address
        for publisher in bench.publishers:
            if not publisher.task.done():
                await publisher.kill()


async def test_nothing_is_written_beside_a_slot_of_another_server(
    primary: PostgresServer, bench: Any, scratch: Path
) -> None:
    """The address moves while the old primary lives; only the control connection is made anew."""
    async with (
        standby_of(primary, scratch / f"standby-{secrets.token_hex(4)}") as standby,
        address_of(primary, bench) as address,
    ):
        publisher = bench.start(database_url=address.url)
        await bench.insert(10)
        await bench.settled(publisher)
        await promote(standby)
        address.lead_to(standby.url)
        before = count("restarts", "other_server")
        await one(
            primary.admin_url,
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'ssmd-cdc'",
        )
        await publisher.until(lambda p: count("restarts", "other_server") > before)
        bench.database = database_of(standby)
        await publisher.until(lambda p: p.health.ready and p.health.position.get("epoch") == 2)
        await bench.insert(10, "T")
        stream = await bench.assert_faithful(publisher)
        assert stream.epochs == {1, 2}
        memory = "SELECT (epoch, timeline)::text FROM cdc_state"
        assert await one(primary.url, memory) == "(1,1)"
        assert await one(standby.url, memory) == "(2,2)"


async def test_a_session_without_its_marks_ends(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written where the slot does not read; its WAL passes them by."""
    publisher = bench.start()
    await publisher.ready()

    async def elsewhere(control: Control, heartbeats: Heartbeats) -> None:
        mark = heartbeats.mark(asyncio.get_running_loop().time())
        url = bench.database.admin_url.rpartition("/")[0] + "/postgres"
        await one(url, "SELECT pg_logical_emit_message(true, 'ssmd_cdc.heartbeat', %s)", mark)
        heartbeats.wrote(
            mark, parse_lsn(await one(url, "SELECT pg_current_wal_insert_lsn()::text"))
        )

    before = count("restarts", "marks_missing")
    with monkeypatch.context() as patch:
        patch.setattr(Control, "emit_heartbeat", elsewhere)
        await publisher.until(lambda p: count("restarts", "marks_missing") > before)
    await publisher.ready()
    await bench.insert(10)
    assert (await bench.assert_faithful(publisher)).epochs == {1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("holds_back", "drains"),
    [
        pytest.param(True, True, id="in-step"),
        pytest.param(True, False, id="idle"),
        pytest.param(False, True, id="behind"),
    ],
)
async def test_a_copy_of_the_slot_is_continued_where_nothing_is_missing(
    primary: PostgresServer, bench: Any, scratch: Path, holds_back: bool, drains: bool
) -> None:
    """In mid-drain or idle. Where the old primary does not hold changes back until the standby has
    them, some are published that the promoted server never had.
    """
    if int(await one(primary.admin_url, "SHOW server_version_num")) < 170000:
        pytest.skip("failover slots are new in PostgreSQL 17")
    folder = scratch / f"standby-{secrets.token_hex(4)}"
    async with (
        standby_of(primary, folder, FAILOVER) as standby,
        address_of(primary, bench) as address,
    ):
        # A slot that was made before the setting was turned on.
        plain = bench.start(database_url=address.url)
        await plain.ready()
        await plain.stop()
        if holds_back:
            await alter(primary, f"synchronized_standby_slots = '{FAILOVER_SLOT}'")
        settings = {
            "database_url": address.url,
            "cdc_slot_failover": True,
            "cdc_ready_lag_seconds": 1.0,
        }
        publisher = bench.start(**settings)
        await bench.insert(10)
        await bench.settled(publisher)
        # Told to read its settings, the standby looks at once for what to copy.
        await until(
            standby.admin_url,
            "SELECT pg_reload_conf() AND EXISTS (SELECT FROM pg_replication_slots"
            " WHERE synced AND failover AND NOT temporary)",
        )
        if holds_back:
            with standby.frozen():
                await bench.insert(1, "HELD")
                await publisher.until(
                    lambda p: "synchronized_standby_slots" in str(p.health.conditions.get("lag"))
                )
            await publisher.ready()
        else:
            await alter(standby, "primary_conninfo = ''")
            await until(standby.admin_url, "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")
        if drains:
            published = publisher.health.position["stream_sequence"]
            writing = asyncio.create_task(bench.insert(1000, "MID"))
            await publisher.until(lambda p: p.health.position["stream_sequence"] > published + 50)
            await primary.kill()
            with contextlib.suppress(psycopg.Error):
                await writing
        else:
            # Marks have moved the slot on from the last change that is remembered.
            await until(
                standby.url,
                "SELECT confirmed_flush_lsn > lsn + 1000 FROM pg_replication_slots, cdc_state"
                " WHERE slot_name = slot",
            )
            await primary.kill()
        address.lead_to(standby.url)
        before = count("epochs", "other_timeline")
        with structlog.testing.capture_logs() as logs:
            await promote(standby)
            bench.database = database_of(standby)
            await publisher.until(lambda p: p.health.ready)
        await bench.insert(10, "T")
        stream = await bench.assert_faithful(publisher)
        assert stream.epochs == ({1} if holds_back else {1, 2})
        assert count("epochs", "other_timeline") == before + (not holds_back)
        [told] = [line["reason"] for line in logs if line["event"] in ("going on", "new epoch")]
        assert ("has all that was published" if holds_back else "lacks what was published") in told
        assert await one(standby.url, "SELECT timeline FROM cdc_state") == 2
        # The next start has nothing to decide any more.
        await publisher.stop()
        again = bench.start(**settings)
        await bench.insert(1, "AGAIN")
        assert (await bench.assert_faithful(again)).epochs == stream.epochs
