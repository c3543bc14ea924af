"""What is killed, cut, fenced, purged or lost: the stream stays whole, or says that it is anew."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ssmd_cdc import control, recovery, supervisor
from ssmd_cdc import metrics as cdc_metrics
from ssmd_cdc.epoch import ANNOUNCING
from ssmd_cdc.errors import ReplicationEnded
from ssmd_cdc.publish import stream as stream_module
from ssmd_cdc.publish.stream import Streams
from ssmd_cdc.publish.stream_publisher import StreamPublisher
from ssmd_cdc.replication import session
from ssmd_common.errors import SsmdError
from ssmd_stack.database import new_database
from ssmd_stack.proxy import TcpProxy
from ssmd_stream import subjects
from ssmd_stream.publish import groups, wire

PATIENCE_SECONDS = 180


async def insert(bench: Any, count: int, prefix: str = "S") -> None:
    """`count` series, ten in a transaction."""
    async with bench.database.connect() as db:
        for start in range(0, count, 10):
            async with db.transaction():
                for number in range(start, min(start + 10, count)):
                    await db.execute(
                        "INSERT INTO series (ticker, title) VALUES (%s, %s)",
                        (f"{prefix}{number}", "x" * 100),
                    )


async def drop_slot(db: psycopg.AsyncConnection[Any], name: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await db.execute("SELECT pg_drop_replication_slot(%s)", (name,))
            except psycopg.errors.ObjectInUse:
                # The server takes a moment to notice that its reader is gone.
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.slow
async def test_killed_over_and_over_while_writers_write(bench: Any, atomic: bool) -> None:
    """kill -9 at moments that nobody chose: inside transactions, windows and feedback."""
    enough = asyncio.Event()

    async def write() -> None:
        # Until the last kill: each round waits for more than what came before it.
        part = 0
        while not enough.is_set():
            await insert(bench, 50, f"P{part}-")
            part += 1
            await asyncio.sleep(0.15)

    writing = asyncio.create_task(write())
    for round_ in range(4):
        victim = await bench.process(CDC_DURABLE=str(atomic).lower())
        before = await bench.last_sequence()
        await bench.until_sequence(before + 30 + 77 * round_)
        victim.kill()
        await victim.wait()
    enough.set()
    await writing
    publisher = bench.start(cdc_durable=atomic)
    stream = await bench.assert_faithful(publisher)
    inserts = [b for b in stream.bodies if b["table"] == "series" and b["xid"]]
    assert len(inserts) == len({b["ticker"] for b in inserts})


@pytest.mark.parametrize("point", ["before_publish", "after_publish", "after_ack", "after_state"])
async def test_killed_at(bench: Any, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """The four moments of a message's life, each hit exactly."""
    publisher = bench.start()
    await publisher.ready()
    await insert(bench, 30)
    await bench.settled(publisher)
    stored = await bench.last_sequence() + 30
    reached = asyncio.Event()

    if point == "before_publish":
        original_add, seen = groups.Groups.add, 0

        def add(self: Any, message: Any, number: int) -> None:
            nonlocal seen
            seen += message.table == "series"
            if seen > 5:
                reached.set()
            else:
                original_add(self, message, number)

        monkeypatch.setattr(groups.Groups, "add", add)
    elif point == "after_publish":
        # Published and stored, but no acknowledgement is ever seen.
        async def no_replies(*_: Any) -> None:
            await bench.until_sequence(stored)
            reached.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(wire.Wire, "replies", no_replies)
    else:
        write_state = control.Control.write_state

        async def remember(self: Any, state: Any) -> bool:
            if state.stream_sequence < stored:
                return await write_state(self, state)
            if point == "after_state":
                assert await write_state(self, state)
            reached.set()
            await asyncio.Event().wait()
            raise AssertionError

        # After the state: remembered, but never told to the slot.
        monkeypatch.setattr(control.Control, "write_state", remember)
    await insert(bench, 30, "T")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await reached.wait()
    if point == "before_publish":
        await asyncio.sleep(0.5)
    await publisher.kill()
    monkeypatch.undo()
    again = bench.start()
    await insert(bench, 5, "U")
    stream = await bench.assert_faithful(again)
    assert stream.epochs == {1}


async def announce_a_part_and_die(bench: Any) -> None:
    """A first publisher: however quick it is, no more gets through before it is killed."""
    async with bench.database.connect() as db:
        await db.execute(
            "INSERT INTO series (ticker, title)"
            " SELECT 'S' || g, repeat('x', 100) FROM generate_series(0, 2999) g"
        )
    async with TcpProxy(bench.nats_server.url, passes=500_000) as between:
        victim = await bench.process(NATS_URL=between.url)
        await bench.until_sequence(500)
        victim.kill()
        await victim.wait()


async def test_killed_while_announcing(bench: Any) -> None:
    """An epoch without its final end is abandoned for the next; readers end with what is there."""
    await announce_a_part_and_die(bench)
    async with bench.database.connect() as db:
        await db.execute("DELETE FROM series WHERE ticker = 'S1'")
    publisher = bench.start()
    stream = await bench.assert_faithful(publisher)
    assert stream.epochs == {1, 2}
    finals = [body["epoch"] for body in stream.bodies if body.get("final")]
    assert finals == [2]


@pytest.mark.parametrize("often", [1, 99])
async def test_last_words_of_a_killed_publisher_come_late(
    bench: Any, monkeypatch: pytest.MonkeyPatch, often: int
) -> None:
    """NATS takes what was on its way after the next publisher has looked where the stream ends.

    Whoever speaks again and again is not dead.
    """
    await announce_a_part_and_die(bench)
    [*_, (_, where, headers, late)] = (await bench.stream()).messages
    assert late["op"] == "insert"
    judge = supervisor.judge
    said = 0

    async def judge_and_be_late(*facts: Any, **more: Any) -> Any:
        nonlocal said
        found = await judge(*facts, **more)
        if said < often:
            said += 1
            late["seq"] += 1
            identity = f"{late['epoch']}:{late['lsn']}:{late['seq']}"
            names = {"Nats-Msg-Id": identity, "Ssmd-Type": headers["Ssmd-Type"]}
            async with bench.client() as client:
                payload = json.dumps(late).encode()
                await client.jetstream(timeout=60).publish(where, payload, headers=names)
        return found

    monkeypatch.setattr(supervisor, "judge", judge_and_be_late)
    publisher = bench.start()
    if often > 1:
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(SsmdError, match="another publisher writes to the stream"):
                await publisher.task
        return
    stream = await bench.assert_faithful(publisher)
    assert late in stream.bodies
    # The second epoch's first message was refused.
    assert stream.epochs == {1, 3}
    assert publisher.health.state == "leading"


async def test_a_cancellation_that_nats_py_swallows_is_taken_up(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`asyncio.wait_for` of Python 3.11 returns what came at the same moment instead."""
    look = Streams.look

    async def look_and_swallow(streams: Any) -> Any:
        found = await look(streams)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return found

    monkeypatch.setattr(Streams, "look", look_and_swallow)
    publisher = bench.start()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.wait({publisher.task})
    assert publisher.task.cancelled()


async def test_nats_restarts(bench: Any, atomic: bool) -> None:
    publisher = bench.start(cdc_durable=atomic)
    await publisher.ready()
    writing = asyncio.create_task(insert(bench, 1500))
    for kill in (True, False):
        await asyncio.sleep(0.3)
        await (bench.nats_server.kill() if kill else bench.nats_server.stop())
        await bench.nats_server.start()
    await writing
    stream = await bench.assert_faithful(publisher)
    assert stream.epochs == {1}


async def test_nats_is_away_for_a_while(bench: Any) -> None:
    """Not ready, memory bounded by the window, and the slot still gets its feedback."""
    publisher = bench.start(cdc_window_messages=50)
    await publisher.ready()
    await bench.nats_server.stop()
    await insert(bench, 500)
    await publisher.until(lambda p: not p.health.ready)
    async with bench.database.connect() as db:
        await bench.feedback()
        # A full window, and the rest waits in PostgreSQL.
        assert cdc_metrics.IN_FLIGHT._value.get() == 50
        active = await (
            await db.execute(
                "SELECT active FROM pg_replication_slots WHERE slot_name = %s", (bench.slot,)
            )
        ).fetchone()
        assert active == (True,)
    assert "nats" in {name for name, why in publisher.health.conditions.items() if why}
    await bench.nats_server.start()
    stream = await bench.assert_faithful(publisher)
    assert stream.epochs == {1}
    await publisher.ready()


async def test_its_process_stops_cleanly_while_nats_is_away(bench: Any) -> None:
    running = await bench.process()
    await bench.until_sequence(bench.ANNOUNCED)
    await bench.nats_server.stop()
    running.terminate()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await running.wait() == 0
    await bench.nats_server.start()
    publisher = bench.start()
    await insert(bench, 5)
    await bench.assert_faithful(publisher)


async def test_it_stops_cleanly_with_messages_that_nats_does_not_take(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "DRAIN_SECONDS", 0.5)
    publisher = bench.start()
    await publisher.ready()
    await bench.nats_server.stop()
    await insert(bench, 20)
    await publisher.stop()
    await bench.nats_server.start()
    publisher = bench.start()
    await insert(bench, 5, "T")
    await bench.assert_faithful(publisher)


async def test_feedback_goes_on_while_the_memory_hangs(bench: Any) -> None:
    publisher = bench.start()
    await publisher.ready()
    async with bench.database.connect() as db, db.transaction():
        await db.execute("LOCK TABLE cdc_state")
        await insert(bench, 5)
        written = await (await db.execute("SELECT pg_current_wal_insert_lsn()")).fetchone()
        await bench.feedback()
        # Nothing is confirmed before it is remembered.
        row = await (
            await db.execute(
                "SELECT confirmed_flush_lsn < %s FROM pg_replication_slots WHERE slot_name = %s",
                (*written, bench.slot),
            )
        ).fetchone()
        assert row == (True,)
    await bench.assert_faithful(publisher)
    assert publisher.health.last_error is None


@pytest.mark.embedded
async def test_nats_hangs(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "PING_SECONDS", 0.5)
    publisher = bench.start(cdc_ack_seconds=1.0)
    await publisher.ready()
    os.kill(bench.nats_server.pid, signal.SIGSTOP)
    try:
        # Seen while idle, with no message in flight whose answer could be missed.
        await publisher.until(lambda p: bool(p.health.conditions.get("nats")))
        await insert(bench, 100)
    finally:
        os.kill(bench.nats_server.pid, signal.SIGCONT)
    stream = await bench.assert_faithful(publisher)
    assert stream.epochs == {1}


async def test_an_answer_that_never_comes(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is fine and the message is stored; only its deadline tells."""
    publisher = bench.start(cdc_ack_seconds=1.0)
    await publisher.ready()
    publish, lost = wire.Wire.publish, []

    def publish_without_answer(
        self: Any, subject: str, token: Any, headers: str, payload: bytes
    ) -> None:
        if b'"S4"' in payload and not lost:
            lost.append(token)
            token = None
        publish(self, subject, token, headers, payload)

    monkeypatch.setattr(wire.Wire, "publish", publish_without_answer)
    async with bench.database.connect() as db:
        # It is the last of them, so that no later answer shows that its own is missing.
        await db.execute("INSERT INTO series (ticker) SELECT 'S' || g FROM generate_series(0, 4) g")
    stream = await bench.assert_faithful(publisher)
    assert lost
    assert "not acknowledged" in publisher.health.last_error
    assert stream.epochs == {1}


async def test_publishers_of_two_databases_do_not_fence_each_other_for_ever(
    bench: Any, postgres_server: Any
) -> None:
    """No lock is between them, so one has to give up, and says what to mend."""
    async with new_database(postgres_server) as other:
        slot = f"s_{other.name}"
        rivals = [bench.start(), bench.start(database_url=other.url, cdc_slot=slot)]
        writing = [asyncio.create_task(insert_slowly(db)) for db in (bench.database, other)]
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                done, _ = await asyncio.wait(
                    {rival.task for rival in rivals}, return_when=asyncio.FIRST_COMPLETED
                )
            with pytest.raises(SsmdError, match="another publisher writes to the stream"):
                done.pop().result()
        finally:
            for task in writing:
                task.cancel()
            await asyncio.wait(writing)
            for rival in rivals:
                await rival.kill()
            async with other.connect() as db:
                with contextlib.suppress(psycopg.errors.UndefinedObject):
                    await drop_slot(db, slot)


async def insert_slowly(database: Any) -> None:
    async with database.connect() as db:
        for number in itertools.count():
            await db.execute("INSERT INTO series (ticker) VALUES (%s)", (f"SLOW{number}",))
            await asyncio.sleep(0.02)


async def test_the_walsender_is_terminated(bench: Any) -> None:
    publisher = bench.start()
    await publisher.ready()
    for round_ in range(3):
        await insert(bench, 200, f"R{round_}-")
        await bench.end_session()
    stream = await bench.assert_faithful(publisher)
    assert stream.epochs == {1}


async def test_a_standby_takes_over(bench: Any) -> None:
    first = bench.start()
    await first.ready()
    second = bench.start()
    await second.until(lambda p: p.health.state == "standby")
    assert second.health.ready
    await insert(bench, 200)
    await first.kill()
    await insert(bench, 200, "T")
    await second.leading()
    stream = await bench.assert_faithful(second)
    assert stream.epochs == {1}
    await second.ready()


async def test_a_publisher_whose_memory_is_anothers_gives_up(bench: Any) -> None:
    """Whoever took the slot over has written a later epoch; nothing is confirmed after that."""
    publisher = bench.start()
    await publisher.ready()
    async with bench.database.connect() as db:
        await db.execute("UPDATE cdc_state SET epoch = epoch + 1")
        await insert(bench, 5)
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(SsmdError, match="another publisher"):
                await publisher.task
        row = await (await db.execute("SELECT epoch FROM cdc_state")).fetchone()
    assert "later publisher" in publisher.health.last_error
    assert row == (2,)


async def test_a_standby_that_is_too_late_for_the_slot(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked while nobody streamed; only taking the slot tells."""
    first = bench.start()
    await first.ready()
    slot = control.Control.slot

    async def slot_as_it_was(self: Any) -> Any:
        return {**await slot(self), "active": False}

    monkeypatch.setattr(control.Control, "slot", slot_as_it_was)
    second = bench.start()
    await second.until(lambda p: p.health.state == "standby")
    assert second.health.last_error is None
    monkeypatch.undo()
    await first.stop()
    await second.ready()


@pytest.mark.parametrize("slot_exists", [False, True])
async def test_two_that_make_the_slot_at_once(
    bench: Any, monkeypatch: pytest.MonkeyPatch, slot_exists: bool
) -> None:
    """Whoever announces one slot's state does not stream from the other's, which begins later."""
    if slot_exists:
        first = bench.start()
        await first.ready()
        await bench.settled(first)
        await first.stop()
        async with bench.database.connect() as db:
            await db.execute("UPDATE cdc_state SET system_identifier = '1'")
    write_state = control.Control.write_state
    create, start = session.Replication.create, session.Replication.start
    both, made, again, taken = (asyncio.Event() for _ in range(4))
    makers: list[Any] = []
    created = itertools.count()

    async def begin_together(self: Any, state: Any) -> bool:
        if state.seq == ANNOUNCING:
            # With this a new epoch begins.
            makers.append(asyncio.current_task())
            if len(makers) == 1:
                await both.wait()
            elif len(makers) == 2:
                both.set()
                await made.wait()
        return await write_state(self, state)

    async def create_one_after_the_other(self: Any) -> Any:
        number = next(created)
        try:
            found = await create(self)
        except BaseException:
            again.set()
            raise
        if number == 0:
            await insert(bench, 1, "BETWEEN")
            made.set()
            await again.wait()
        elif number == 1:
            again.set()
            await taken.wait()
        return found

    async def start_and_tell(self: Any) -> None:
        await start(self)
        if again.is_set():
            taken.set()

    monkeypatch.setattr(control.Control, "write_state", begin_together)
    monkeypatch.setattr(session.Replication, "create", create_one_after_the_other)
    monkeypatch.setattr(session.Replication, "start", start_and_tell)
    rivals = [bench.start(), bench.start()]
    async with asyncio.timeout(PATIENCE_SECONDS):
        await again.wait()
    await bench.assert_faithful(rivals[0])
    if not slot_exists:
        # The second leaves alone what it did not find there.
        [first] = [rival for rival in rivals if rival.task is makers[0]]
        assert first.health.state == "leading"
    assert sorted(rival.health.state for rival in rivals) == ["leading", "standby"]
    assert [rival.health.last_error for rival in rivals] == [None, None]


async def test_a_paused_publisher_that_wakes_can_write_nothing(bench: Any) -> None:
    old = await bench.process(CDC_WAL_SENDER_TIMEOUT_SECONDS="3")
    await bench.until_sequence(1)
    await insert(bench, 50)
    await bench.until_sequence(60)
    old.send_signal(signal.SIGSTOP)
    try:
        new = bench.start()
        await new.leading()
        await insert(bench, 50, "T")
        await bench.settled(new)
    finally:
        old.send_signal(signal.SIGCONT)
    await insert(bench, 50, "U")
    stream = await bench.assert_faithful(new)
    assert stream.epochs == {1}
    assert new.health.state == "leading"
    old.terminate()
    assert await old.wait() == 0


@pytest.mark.parametrize("foreign", [1, 3])
@pytest.mark.parametrize("killed", [False, True])
async def test_a_foreign_message_fences_the_publisher(
    bench: Any, foreign: int, killed: bool
) -> None:
    """Whoever else writes to the stream is noticed, and readers get a whole state after it.

    As many foreign messages as are refused of ours: the tail then is ours, and the first is lost.
    """
    publisher = bench.start()
    await publisher.ready()
    await bench.settled(publisher)
    async with bench.client() as client:
        for _ in range(foreign):
            await client.jetstream(timeout=60).publish("cdc.series.insert.X", b"{}")
    if killed:
        async with bench.database.connect() as db:
            await db.execute(
                "INSERT INTO series (ticker) SELECT 'S' || g FROM generate_series(0, 9) g"
            )
        await bench.until_sequence(await bench.last_sequence() + 9 - foreign)
        await publisher.kill()
        publisher = bench.start()
    else:
        await insert(bench, 10)
        await publisher.until(lambda p: "another publisher" in (p.health.last_error or ""))
    await insert(bench, 5, "T")
    stream = await bench.settled(publisher)
    assert max(stream.epochs) >= 2
    announced = stream.last_epoch()
    announced.assert_in_order()
    assert announced.replay() == await bench.tables()


async def test_a_rival_of_long_ago_is_forgotten(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is to be stopped any more, so that a memory put back later begins a new epoch."""
    monkeypatch.setattr(recovery, "FORGIVEN_SECONDS", 0.0)
    publisher = bench.start()
    await publisher.ready()
    await bench.settled(publisher)
    async with bench.client() as client:
        await client.jetstream(timeout=60).publish("cdc.series.insert.X", b"{}")
    await insert(bench, 1)
    await publisher.until(lambda p: "another publisher" in (p.health.last_error or ""))
    await publisher.ready()
    await bench.settled(publisher)
    async with bench.database.connect() as db:
        await db.execute("UPDATE cdc_state SET epoch = 7")
    await bench.end_session()
    await bench.until_sequence(await bench.last_sequence() + bench.ANNOUNCED)
    announced = (await bench.settled(publisher)).last_epoch()
    assert announced.epochs == {8}
    assert announced.replay() == await bench.tables()


async def test_sessions_that_last_are_no_outage(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An announcement may take longer than the budget, and fail more than once."""
    run, ended = session.ReplicationSession.run, []

    async def run_long_and_fail(self: Any, *work: Any) -> None:
        if len(ended) < 2:
            await asyncio.sleep(1.5)
            ended.append(self)
            raise ReplicationEnded("the server ended the stream")
        await run(self, *work)

    monkeypatch.setattr(session.ReplicationSession, "run", run_long_and_fail)
    publisher = bench.start(cdc_outage_budget_seconds=1.0)
    await publisher.ready()
    assert len(ended) == 2


async def test_a_lost_slot_begins_a_new_epoch(bench: Any) -> None:
    publisher = bench.start()
    await insert(bench, 50)
    await bench.settled(publisher)
    await publisher.stop()
    async with bench.database.connect() as db:
        await drop_slot(db, bench.slot)
        # Nobody's slot keeps this: only a re-announcement can tell of it.
        await db.execute("DELETE FROM series WHERE ticker IN ('S1', 'S2')")
        await db.execute("UPDATE series SET title = 'missed' WHERE ticker = 'S3'")
    again = bench.start()
    await insert(bench, 10, "T")
    stream = await bench.assert_faithful(again)
    assert stream.epochs == {1, 2}


@pytest.mark.parametrize("running", [False, True])
async def test_a_slot_made_again_by_hand_begins_a_new_epoch(bench: Any, running: bool) -> None:
    publisher = bench.start()
    await publisher.ready()
    await insert(bench, 10)
    await bench.settled(publisher)
    if not running:
        await publisher.stop()
    async with bench.database.connect() as db:
        await bench.end_session()
        await drop_slot(db, bench.slot)
        await db.execute("DELETE FROM series WHERE ticker IN ('S1', 'S2')")
        await db.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (bench.slot,))
    if not running:
        publisher = bench.start()
    await insert(bench, 10, "T")
    stream = await bench.assert_faithful(publisher)
    assert max(stream.epochs) == 2


async def test_an_invalidated_slot_begins_a_new_epoch(own_server: Any, bench: Any) -> None:
    """`max_slot_wal_keep_size` exceeded while nobody read: wal_status is lost."""
    publisher = bench.start()
    await insert(bench, 20)
    await bench.settled(publisher)
    await publisher.stop()
    async with await psycopg.AsyncConnection.connect(
        own_server.admin_url, autocommit=True
    ) as admin:
        await admin.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        await admin.execute("SELECT pg_reload_conf()")
        await insert(bench, 20, "T")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                await admin.execute("SELECT pg_logical_emit_message(true, 'x', repeat('x', 100))")
                await admin.execute("SELECT pg_switch_wal()")
                await admin.execute("CHECKPOINT")
                row = await (
                    await admin.execute("SELECT wal_status FROM pg_replication_slots")
                ).fetchone()
                if row == ("lost",):
                    break
    again = bench.start()
    stream = await bench.assert_faithful(again)
    assert stream.epochs == {1, 2}


@pytest.mark.parametrize("how", ["deleted", "restored"])
@pytest.mark.embedded
async def test_a_stream_behind_begins_a_new_epoch(bench: Any, how: str, tmp_path: Any) -> None:
    import shutil

    publisher = bench.start()
    await insert(bench, 20)
    await bench.settled(publisher)
    if how == "restored":
        await publisher.stop()
        await bench.nats_server.stop()
        copy = tmp_path / "store"
        shutil.copytree(bench.nats_server.data_dir, copy)
        await bench.nats_server.start()
        publisher = bench.start()
        await insert(bench, 20, "T")
        await bench.settled(publisher)
    await publisher.stop()
    if how == "restored":
        await bench.nats_server.stop()
        shutil.rmtree(bench.nats_server.data_dir)
        shutil.copytree(copy, bench.nats_server.data_dir)
        await bench.nats_server.start()
    else:
        async with bench.client() as client:
            await client.jetstream(timeout=60).delete_stream(subjects.STREAM)
    again = bench.start()
    await insert(bench, 20, "U")
    stream = await bench.assert_faithful(again)
    assert max(stream.epochs) == 2


async def test_a_stream_deleted_while_running_begins_a_new_epoch(bench: Any) -> None:
    publisher = bench.start()
    await publisher.ready()
    await insert(bench, 20)
    await bench.settled(publisher)
    async with bench.client() as client:
        await client.jetstream(timeout=60).delete_stream(subjects.STREAM)
    await insert(bench, 20, "T")
    await publisher.until(lambda p: bool(p.health.last_error))
    stream = await bench.assert_faithful(publisher)
    assert stream.epochs == {2}


async def die_before_remembering(
    bench: Any, publisher: Any, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Killed when so many more messages are stored, none of which it wrote down."""

    async def forget(*_: Any) -> None:
        await asyncio.Event().wait()

    before = await bench.last_sequence()
    with monkeypatch.context() as patch:
        patch.setattr(control.Control, "write_state", forget)
        await insert(bench, count, "T")
        await bench.until_sequence(before + count)
        await publisher.kill()


@pytest.mark.parametrize("deleted", [1, 2, 3])
async def test_a_last_message_that_was_deleted_begins_a_new_epoch(
    bench: Any, monkeypatch: pytest.MonkeyPatch, deleted: int
) -> None:
    """The stream's end is not known, whether or not the memory still reaches to it."""
    publisher = bench.start()
    await insert(bench, 20)
    await bench.settled(publisher)
    await die_before_remembering(bench, publisher, monkeypatch, 2)
    last = await bench.last_sequence()
    async with bench.client() as client:
        for sequence in range(last, last - deleted, -1):
            await client.jetstream(timeout=60).delete_msg(subjects.STREAM, sequence)
    again = bench.start()
    await insert(bench, 5, "U")
    stream = await bench.settled(again)
    assert stream.epochs == {1, 2}
    announced = stream.last_epoch()
    announced.assert_in_order()
    assert announced.replay() == await bench.tables()


@pytest.mark.parametrize("same_system", [True, False])
async def test_much_that_came_since_the_memory(
    bench: Any, monkeypatch: pytest.MonkeyPatch, same_system: bool
) -> None:
    """It is read only where it decides something, and PostgreSQL hears meanwhile that we live."""
    publisher = bench.start()
    await publisher.ready()
    await bench.settled(publisher)
    await die_before_remembering(bench, publisher, monkeypatch, 20)
    if not same_system:
        async with bench.database.connect() as db:
            await db.execute("UPDATE cdc_state SET system_identifier = '1'")
    identities, moved = stream_module.identities, []

    async def read_slowly(*range_: Any) -> Any:
        beat = again.health._beat
        await bench.feedback()
        moved.append(again.health._beat > beat)
        async for identity in identities(*range_):
            yield identity

    monkeypatch.setattr(stream_module, "identities", read_slowly)
    again = bench.start()
    stream = await bench.assert_faithful(again)
    assert stream.epochs == ({1} if same_system else {1, 2})
    assert moved == ([True] if same_system else [])
    assert again.health.last_error is None


@pytest.mark.parametrize("running", [True, False])
async def test_a_stream_that_aged_out_goes_on(bench: Any, running: bool) -> None:
    """Purged or aged out, they look alike: what was acknowledged stays published."""
    publisher = bench.start()
    await insert(bench, 20)
    await bench.settled(publisher)
    if not running:
        await publisher.stop()
    async with bench.client() as client:
        await client.jetstream(timeout=60).purge_stream(subjects.STREAM)
    if not running:
        publisher = bench.start()
    await insert(bench, 20, "T")
    stream = await bench.settled(publisher)
    assert [body["ticker"] for body in stream.bodies] == [f"T{number}" for number in range(20)]
    assert stream.epochs == {1}


async def test_an_idle_slot_moves_and_is_no_reason_for_a_new_epoch(bench: Any) -> None:
    publisher = bench.start()
    await publisher.ready()
    async with bench.database.connect() as db:
        # WAL of an unpublished table, which the stream never hears of.
        for _ in range(20):
            await db.execute("INSERT INTO sync_watermarks VALUES (random()::text, now())")
    await bench.settled(publisher)
    await publisher.stop()
    again = bench.start()
    await insert(bench, 1)
    stream = await bench.assert_faithful(again)
    assert stream.epochs == {1}


async def test_a_row_that_is_too_large_goes_to_the_dead_letters(bench: Any) -> None:
    publisher = bench.start()
    await publisher.ready()
    long = "é" * 1_000_000
    async with bench.database.connect() as db:
        await db.execute("INSERT INTO series (ticker, title) VALUES ('BIG', %s)", (long,))
        await db.execute("INSERT INTO series (ticker, title) VALUES ('SMALL', 'x')")
    stream = await bench.settled(publisher)
    stream.assert_in_order()
    big, small = stream.bodies[-2:]
    assert big["data"] is None
    assert "2000" in big["error"]
    assert (big["ticker"], big["key"]) == ("BIG", {"ticker": "BIG"})
    assert small["ticker"] == "SMALL"
    async with bench.client() as client:
        js = client.jetstream(timeout=60)
        info = await js.stream_info(subjects.DEAD_LETTER_STREAM)
        chunks = [
            await js.get_msg(subjects.DEAD_LETTER_STREAM, sequence)
            for sequence in range(1, info.state.last_seq + 1)
        ]
    count = len(chunks)
    assert count > 3
    assert [c.headers["Ssmd-Chunk"] for c in chunks] == [
        f"{n}/{count}" for n in range(1, count + 1)
    ]
    whole = json.loads(b"".join(chunk.data for chunk in chunks))
    assert whole["data"]["title"] == long
    assert {k: whole[k] for k in ("lsn", "seq", "epoch")} == {
        k: big[k] for k in ("lsn", "seq", "epoch")
    }


async def test_a_row_that_cannot_be_read_is_marked_and_kept(bench: Any) -> None:
    """Without REPLICA IDENTITY FULL an unchanged long value is not sent: never a silent null."""
    publisher = bench.start()
    await publisher.ready()
    async with bench.database.connect() as db:
        await db.execute("CREATE TABLE notes (id int PRIMARY KEY, n int, body text)")
        await db.execute("ALTER TABLE notes ALTER body SET STORAGE EXTERNAL")
        await db.execute("ALTER PUBLICATION secmaster_cdc ADD TABLE notes")
        await db.execute("INSERT INTO notes VALUES (1, 1, repeat('x', 9000))")
        await db.execute("UPDATE notes SET n = 2")
        await db.execute("UPDATE notes SET body = 'short'")
        await db.execute("UPDATE notes SET id = 2")
        await db.execute("DELETE FROM notes")
    stream = await bench.settled(publisher)
    stream.assert_in_order()
    notes = [body for body in stream.bodies if body["table"] == "notes"]
    assert [body["op"] for body in notes] == [
        "insert", "update", "update", "delete", "insert", "delete"
    ]  # fmt: skip
    assert "notes.body" in notes[1]["error"]
    assert notes[1]["data"] is None
    assert notes[2]["data"] == {"id": 1, "n": 2, "body": "short"}
    async with bench.client() as client:
        info = await client.jetstream(timeout=60).stream_info(subjects.DEAD_LETTER_STREAM)
    assert info.state.messages == 1


@pytest.mark.embedded
async def test_max_payload_lowered_while_running(bench: Any) -> None:
    publisher = bench.start()
    await publisher.ready()
    bench.nats_server.options["max_payload"] = 2000
    await bench.nats_server.stop()
    async with bench.database.connect() as db:
        await db.execute("INSERT INTO series (ticker, title) VALUES ('BIG', %s)", ("x" * 5000,))
        await db.execute("INSERT INTO series (ticker, title) VALUES ('SMALL', 'x')")
    await bench.nats_server.start()
    stream = await bench.settled(publisher)
    stream.assert_in_order()
    big, small = stream.bodies[-2:]
    assert big["error"]
    assert small["data"]["title"] == "x"


@pytest.mark.embedded
@pytest.mark.parametrize("max_payload", [8 << 20, 100_000])
async def test_a_row_that_comes_before_the_connection_is_there(
    bench: Any, monkeypatch: pytest.MonkeyPatch, max_payload: int
) -> None:
    """What the server takes is known by then, whether more or less than usual."""
    bench.nats_server.options["max_payload"] = max_payload
    await bench.nats_server.stop()
    await bench.nats_server.start()
    long = "x" * 3_000_000
    async with bench.database.connect() as db:
        await db.execute("INSERT INTO series (ticker, title) VALUES ('BIG', %s)", (long,))
    open_wire, send, came = wire.Wire.open, StreamPublisher.send, asyncio.Event()

    async def open_late(*details: Any) -> None:
        await came.wait()
        await open_wire(*details)

    async def tell_and_send(self: Any, messages: Any) -> None:
        # The connection is opened once this has judged the message, and waits.
        if any(len(message.payload) > len(long) for message in messages):
            came.set()
        await send(self, messages)

    monkeypatch.setattr(wire.Wire, "open", open_late)
    monkeypatch.setattr(StreamPublisher, "send", tell_and_send)
    stream = await bench.settled(bench.start())
    stream.assert_in_order()
    [big] = [b for b in stream.bodies if (b["table"], b["op"]) == ("series", "insert")]
    if max_payload > len(long):
        assert big["data"]["title"] == long
    else:
        assert "the server takes 100000" in big["error"]


async def test_a_replayed_slot_publishes_nothing_twice(bench: Any) -> None:
    """The slot's position is put back far behind the tail, as after a lost feedback."""
    publisher = bench.start()
    await publisher.ready()
    async with bench.database.connect() as db:
        await db.execute(
            "SELECT pg_copy_logical_replication_slot(%s, %s)", (bench.slot, f"{bench.slot}_old")
        )
        await insert(bench, 100)
        await bench.settled(publisher)
        await publisher.stop()
        await drop_slot(db, bench.slot)
        await db.execute(
            "SELECT pg_copy_logical_replication_slot(%s, %s)", (f"{bench.slot}_old", bench.slot)
        )
    again = bench.start()
    await insert(bench, 10, "T")
    stream = await bench.assert_faithful(again)
    assert stream.epochs == {1}
    assert len([b for b in stream.bodies if b["table"] == "series" and b["xid"]]) == 110


async def test_settings_of_the_stream_are_kept(bench: Any) -> None:
    async with bench.client() as client:
        js = client.jetstream(timeout=60)
        await js.add_stream(name=subjects.STREAM, subjects=[subjects.SUBJECTS], max_bytes=1 << 22)
        publisher = bench.start(
            cdc_stream_max_age_seconds=3600, cdc_republish="kalshi-prod.secmaster.changes"
        )
        live = await client.subscribe("kalshi-prod.secmaster.changes.>")
        await client.flush()
        await publisher.ready()
        config = (await js.stream_info(subjects.STREAM)).config
        assert (config.max_age, config.max_bytes) == (3600, 4 << 30)
        await insert(bench, 1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (message := await live.next_msg(timeout=180)).subject[-3:] != ".S0":
                pass
        assert message.subject == "kalshi-prod.secmaster.changes.series.insert.S0"
        await publisher.stop()
        again = bench.start()
        await again.ready()
        config = (await js.stream_info(subjects.STREAM)).config
        assert config.republish is None
        assert config.max_age == 7 * 86400


async def test_a_missing_publication_is_made_before_the_slot(bench: Any) -> None:
    async with bench.database.connect() as db:
        await db.execute("DROP PUBLICATION secmaster_cdc")
        publisher = bench.start()
        await insert(bench, 3)
        stream = await bench.assert_faithful(publisher)
        assert len([b for b in stream.bodies if b["table"] == "series" and b["data"]]) >= 3


async def test_a_slot_of_another_program_is_refused(bench: Any) -> None:
    from ssmd_cdc.errors import SlotRefused

    async with bench.database.connect() as db:
        await db.execute(
            "SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", (bench.slot,)
        )
        publisher = bench.start()
        with pytest.raises(SlotRefused, match="CDC_SLOT"):
            await publisher.task


async def test_xids_are_64_bits_wide(bench: Any) -> None:
    publisher = bench.start()
    await publisher.leading()
    async with bench.database.connect() as db, db.transaction():
        await db.execute("INSERT INTO series (ticker) VALUES ('X')")
        row = await (await db.execute("SELECT pg_current_xact_id()::text::bigint")).fetchone()
    stream = await bench.settled(publisher)
    assert stream.bodies[-1]["xid"] == row[0]


async def hang(bench: Any, admin: Any, db: Any, ticker: str) -> "asyncio.Task[Any]":
    """A commit that waits for a synchronous standby that never answers."""
    while True:
        # The checkpointer applies the setting when it gets to it, and no view shows that.
        hung = asyncio.create_task(
            db.execute("INSERT INTO series (ticker) VALUES (%s) ON CONFLICT DO NOTHING", (ticker,))
        )
        while not hung.done():
            row = await (
                await admin.execute(
                    "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'SyncRep'",
                    (db.info.backend_pid,),
                )
            ).fetchone()
            if row:
                return hung
            await asyncio.sleep(0.01)
        await hung
        await db.execute("SET synchronous_commit = local")
        await db.execute("DELETE FROM series WHERE ticker = %s", (ticker,))
        await db.execute("RESET synchronous_commit")


async def test_a_hung_synchronous_commit_is_in_the_stream_once(own_server: Any, bench: Any) -> None:
    """Not yet visible, but in the WAL: neither lost nor doubled, and nothing of ours waits for it
    but a snapshot, which has it or has it not.
    """
    async with (
        await psycopg.AsyncConnection.connect(own_server.admin_url, autocommit=True) as admin,
        bench.database.connect() as db,
    ):
        await admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        await admin.execute("SELECT pg_reload_conf()")
        hung = await hang(bench, admin, db, "BEFORE")
        publisher = bench.start()
        await publisher.until(lambda p: "being made" in (p.health.conditions.get("slot") or ""))
        await admin.execute(sql.SQL("ALTER SYSTEM RESET synchronous_standby_names"))
        await admin.execute("SELECT pg_reload_conf()")
        await hung
        await publisher.ready()

        await admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        await admin.execute("SELECT pg_reload_conf()")
        hung = await hang(bench, admin, db, "HUNG")
        # Our own marks and memory do not wait, so the slot moves and a crash finds its way.
        await bench.settled(publisher)
        assert publisher.health.last_error is None
        assert not hung.done()
        await publisher.kill()
        again = bench.start()
        await again.ready()
        await admin.execute(sql.SQL("ALTER SYSTEM RESET synchronous_standby_names"))
        await admin.execute("SELECT pg_reload_conf()")
        await hung
    stream = await bench.assert_faithful(again)
    assert stream.epochs == {1}
    there = [(b["ticker"], b["xid"] is None) for b in stream.bodies if b["data"]]
    # The snapshot waited for the first; a row of a later hung commit is streamed before it is seen.
    assert there.count(("BEFORE", True)) == 1
    assert ("BEFORE", False) not in there
    assert there.count(("HUNG", False)) == 1 + len(
        [b for b in stream.bodies if b["ticker"] == "HUNG" and b["op"] == "delete"]
    )


@pytest.mark.embedded
@pytest.mark.parametrize("mode", ["fast", "smart"])
@pytest.mark.parametrize("nats_is_there", [True, False])
async def test_postgres_shuts_down(
    own_server: Any, bench: Any, mode: str, nats_is_there: bool
) -> None:
    """It must not wait for us, not even with messages that NATS does not take."""
    publisher = bench.start(cdc_heartbeat_seconds=1.0)
    await publisher.ready()
    await insert(bench, 50)
    if not nats_is_there:
        await bench.nats_server.stop()
        await insert(bench, 50, "T")
    assert own_server.pid is not None
    os.kill(own_server.pid, signal.SIGINT if mode == "fast" else signal.SIGTERM)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while own_server.running:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    if not nats_is_there:
        await bench.nats_server.start()
    await own_server.stop()
    await own_server.start()
    await insert(bench, 50, "U")
    stream = await bench.assert_faithful(publisher)
    assert stream.epochs == {1}


@pytest.mark.embedded
async def test_a_standby_does_not_hold_back_a_shutdown(own_server: Any, bench: Any) -> None:
    publisher = bench.start(cdc_heartbeat_seconds=0.5)
    await publisher.ready()
    standby = bench.start(cdc_heartbeat_seconds=0.5)
    await standby.until(lambda p: p.health.state == "standby")
    # Smart: the server waits for its sessions to end.
    os.kill(own_server.pid, signal.SIGTERM)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while own_server.running:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await publisher.kill()
    await standby.kill()
