"""Connections that break or go silent, servers that restart, and loads that must fit in memory."""

import asyncio
import os
import random
import re
import signal
from typing import Any

import psutil
import psycopg
import pytest

from ssmd_cdc.control import Control
from ssmd_stack.proxy import TcpProxy
from ssmd_stream import subjects

PATIENCE_SECONDS = 180


@pytest.mark.parametrize("which", ["postgres", "nats"])
async def test_connections_are_cut_again_and_again(bench: Any, which: str) -> None:
    chance = random.Random(7)
    url = bench.database.url if which == "postgres" else bench.nats_server.url
    async with TcpProxy(url) as between:
        name = "database_url" if which == "postgres" else "nats_url"
        publisher = bench.start(**{name: between.url})
        await publisher.ready()
        writing = asyncio.create_task(bench.insert(600))
        for _ in range(8):
            await asyncio.sleep(chance.random() * 0.5)
            between.cut()
        await writing
        stream = await bench.assert_faithful(publisher)
        assert stream.epochs == {1}
        await publisher.stop()


@pytest.mark.slow
async def test_a_lost_node_is_replaced(bench: Any) -> None:
    """Its connections stay open and silent: only the timeouts that it set itself free the slot."""
    async with bench.database.connect() as db:
        # Who sets nothing waits for the server's own.
        await db.execute(f"ALTER DATABASE {bench.database.name} SET wal_sender_timeout = '1h'")
    async with TcpProxy(bench.database.url) as between:
        lost = bench.start(database_url=between.url, cdc_wal_sender_timeout_seconds=3)
        await lost.ready()
        await bench.insert(20)
        standby = bench.start()
        await standby.until(lambda p: p.health.state == "standby")
        between.freeze()
        await bench.insert(20, "T")
        await standby.leading()
        await bench.insert(20, "U")
        stream = await bench.assert_faithful(standby)
        assert stream.epochs == {1}
        await lost.kill()


async def test_a_cancellation_while_a_session_fails_is_not_lost(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.11's TaskGroup prefers its tasks' errors, and cancelling them can take seconds."""
    ending, end = asyncio.Event(), asyncio.Event()

    async def look(_: Control) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await end.wait()

    # What the heartbeat does first.
    monkeypatch.setattr(Control, "look", look)
    publisher = bench.start()
    await publisher.leading()
    async with bench.client() as client:
        await client.jetstream(timeout=60).delete_stream(subjects.STREAM)
    await bench.insert(1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ending.wait()
        publisher.task.cancel()
        end.set()
        await asyncio.wait({publisher.task})
    assert publisher.task.cancelled()


async def test_postgres_crashes(own_server: Any, bench: Any) -> None:
    publisher = bench.start()
    await publisher.ready()
    for round_ in range(2):
        await bench.insert(100, f"R{round_}-")
        await own_server.kill()
        await own_server.start()
    await bench.insert(10)
    stream = await bench.assert_faithful(publisher)
    assert stream.epochs == {1}


@pytest.mark.embedded
async def test_a_stuck_walsender_is_seen(bench: Any) -> None:
    publisher = bench.start(cdc_ready_lag_seconds=1.0)
    await publisher.ready()
    async with bench.database.connect() as db:
        row = await (
            await db.execute(
                "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", (bench.slot,)
            )
        ).fetchone()
        os.kill(row[0], signal.SIGSTOP)
        try:
            await publisher.until(lambda p: "behind" in (p.health.conditions["lag"] or ""))
        finally:
            os.kill(row[0], signal.SIGCONT)
    await publisher.ready()
    await bench.insert(5)
    await bench.assert_faithful(publisher)


async def test_the_stream_fills_its_byte_cap(bench: Any) -> None:
    """The oldest leave; what is published stays in order, and nothing stops."""
    publisher = bench.start(cdc_stream_max_bytes=1 << 20)
    await publisher.ready()
    async with bench.database.connect() as db:
        for number in range(40):
            await db.execute(
                "INSERT INTO series (ticker, title) SELECT %s || g, repeat(md5(g::text), 30)"
                " FROM generate_series(1, 100) g",
                (f"{number}-",),
            )
        await db.execute("INSERT INTO series (ticker) VALUES ('LAST')")
    stream = await bench.settled(publisher)
    assert stream.first > 1
    positions = stream.positions()
    assert positions == sorted(set(positions))
    assert stream.bodies[-1]["ticker"] == "LAST"
    assert stream.epochs == {1}


async def test_a_busy_neighbour_does_not_hold_back_the_slot(
    bench: Any, postgres_server: Any
) -> None:
    """Another database of the same server writes; ours is idle, and its slot moves all the same."""
    # No mark of its own helps: what moves it is the server's word that there is nothing for us.
    publisher = bench.start(cdc_heartbeat_seconds=60, cdc_wal_sender_timeout_seconds=3)
    await publisher.ready()
    async with await psycopg.AsyncConnection.connect(
        postgres_server.admin_url, autocommit=True
    ) as other:
        await other.execute("CREATE TEMP TABLE busy (t text)")
        await other.execute("SELECT pg_logical_emit_message(false, 'busy', repeat('x', 20000000))")
        await bench.settled(publisher)
        # Nor the WAL that the server keeps for it, once it has noted where decoding may begin.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                await other.execute("CHECKPOINT")
                kept = await other.execute(
                    "SELECT pg_current_wal_lsn() - restart_lsn FROM pg_replication_slots"
                    " WHERE slot_name = %s",
                    (bench.slot,),
                )
                if (await kept.fetchone() or (0,))[0] < 10_000_000:
                    break
                await asyncio.sleep(0.1)
    await publisher.stop()


async def big_transaction(bench: Any, rows: int) -> None:
    process = await bench.process(CDC_WINDOW_MESSAGES="2000")
    await bench.until_sequence(bench.ANNOUNCED)
    memory = psutil.Process(process.pid).memory_info
    async with bench.database.connect() as db:
        await db.execute(
            "INSERT INTO series (ticker, title) SELECT 'B' || g, repeat('x', 300)"
            " FROM generate_series(1, %s) g",
            (rows,),
        )

    async def until(sequence: int) -> None:
        # However long the server takes to decode it all.
        while await bench.last_sequence() < sequence:
            assert process.returncode is None
            await asyncio.sleep(0.05)

    await until(bench.ANNOUNCED + 1)
    before = memory().rss
    await until(bench.ANNOUNCED + rows)
    grown = memory().rss - before
    process.terminate()
    assert await process.wait() == 0
    # It levels off after some ten thousand rows; all of them in memory would be `rows` kilobytes.
    assert grown < 48_000_000


async def test_a_large_transaction_does_not_fill_memory(bench: Any) -> None:
    await big_transaction(bench, 60_000)


async def test_a_connection_that_is_given_up_half_way_comes_to_its_end(bench: Any) -> None:
    """A server that shuts down would wait a minute for what was yet to be sent on it."""
    asked, go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # First a client asks for encryption, in eight bytes.
        while len(await reader.read(1000)) == 8:
            asked.set()
            await go.wait()
            writer.write(b"N")
        ended.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        control = Control(bench.settings(database_url=f"postgresql://u@127.0.0.1:{port}/d"))
        asking = asyncio.create_task(control.slot())
        await asked.wait()
        asking.cancel()
        await asyncio.wait({asking})
        go.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await ended.wait()


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_a_million_rows_in_one_transaction(bench: Any) -> None:
    await big_transaction(bench, 1_000_000)


async def test_the_same_changes_as_another_plugin_sees(bench: Any) -> None:
    """Differential: PostgreSQL's own test_decoding names the same rows and operations in order."""
    publisher = bench.start()
    await publisher.ready()
    chance = random.Random(3)
    async with bench.database.connect() as db:
        other = f"{bench.slot}_t"
        await db.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", (other,))
        for step in range(60):
            try:
                async with db.transaction():
                    for part in range(chance.randint(1, 4)):
                        await db.execute(
                            "INSERT INTO series (ticker, title) VALUES (%s, 'it''s [x]: \"y\"')",
                            (f"{step}-{part}",),
                        )
                        await db.execute(
                            "UPDATE series SET volume = coalesce(volume, 0) + 1"
                            " WHERE ticker LIKE %s",
                            (f"%{chance.randint(0, 9)}-0",),
                        )
                    if step % 7 == 0:
                        await db.execute("DELETE FROM series WHERE volume > 3")
                    if chance.random() < 0.3:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass
        stream = await bench.assert_faithful(publisher)
        rows = await db.execute(
            "SELECT xid::text, data FROM pg_logical_slot_peek_changes(%s, NULL, NULL,"
            " 'include-xids', 'true', 'skip-empty-xacts', 'true') WHERE data LIKE 'table%%'",
            (other,),
        )
        theirs = []
        for xid, data in await rows.fetchall():
            match = re.match(r"table public\.series: (INSERT|UPDATE|DELETE): (.*)", data, re.DOTALL)
            if match:
                [*_, ticker] = re.findall(
                    r"(?:^|: )ticker\[character varying\]:'([^']*)'", match[2]
                )
                theirs.append((int(xid), match[1].lower(), ticker))
    ours = [
        (body["xid"] & 0xFFFFFFFF, body["op"], body["ticker"])
        for body in stream.bodies
        if body["table"] == "series" and body["xid"]
    ]
    assert len(ours) > 100
    assert ours == [row for row in theirs if row[0] >= ours[0][0]]
