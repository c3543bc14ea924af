"""What the tests that cross services see: the tables, the stream, Redis, by public means only."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import nats.js
import psycopg
from nats.js.api import ConsumerConfig, DeliverPolicy
from psycopg.rows import dict_row

from ssmd_stream.change import Change, decode
from ssmd_stream.visibility import Snapshot

T = TypeVar("T")

STREAM = "SECMASTER_CDC"
TABLES = ("series", "events", "markets", "series_fees", "fees", "market_lifecycle_events")

_NUMERIC, _TIMESTAMPTZ = 1700, 1184


async def eventually(check: Callable[[], Awaitable[T]], seconds: float = 60.0) -> T:
    """The result of the first `check` that raises no AssertionError; its last one past the time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


class Listener:
    """Collects what a subscription of the change stream delivers, in order."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.sequences: list[int] = []

    async def on_message(self, message: Any) -> None:
        self.changes.append(decode(message.data))
        self.sequences.append(message.metadata.sequence.stream)

    def of(self, ticker: str) -> list[Change]:
        """The changes of one market's or event's own row."""
        return [
            change
            for change in self.changes
            if change.ticker == ticker and change.table in ("markets", "events")
        ]


async def listen(js: nats.js.JetStreamContext, subject: str) -> Listener:
    """Follow `subject` from the stream's first message on."""
    listener = Listener()
    await js.subscribe(
        subject,
        stream=STREAM,
        ordered_consumer=True,
        cb=listener.on_message,
        config=ConsumerConfig(deliver_policy=DeliverPolicy.ALL),
    )
    return listener


async def read_stream(js: nats.js.JetStreamContext) -> list[Change]:
    """Every message of the stream up to its last one now."""
    last = (await js.stream_info(STREAM)).state.last_seq
    listener = await listen(js, "cdc.>")
    await eventually(lambda: _reached(listener, last), 120)
    return [
        change
        for change, sequence in zip(listener.changes, listener.sequences, strict=True)
        if sequence <= last
    ]


async def _reached(listener: Listener, last: int) -> None:
    assert listener.sequences
    assert listener.sequences[-1] >= last


def assert_strictly_ordered(changes: Iterable[Change]) -> None:
    """No duplicate, nothing out of order."""
    previous = None
    for change in changes:
        assert previous is None or previous < change.position, (previous, change)
        previous = change.position


def replay(changes: Iterable[Change], snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    """The tables as a subscriber sees them: table → key → row, as of `snapshot`."""
    tables: dict[str, dict[str, tuple[int, Any]]] = defaultdict(dict)
    for change in changes:
        later = change.xid is not None and not snapshot.sees(change.xid)
        if change.op == "snapshot_begin" or later:
            continue
        rows = tables[change.table]
        if change.op == "snapshot_end":
            if change.final:
                for table in tables.values():
                    for key in [k for k, (epoch, _) in table.items() if epoch < change.epoch]:
                        del table[key]
        elif change.op == "truncate":
            rows.clear()
        elif change.op == "delete":
            rows.pop(_key(change.key), None)
        else:
            assert change.error is None, change
            rows[_key(change.key)] = (change.epoch, change.data)
    return {name: {k: row for k, (_, row) in rows.items()} for name, rows in tables.items()}


def _key(key: dict[str, Any] | None) -> str:
    assert key is not None
    return msgspec.json.encode(key, order="sorted").decode()


async def read_tables(url: str) -> tuple[Snapshot, str, dict[str, dict[str, Any]]]:
    """One snapshot of all published tables, written as the stream writes rows.

    Yields the snapshot, the WAL position after it, and table → key → row.
    """
    tables: dict[str, dict[str, Any]] = {}
    async with await psycopg.AsyncConnection.connect(
        url, row_factory=dict_row, autocommit=True, options="-c timezone=UTC"
    ) as connection:
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            row = await (
                await connection.execute("SELECT pg_current_snapshot()::text AS s")
            ).fetchone()
            assert row is not None
            for table in TABLES:
                keys = await _primary_key(connection, table)
                cursor = await connection.execute(f"SELECT * FROM {table}")
                types = {c.name: c.type_code for c in cursor.description or ()}
                tables[table] = {}
                async for found in cursor:
                    shown = {name: _shown(types[name], value) for name, value in found.items()}
                    key = _key({name: shown[name] for name in keys})
                    tables[table][key] = shown
        position = await (
            await connection.execute("SELECT pg_current_wal_lsn()::text AS lsn")
        ).fetchone()
    assert position is not None
    return Snapshot.parse(row["s"]), position["lsn"], tables


async def _primary_key(connection: psycopg.AsyncConnection[Any], table: str) -> list[str]:
    cursor = await connection.execute(
        """SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid
           AND attnum = ANY (indkey) WHERE indrelid = %s::regclass AND indisprimary""",
        [table],
    )
    return [row["attname"] for row in await cursor.fetchall()]


def _shown(type_code: int, value: Any) -> Any:
    if value is None:
        return None
    if type_code == _NUMERIC:
        return f"{value:f}"
    if type_code == _TIMESTAMPTZ:
        return instant(value)
    return value


def instant(value: datetime) -> str:
    """RFC 3339 in UTC with as many digits as it has."""
    text = value.strftime("%Y-%m-%dT%H:%M:%S")
    if value.year < 1000:
        text = text.rjust(19, "0")
    fraction = f".{value.microsecond:06d}".rstrip("0") if value.microsecond else ""
    return f"{text}{fraction}Z"


async def assert_stream_equals_tables(url: str, js: nats.js.JetStreamContext) -> None:
    """The stream, replayed into dicts, is what PostgreSQL holds."""
    snapshot, position, tables = await read_tables(url)

    async def confirmed() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            row = await (
                await connection.execute(
                    """SELECT bool_or(confirmed_flush_lsn >= %s::pg_lsn) FROM pg_replication_slots
                       WHERE database = current_database()""",
                    [position],
                )
            ).fetchone()
        assert row is not None
        assert row[0], "the publisher has not come past the snapshot"

    await eventually(confirmed, 60)
    changes = await read_stream(js)
    assert_strictly_ordered(changes)
    seen = replay(changes, snapshot)
    for table in TABLES:
        ours, theirs = tables[table], seen.get(table, {})
        assert ours.keys() == theirs.keys(), (
            table,
            sorted(ours.keys() - theirs.keys())[:5],
            sorted(theirs.keys() - ours.keys())[:5],
        )
        for key, row in ours.items():
            assert row == theirs[key], (table, key)
