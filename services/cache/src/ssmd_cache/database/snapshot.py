"""A warm-up's snapshot: PostgreSQL's rows, and where the change stream goes on."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pydantic import SecretStr

from ssmd_cache.database.rows import Connection, Rows, queries
from ssmd_stream.change import Position, parse_lsn
from ssmd_stream.join import joined_at
from ssmd_stream.stream import Stream
from ssmd_stream.visibility import Snapshot


@dataclass(frozen=True, slots=True)
class Join:
    """`ssmd_stream.join.Join` as cache needs it: rows by table, and the place as a position.

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
    """A snapshot, held while inside, and where to join the stream (`ssmd_stream.join`)."""
    async with joined_at(
        url,
        stream,
        "ssmd-cache",
        wait_seconds=wait_seconds,
        budget_seconds=budget_seconds,
        progress=progress,
    ) as found:
        position = await stream.position_at(found.sequence)
        if position is None:
            following = await stream.position_at(found.sequence + 1)
            position = await _before(found.connection, following)
        rows = Rows(found.connection)
        await rows.prepare()
        yield Join(rows, found.snapshot, found.sequence, position, found.stream.created)


async def _before(connection: Connection, following: Position | None) -> Position:
    """A position before the stream's next message, in the epoch that the publisher remembers."""
    if following is not None:
        return Position(following.epoch, 0, 0)
    # At or before the publisher's last message, which the snapshot holds.
    row = await (await connection.execute(queries.publication)).fetchone()
    return Position(row[0], parse_lsn(row[1]), row[2]) if row else Position(0, 0, 0)
