"""A snapshot of PostgreSQL, and where the change stream completes it: by visibility
(docs/architecture.md, decision 4)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from pydantic import SecretStr

from ssmd_cache.rows import Connection, Rows, queries
from ssmd_cache.stream import Stream
from ssmd_common.change import Position, parse_lsn
from ssmd_common.connections import postgres
from ssmd_common.visibility import Snapshot, early

log = structlog.get_logger(__name__)

_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Join:
    """What a picture is made of: a snapshot, and the place from which the stream completes it.

    `sequence` is the stream's last message that the snapshot certainly holds. `position` is below
    that of every change which the snapshot does not hold.
    """

    rows: Rows
    snapshot: Snapshot
    sequence: int
    position: Position
    stream_created: str


@asynccontextmanager
async def join(
    url: SecretStr,
    stream: Stream,
    *,
    wait_seconds: float,
    budget_seconds: float,
    progress: Callable[[], None] = lambda: None,
) -> AsyncIterator[Join]:
    """A snapshot, held while inside, and where to join the stream.

    Older transactions may be in the stream and yet invisible; they are waited for, which is
    `progress`. Past `wait_seconds` the stream is joined near its beginning instead, where all of
    them come again.
    """
    info = await stream.info()
    connection = await postgres.connect(url, "ssmd-cache-snapshot", budget_seconds=budget_seconds)
    async with connection:
        sequence = info.last_sequence
        if await _older_are_finished(connection, wait_seconds, progress):
            position = await stream.position_at(sequence)
        else:
            info = await stream.info()
            sequence = early(info.first_sequence, info.last_sequence)
            position = None
            log.warning("older transactions still run, joining early", after_sequence=sequence)
        if position is None:
            position = await _before(connection, await stream.position_at(sequence + 1))
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = await (await connection.execute(queries.current_snapshot)).fetchone()
        assert row is not None
        await _make_durable(url, budget_seconds)
        rows = Rows(connection)
        await rows.prepare()
        yield Join(rows, Snapshot.parse(row[0]), sequence, position, info.created)


async def _make_durable(url: SecretStr, budget_seconds: float) -> None:
    """Flush the end of every transaction that the snapshot sees.

    After a crash PostgreSQL gives ids again that no flushed WAL mentions. A transaction that was
    given an id which the snapshot counts as seen would be taken for one that it holds.
    """
    connection = await postgres.connect(url, "ssmd-cache-flush", budget_seconds=budget_seconds)
    async with connection, connection.transaction():
        # Flushed here is enough: waiting for a standby could take for ever.
        await connection.execute("SET LOCAL synchronous_commit = local")
        await connection.execute(queries.write_wal)


async def _older_are_finished(
    connection: Connection, wait_seconds: float, progress: Callable[[], None]
) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_seconds
    newest = await _number(connection, queries.new_xid)
    while await _number(connection, queries.oldest_running) <= newest:
        if loop.time() >= deadline:
            return False
        progress()
        await asyncio.sleep(_POLL_SECONDS)
    return True


async def _before(connection: Connection, following: Position | None) -> Position:
    """A position before the stream's next message, in the epoch that the publisher remembers."""
    if following is not None:
        return Position(following.epoch, 0, 0)
    row = await (await connection.execute(queries.publication)).fetchone()
    # At or before the publisher's last message, which the snapshot holds.
    return Position(row[0], parse_lsn(row[1]), row[2]) if row else Position(0, 0, 0)


async def _number(connection: Connection, query: str) -> int:
    row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return int(row[0])
