"""The publisher in this process against real servers, and the oracle that judges its stream."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, ClassVar

import nats
import psycopg
import pytest
from nats.js.api import ConsumerConfig, DeliverPolicy

from ssmd_cdc.__main__ import serve
from ssmd_cdc.settings import CdcSettings
from ssmd_common.health import Health
from ssmd_common.runtime import Runtime
from ssmd_common.tasks import end
from ssmd_stack import forked
from ssmd_stack.database import Database
from ssmd_stack.ended import collect_what_ended
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stream import change, subjects

PATIENCE_SECONDS = 180.0
FOREIGN = b"{}"
"""What a test writes to the stream itself; the oracle looks past it."""


@dataclass
class Publisher:
    """`ssmd-cdc` as a task of the test."""

    settings: CdcSettings
    runtime: Runtime
    task: "asyncio.Task[None]"

    @property
    def health(self) -> Health:
        return self.runtime.health

    async def stop(self) -> None:
        """As SIGTERM does."""
        self.runtime.stop.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.task

    async def kill(self) -> None:
        """Without a word to anyone: nothing is drained, remembered or confirmed."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            # As the runtime does: libraries swallow one now and then.
            await end(self.task)
        # The error holds the frames, and they a socket that was only just connecting: until it
        # closes, the server drops no database.
        collect_what_ended()

    async def until(self, condition: Callable[["Publisher"], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition(self):
                if self.task.done():
                    self.task.result()
                    raise AssertionError("the publisher ended")
                await asyncio.sleep(0.02)

    async def leading(self) -> None:
        await self.until(lambda p: p.health.state == "leading")

    async def ready(self) -> None:
        """Wait until it works: a standby is ready, too."""
        await self.until(lambda p: p.health.ready and p.health.state != "standby")


@dataclass
class Bench:
    """A database, a NATS server, and publishers between them."""

    ANNOUNCED: ClassVar[int] = 13
    """Messages of the first announcement: begin and end of six tables, and the default fees."""

    database: Database
    nats_server: NatsServer
    publishers: list[Publisher] = field(default_factory=list)

    def settings(self, **more: Any) -> CdcSettings:
        return CdcSettings(
            **{
                "database_url": self.database.url,
                "nats_url": self.nats_server.url,
                # Slots belong to the whole server, which tests share.
                "cdc_slot": f"s_{self.database.name}",
                "cdc_feedback_seconds": 0.1,
                "cdc_heartbeat_seconds": 0.3,
                "cdc_ack_seconds": 5.0,
                **more,
            }
        )

    def start(self, **more: Any) -> Publisher:
        settings = self.settings(**more)
        # A group of tasks of its own, whose failures are the task's.
        runtime = Runtime(Health("cdc"), None)  # type: ignore[arg-type]
        publisher = Publisher(
            settings, runtime, asyncio.create_task(serve(runtime, settings), name="publisher")
        )
        self.publishers.append(publisher)
        return publisher

    @property
    def slot(self) -> str:
        return self.settings().cdc_slot

    async def insert(self, count: int, prefix: str = "S") -> None:
        """So many series, each in a transaction of its own."""
        async with self.database.connect() as db:
            for number in range(count):
                await db.execute("INSERT INTO series (ticker) VALUES (%s)", (f"{prefix}{number}",))

    async def feedback(self, count: int = 5) -> None:
        """Until the server has heard so many more times from whoever streams from the slot.

        That is all that its wal_sender_timeout asks for.
        """
        # Who may not read all statistics sees no time there.
        admin = await psycopg.AsyncConnection.connect(self.database.admin_url, autocommit=True)
        async with admin as db, asyncio.timeout(PATIENCE_SECONDS):
            heard: set[Any] = set()
            while len(heard) <= count:
                cursor = await db.execute(
                    "SELECT reply_time FROM pg_stat_replication"
                    " JOIN pg_replication_slots ON active_pid = pid"
                    " WHERE slot_name = %s AND reply_time IS NOT NULL",
                    (self.slot,),
                )
                heard |= set(await cursor.fetchall())
                await asyncio.sleep(0.02)

    async def end_session(self) -> None:
        """The server ends whoever streams from the slot."""
        async with self.database.connect() as db:
            await db.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                " WHERE slot_name = %s",
                (self.slot,),
            )

    async def process(self, **more: str) -> forked.Started:
        """`ssmd-cdc` as a process of its own, to be killed or measured."""
        # Shown with a test that fails.
        return await forked.start("ssmd_cdc", env=self.environment(**more), stdout=sys.__stderr__)

    def environment(self, **more: str) -> dict[str, str]:
        """Of such a process."""
        return {
            **os.environ,
            "DATABASE_URL": self.database.url,
            "NATS_URL": self.nats_server.url,
            "CDC_SLOT": self.slot,
            "CDC_HEARTBEAT_SECONDS": "0.3",
            "CDC_FEEDBACK_SECONDS": "0.1",
            "OPS_PORT": str(free_port()),
            **more,
        }

    async def last_sequence(self) -> int:
        """The stream's last; 0 before there is a stream."""
        async with self.client() as client:
            try:
                info = await client.jetstream(timeout=60).stream_info(subjects.STREAM)
            except nats.js.errors.NotFoundError:
                return 0
            return int(info.state.last_seq)

    async def until_sequence(self, target: int, patience: float = PATIENCE_SECONDS) -> None:
        async with asyncio.timeout(patience):
            while await self.last_sequence() < target:  # noqa: ASYNC110 - it asks a server
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[nats.NATS]:
        client = await nats.connect(self.nats_server.url, connect_timeout=10)
        try:
            yield client
        finally:
            await client.close()

    async def stream(self) -> "Stream":
        """All that the stream holds now."""
        async with self.client() as client:
            js = client.jetstream(timeout=60)
            info = await js.stream_info(subjects.STREAM)
            stream = Stream(info.state.first_seq, info.state.last_seq)
            if not info.state.messages:
                return stream
            subscription = await js.subscribe(
                subjects.SUBJECTS,
                stream=subjects.STREAM,
                ordered_consumer=True,
                config=ConsumerConfig(deliver_policy=DeliverPolicy.ALL),
                pending_msgs_limit=-1,
                pending_bytes_limit=-1,
            )
            while True:
                message = await subscription.next_msg(timeout=180)
                sequence = message.metadata.sequence.stream
                stream.add(sequence, message.subject, dict(message.headers or {}), message.data)
                if sequence >= info.state.last_seq:
                    break
            await subscription.unsubscribe()
            return stream

    async def settled(self, publisher: Publisher) -> "Stream":
        """The stream once it has everything that is committed now."""
        async with self.database.connect() as connection:
            row = await (await connection.execute("SELECT pg_current_wal_insert_lsn()")).fetchone()
            assert row is not None
            target = change.parse_lsn(row[0])
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    if publisher.task.done():
                        publisher.task.result()
                        raise AssertionError("the publisher ended")
                    slot = await (
                        await connection.execute(
                            "SELECT confirmed_flush_lsn FROM pg_replication_slots"
                            " JOIN cdc_state ON slot = slot_name AND seq >= 0"
                            " WHERE slot_name = %s",
                            (publisher.settings.cdc_slot,),
                        )
                    ).fetchone()
                    if slot and slot[0] and change.parse_lsn(slot[0]) >= target:
                        return await self.stream()
                    await asyncio.sleep(0.05)

    async def tables(self) -> dict[str, dict[str, Any]]:
        """What the published tables hold, by primary key, as the stream should tell it."""
        state: dict[str, dict[str, Any]] = {}
        async with self.database.connect() as connection:
            cursor = await connection.execute(
                "SELECT tablename FROM pg_publication_tables WHERE pubname = 'secmaster_cdc'"
            )
            for (table,) in await cursor.fetchall():
                rows = await connection.execute(f'SELECT * FROM "{table}"')
                names = [column.name for column in rows.description or ()]
                types = [column.type_code for column in rows.description or ()]
                keys = await connection.execute(
                    "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid"
                    " AND attnum = ANY(indkey) WHERE indrelid = %s::regclass AND indisprimary",
                    (f'"{table}"',),
                )
                key = {name for (name,) in await keys.fetchall()}
                state[table] = {}
                for row in await rows.fetchall():
                    value = {n: as_json(v, t) for n, v, t in zip(names, row, types, strict=True)}
                    state[table][identity({n: value[n] for n in key})] = value
        return state

    async def assert_faithful(self, publisher: Publisher) -> "Stream":
        """The oracle: the stream replayed equals the tables."""
        stream = await self.settled(publisher)
        stream.assert_in_order()
        replayed, tables = stream.replay(), await self.tables()
        for table, rows in tables.items():
            assert replayed.get(table, {}) == rows, table
        assert set(replayed) <= set(tables)
        return stream


@dataclass
class Stream:
    """Messages by sequence, judged independently of the code that made them."""

    first: int
    last: int
    messages: list[tuple[int, str, dict[str, str], dict[str, Any]]] = field(default_factory=list)

    def add(self, sequence: int, subject: str, headers: dict[str, str], data: bytes) -> None:
        if data == FOREIGN:
            return
        change.decode(data)
        self.messages.append((sequence, subject, headers, json.loads(data, parse_float=str)))

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [body for *_, body in self.messages]

    def last_epoch(self) -> "Stream":
        """What a reader that begins with the last epoch sees."""
        epoch = max(body["epoch"] for body in self.bodies)
        kept = [message for message in self.messages if message[3]["epoch"] == epoch]
        return Stream(self.first, self.last, kept)

    @property
    def epochs(self) -> set[int]:
        return {body["epoch"] for body in self.bodies}

    def positions(self) -> list[change.Position]:
        return [
            change.Position(body["epoch"], change.parse_lsn(body["lsn"]), body["seq"])
            for body in self.bodies
        ]

    def assert_in_order(self) -> None:
        positions = self.positions()
        for before, after in pairwise(positions):
            assert before < after, f"{before} is followed by {after}"
            if (before.epoch, before.lsn) == (after.epoch, after.lsn):
                assert after.seq == before.seq + 1, f"between {before} and {after} one is missing"
            else:
                assert after.seq == 0, f"after {before}, {after} does not begin with 0"
        for (_, subject, headers, body), position in zip(self.messages, positions, strict=True):
            assert headers["Nats-Msg-Id"] == str(position)
            assert headers["Ssmd-Type"] == body["type"]
            row = body["data"] or body.get("before")
            if row and not body.get("error"):
                assert subject == subjects.subject(body["table"], body["op"], row)

    def replay(self) -> dict[str, dict[str, Any]]:
        """As a reader would: what the messages, one after the other, make of empty tables."""
        state: dict[str, dict[str, tuple[int, Any]]] = {}
        for body in self.bodies:
            rows = state.setdefault(body["table"], {})
            key = identity(body["key"]) if body["key"] else ""
            match body["op"]:
                case "insert":
                    assert body["xid"] is None or key not in rows, f"{key} was there already"
                    rows[key] = body["epoch"], body["data"]
                case "update":
                    _, old = rows[key]
                    for name, difference in body["changes"].items():
                        assert old[name] == difference["old"], name
                        assert difference["old"] != difference["new"], name
                        assert body["data"][name] == difference["new"], name
                        old = {**old, name: difference["new"]}
                    assert {n: v for n, v in old.items() if n in body["data"]} == body["data"]
                    rows[key] = body["epoch"], body["data"]
                case "delete":
                    _, old = rows.pop(key)
                    assert old == body["before"]
                case "truncate":
                    rows.clear()
                case "snapshot_end" if body.get("final"):
                    for table, held in state.items():
                        state[table] = {k: v for k, v in held.items() if v[0] == body["epoch"]}
        return {
            table: {key: value for key, (_, value) in rows.items()} for table, rows in state.items()
        }


def identity(key: dict[str, Any]) -> str:
    return json.dumps(key, sort_keys=True)


def as_json(value: Any, type_oid: int = 0) -> Any:
    """A value that psycopg read, as the contract writes it."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        time = value.astimezone(UTC)
        text = time.isoformat(timespec="microseconds" if time.microsecond else "seconds")
        if time.microsecond:
            text = text.replace("+00:00", "").rstrip("0") + "+00:00"
        return text.replace("+00:00", "Z")
    if type_oid in (114, 3802):
        # Numbers inside are compared by their text.
        return json.loads(json.dumps(value), parse_float=str)
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return value


@pytest.fixture
async def bench(database: Database, nats_server: NatsServer) -> AsyncIterator[Bench]:
    made = Bench(database, nats_server)
    try:
        yield made
    finally:
        for publisher in made.publishers:
            if not publisher.task.done():
                await publisher.kill()


@pytest.fixture
def own_server(private_postgres: Any, bench: Bench) -> Any:
    """A PostgreSQL of the test's own, which may be stopped or changed; the bench works on it."""
    bench.database = Database("ssmd", private_postgres.url, private_postgres.admin_url)
    return private_postgres
