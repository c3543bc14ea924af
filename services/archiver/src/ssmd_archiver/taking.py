"""A day's state: PostgreSQL's rows, and where the stream goes on from them."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from ssmd_archive.manifest import StateFile
from ssmd_archive.state import TABLES, StateWriter
from ssmd_archiver.health import StreamHealth
from ssmd_archiver.settings import ArchiverSettings
from ssmd_archiver.threads import in_thread
from ssmd_common.sql import Queries
from ssmd_stream.join import Join, joined_at
from ssmd_stream.rowjson import rows_as_json
from ssmd_stream.stream import Stream

queries: Final = Queries("ssmd_archiver")

_PAGE_ROWS: Final = 500

Connection = psycopg.AsyncConnection[Any]


class Taken(NamedTuple):
    """A state whose files are on the disk, and are nothing before the manifest lists them."""

    writer: StateWriter
    files: list[StateFile]
    snapshot: str
    lsn: str
    epoch: int


async def take(
    settings: ArchiverSettings,
    stream: Stream,
    begin: Callable[[int], Awaitable[StateWriter]],
    health: StreamHealth,
) -> Taken:
    """Read all rows into files, which `begin` opens for a sequence after which the stream goes on.

    Raises:
        psycopg.Error, UpstreamUnavailable: PostgreSQL or NATS do not answer.
        OSError: the files cannot be written.
    """
    async with joined_at(
        settings.database_url,
        stream,
        "ssmd-archiver",
        wait_seconds=settings.archiver_snapshot_wait_seconds,
        budget_seconds=settings.startup_budget_seconds,
        progress=health.progress,
        waits=False,
    ) as join:
        state = await begin(join.sequence)
        try:
            lsn, epoch = await _place(join, stream)
            expressions = await rows_as_json(join.connection, TABLES)
            for table in TABLES:
                await _copy(join.connection, table, expressions[table], state)
            files = await in_thread(state.finish)
        except BaseException:
            state.discard()
            raise
    return Taken(state, files, str(join.snapshot), lsn, epoch)


async def _place(join: Join[Connection], stream: Stream) -> tuple[str, int]:
    """An LSN below which all was committed that the snapshot holds, and the epoch of its rows.

    The publisher remembers an epoch before it announces it, and publishes before it remembers.
    """
    cursor = await join.connection.execute(queries.place)
    row = await cursor.fetchone()
    assert row is not None
    position = await stream.position_at(join.sequence)
    return row[0], max(row[1], position.epoch if position else 0)


async def _copy(connection: Connection, table: str, row: sql.Composed, state: StateWriter) -> None:
    statement = sql.SQL(queries.rows).format(row=row, table=sql.Identifier(table))
    await in_thread(state.add, table, [])
    async with connection.cursor(f"ssmd_archiver_{table}", binary=True) as cursor:
        cursor.itersize = _PAGE_ROWS
        await cursor.execute(statement, {"close": "}"})
        while page := await cursor.fetchmany(_PAGE_ROWS):
            await in_thread(state.add, table, [found for (found,) in page])
