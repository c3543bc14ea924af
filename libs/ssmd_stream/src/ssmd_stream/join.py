"""Joining a snapshot of PostgreSQL to the change stream by visibility (docs/architecture.md, 4).

A reader takes the snapshot's rows, reads the stream after the join's sequence, and applies a change
if and only if its transaction is invisible in the snapshot (`ssmd_stream.visibility.applies`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final, Generic, LiteralString, NamedTuple, Protocol, TypeAlias, TypeVar

import psycopg
import structlog
from psycopg import AsyncCursor
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.sql import Queries
from ssmd_stream.stream import Stream, StreamInfo
from ssmd_stream.visibility import Snapshot, early

log = structlog.get_logger(__name__)

queries: Final = Queries("ssmd_stream", "join.sql")

_POLL_SECONDS: Final = 0.05


class Executor(Protocol):
    """A connection, or a cursor of one."""

    def execute(self, query: LiteralString, /) -> Awaitable[AsyncCursor[Any]]: ...


C = TypeVar("C", bound=Executor)
Lend: TypeAlias = Callable[[], AbstractAsyncContextManager[C]]


class Join(NamedTuple, Generic[C]):
    """A snapshot, readable on `connection` while `joined` lasts, and where the stream completes it.

    `sequence` is the last message that the snapshot certainly holds, or near the stream's beginning
    where older transactions did not end in time.
    """

    snapshot: Snapshot
    sequence: int
    stream: StreamInfo
    connection: C


@asynccontextmanager
async def joined(
    stream: Stream,
    borrow: Lend[Executor],
    reading: Lend[C],
    *,
    wait_seconds: float,
    progress: Callable[[], None] = lambda: None,
) -> AsyncIterator[Join[C]]:
    """Take a snapshot. Transactions that are older may be in the stream and yet invisible: they are
    waited for, which is `progress`. Past `wait_seconds` the stream is joined near its beginning
    instead, where all of them come again.

    `borrow` lends a connection that commits by itself, `reading` one in a transaction which reads
    one state of the database throughout.
    """
    info = await stream.info()
    sequence = info.last_sequence
    if not await _older_are_finished(borrow, wait_seconds, progress):
        info = await stream.info()
        sequence = early(info.first_sequence, info.last_sequence)
        log.warning("older transactions still run, joining early", after_sequence=sequence)
    async with reading() as connection:
        snapshot = Snapshot.parse(await _value(connection, queries.current_snapshot))
        # After a crash PostgreSQL gives ids again that no flushed WAL mentions. A transaction that
        # was given an id which the snapshot counts as seen would be taken for one that it holds.
        async with borrow() as other:
            await other.execute(queries.write_wal)
        yield Join(snapshot, sequence, info, connection)


@asynccontextmanager
async def joined_at(
    url: SecretStr,
    stream: Stream,
    application: str,
    *,
    wait_seconds: float,
    budget_seconds: float,
    progress: Callable[[], None] = lambda: None,
    waits: bool = True,
) -> AsyncIterator[Join[psycopg.AsyncConnection[Any]]]:
    """`joined`, over connections of its own, named for the application.

    A server that takes no writes is waited for, or is an error where `waits` is False.
    """

    async def connect(what: str) -> psycopg.AsyncConnection[Any]:
        name = f"{application}-{what}"
        return await postgres.connect(url, name, budget_seconds=budget_seconds, reads=not waits)

    side = await connect("join")
    async with side:
        connection = await connect("snapshot")

        @asynccontextmanager
        async def reading() -> AsyncIterator[psycopg.AsyncConnection[Any]]:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection

        async with (
            connection,
            joined(
                stream,
                lambda: nullcontext(side),
                reading,
                wait_seconds=wait_seconds,
                progress=progress,
            ) as found,
        ):
            yield found


async def _older_are_finished(
    borrow: Lend[Executor], wait_seconds: float, progress: Callable[[], None]
) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_seconds
    async with borrow() as connection:
        newest = int(await _value(connection, queries.new_xid))
    while True:
        async with borrow() as connection:
            if int(await _value(connection, queries.oldest_running)) > newest:
                return True
        if loop.time() >= deadline:
            return False
        progress()
        await asyncio.sleep(_POLL_SECONDS)


async def _value(connection: Executor, query: LiteralString) -> Any:
    row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return row[0]
