"""A database that lives on elsewhere or otherwise than the stream remembers it."""

import asyncio
import os
import shutil
import signal
from typing import Any

import psycopg
import pytest
from prometheus_client import REGISTRY

from ssmd_cdc.control import Control
from ssmd_cdc.epoch import decide
from ssmd_cdc.replication import session, wal_reader
from ssmd_stack.cluster import ENVIRONMENT
from ssmd_stack.process import Process
from ssmd_stream.change import parse_lsn

PATIENCE_SECONDS = 180


def began(cause: str) -> float:
    """Epochs begun in this process for that reason."""
    return REGISTRY.get_sample_value("ssmd_cdc_epochs_total", {"cause": cause}) or 0.0


async def admin(server: Any) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(server.admin_url, autocommit=True)


@pytest.mark.embedded
async def test_a_promoted_standby_begins_a_new_epoch(own_server: Any, bench: Any) -> None:
    """What the old primary had published may never have reached it. Until then it is waited for."""
    publisher = bench.start()
    await bench.insert(10)
    await bench.settled(publisher)
    await publisher.stop()
    await own_server.stop()
    (own_server.data_dir / "standby.signal").touch()
    await own_server.start()
    promoted = bench.start()
    await promoted.until(lambda p: "standby" in (p.health.conditions.get("slot") or ""))
    assert not promoted.health.ready
    before = began("other_timeline")
    async with await admin(own_server) as db:
        await db.execute("SELECT pg_promote()")
    await promoted.ready()
    await bench.insert(10, "T")
    stream = await bench.assert_faithful(promoted)
    assert {body["epoch"] for body in stream.bodies} == {1, 2}
    assert began("other_timeline") == before + 1


@pytest.mark.embedded
async def test_a_slot_that_the_server_frees_late_is_waited_for(
    own_server: Any, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection that found out that a new epoch is due holds the old slot until it is gone."""
    publisher = bench.start()
    await bench.insert(10)
    await bench.settled(publisher)
    await publisher.stop()
    async with bench.database.connect() as db:
        await db.execute("UPDATE cdc_state SET system_identifier = '1'")

    def decide_and_stop_the_server_process(*facts: Any) -> Any:
        with psycopg.connect(own_server.admin_url, autocommit=True) as db:
            row = db.execute("SELECT active_pid FROM pg_replication_slots").fetchone()
        assert row is not None
        os.kill(row[0], signal.SIGSTOP)
        asyncio.get_running_loop().call_later(1, os.kill, row[0], signal.SIGCONT)
        return decide(*facts)

    monkeypatch.setattr("ssmd_cdc.verdict.decide", decide_and_stop_the_server_process)
    before = began("other_system")
    again = bench.start()
    await bench.insert(10, "T")
    stream = await bench.assert_faithful(again)
    assert stream.epochs == {1, 2}
    assert began("other_system") == before + 1


async def put_back(own_server: Any, bench: Any) -> None:
    """Publish, and put the database back to a copy of its files from before most of it."""
    publisher = bench.start()
    await bench.insert(10)
    await bench.settled(publisher)
    await publisher.stop()
    await own_server.stop()
    copy = own_server.data_dir.with_name("copy")
    await keep(own_server.data_dir, copy)
    await own_server.start()
    publisher = bench.start()
    await bench.insert(200, "LOST")
    await bench.settled(publisher)
    await publisher.stop()
    await own_server.stop()
    shutil.rmtree(own_server.data_dir)
    await keep(copy, own_server.data_dir)
    await own_server.start()


async def grow(bench: Any) -> None:
    """Past the stream's end, behind which nothing is published."""
    async with bench.database.connect() as db:
        await db.execute("DELETE FROM series WHERE ticker = 'S0'")
        await db.execute(
            "INSERT INTO sync_watermarks SELECT repeat('x', 100) || g, now()"
            " FROM generate_series(1, 10000) g"
        )


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("cause", "later"), [("wal_behind", 10), ("wal_diverged", 10), ("wal_diverged", 0)]
)
async def test_a_database_put_back_to_an_older_copy_begins_a_new_epoch(
    own_server: Any, bench: Any, cause: str, later: int
) -> None:
    """A copy of its files, with the same identifier and timeline: its WAL is behind the stream, or
    has grown past it by now and says something else.
    """
    await put_back(own_server, bench)
    before = began(cause)
    if cause == "wal_diverged":
        await grow(bench)
    restored = bench.start()
    await bench.insert(later, "T")
    stream = await bench.assert_faithful(restored)
    assert {body["epoch"] for body in stream.bodies} == {1, 2}
    assert began(cause) == before + 1


@pytest.mark.embedded
async def test_a_session_that_only_hears_how_far_the_wal_is_hides_nothing_from_the_next(
    own_server: Any, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was put back and has grown, and the session ends before any commit comes."""
    await put_back(own_server, bench)
    await grow(bench)
    async with bench.database.connect() as db:
        row = await (await db.execute("SELECT pg_current_wal_lsn()")).fetchone()
    assert row is not None
    grown, told = parse_lsn(row[0]), asyncio.Event()
    keepalive, feedback, heard = wal_reader.keepalive, session.Replication.feedback, 0

    def hear(frame: Any) -> tuple[int, bool]:
        nonlocal heard
        heard = max(heard, keepalive(frame)[0])
        return keepalive(frame)

    def tell(replication: Any, lsn: int, *, ask: bool = False) -> None:
        feedback(replication, lsn, ask=ask)
        if heard >= grown:
            told.set()

    async def write_no_mark(*_: Any) -> None:
        pass

    monkeypatch.setattr(wal_reader, "keepalive", hear)
    monkeypatch.setattr(session.Replication, "feedback", tell)
    monkeypatch.setattr(Control, "emit_heartbeat", write_no_mark)
    deaf = bench.start()
    for _ in range(3):
        # What was told in the same turn of the loop may be what was so before.
        told.clear()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await told.wait()
    await deaf.stop()
    monkeypatch.undo()
    before = began("wal_diverged")
    stream = await bench.assert_faithful(bench.start())
    assert stream.epochs == {1, 2}
    assert began("wal_diverged") == before + 1


async def test_a_slot_confirmed_short_of_the_tail_goes_on(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The feedback lagged: the tail's own transaction comes again, after others, before marks."""
    publisher = bench.start()
    await bench.insert(10)
    await bench.settled(publisher)
    monkeypatch.setattr(session.Replication, "feedback", lambda *_, **__: None)
    before = await bench.last_sequence()
    await bench.insert(10, "T")
    await bench.until_sequence(before + 10)
    await publisher.kill()
    monkeypatch.undo()
    again = bench.start()
    await again.ready()
    stream = await bench.assert_faithful(again)
    assert stream.epochs == {1}
    assert again.health.last_error is None


async def keep(source: Any, target: Any) -> None:
    # With its owner, who is another where the tests run as root.
    copying = await asyncio.create_subprocess_exec("cp", "-a", source, target)
    assert await copying.wait() == 0


@pytest.mark.embedded
async def test_transaction_ids_wrap_around(own_server: Any, bench: Any) -> None:
    """The server counts to 2**32 and begins anew; the stream counts on."""
    await freeze(own_server)
    await own_server.stop()
    near = 2**32 - 100
    # 8,192 bytes a page, 4 ids a byte, 32 pages a file.
    status = own_server.data_dir / "pg_xact" / f"{near // (8192 * 4 * 32):04X}"
    await program(own_server, "cp", "pg_xact/0000", f"pg_xact/{status.name}")
    await program(own_server, "truncate", "-s", "0", f"pg_xact/{status.name}")
    await program(own_server, "truncate", "-s", str(8192 * 32), f"pg_xact/{status.name}")
    await program(own_server, own_server.bin_dir / "pg_resetwal", "-e", "3", "-x", str(near), ".")
    await own_server.start()
    publisher = bench.start()
    await publisher.ready()
    said: dict[str, int] = {}
    async with bench.database.connect() as db:
        for number in range(200):
            row = await (
                await db.execute(
                    "INSERT INTO series (ticker) VALUES (%s)"
                    " RETURNING ticker, pg_current_xact_id()::text::bigint",
                    (f"S{number}",),
                )
            ).fetchone()
            assert row is not None
            said[row[0]] = row[1]
    assert min(said.values()) < 4 << 32 < max(said.values())
    stream = await bench.assert_faithful(publisher)
    assert {b["ticker"]: b["xid"] for b in stream.bodies if b["xid"]} == said


async def freeze(server: Any) -> None:
    """Then no row depends on the ids that are skipped."""
    async with await admin(server) as db:
        names = await (
            await db.execute("SELECT datname FROM pg_database WHERE datallowconn")
        ).fetchall()
        for (name,) in names:
            async with await psycopg.AsyncConnection.connect(
                server.admin_url_of(name), autocommit=True
            ) as there:
                await there.execute("VACUUM FREEZE")


async def program(server: Any, *arguments: Any) -> None:
    """Run as the account that owns the data, in its directory."""
    process = Process(
        list(arguments),
        log=server.home / "program.log",
        cwd=server.data_dir,
        account=server._user,
        env=ENVIRONMENT,
    )
    assert await process.wait() == 0, process.tail()
