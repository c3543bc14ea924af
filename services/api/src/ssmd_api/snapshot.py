"""A snapshot that joins the change stream by visibility (docs/architecture.md, decision 4).

A reader applies a change after `sequence` if and only if its xid is invisible in `snapshot`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import sql

from ssmd_api import rows
from ssmd_api.changefilter import filters
from ssmd_api.database import Connection, Database
from ssmd_api.feed import ChangeFeed
from ssmd_api.lists import Statement, columns
from ssmd_api.rows import Row
from ssmd_api.store import queries

_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "series": rows.SERIES,
    "events": rows.EVENTS,
    "markets": rows.MARKETS,
    "series_fees": rows.SERIES_FEES,
    "fees": rows.FEES,
    "market_lifecycle_events": rows.LIFECYCLE,
}
TABLES: Final = tuple(_COLUMNS)
"""Every table of the change stream."""

DEFAULT_TABLES: Final = tuple(table for table in TABLES if table != "market_lifecycle_events")
"""Without the log of all that ever happened, which only grows."""

_POLL_SECONDS: Final = 0.05
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Taken:
    """One state of the database, readable while the context of `take` lasts."""

    snapshot: str
    sequence: int
    database: Database
    connection: Connection

    async def rows(self, table: str, wanted: Mapping[str, str]) -> AsyncGenerator[list[Row], None]:
        """A table's rows in pages, soft-deleted ones too; `wanted` is by `changefilter.filters`."""
        names = _COLUMNS[table]
        query = sql.SQL("SELECT {columns} FROM {table} t WHERE {conditions}").format(
            columns=columns("t", names),
            table=sql.Identifier(table),
            conditions=sql.SQL(" AND ").join(
                [sql.SQL("true"), *(_is(filters(table)[name], name) for name in wanted)]
            ),
        )
        statement = Statement(query, dict(wanted))
        async with aclosing(self.database.pages(self.connection, statement, _PAGE)) as pages:
            async for page in pages:
                yield [dict(zip(names, values, strict=True)) for values in page]


def _is(either: tuple[str, ...], name: str) -> sql.Composable:
    """The first of the columns that is not null equals the parameter; as indexes can answer it."""
    column, *others = (sql.Identifier("t", column) for column in either)
    condition: sql.Composable = sql.SQL("{} = {}").format(column, sql.Placeholder(name))
    for other in others:
        condition = sql.SQL("({} OR {} IS NULL AND {} = {})").format(
            condition, column, other, sql.Placeholder(name)
        )
    return condition


@asynccontextmanager
async def take(
    database: Database, feed: ChangeFeed, *, wait_seconds: float
) -> AsyncIterator[Taken]:
    """Take a snapshot. Transactions that are older than it may be in the stream and yet invisible:

    they are waited for; past `wait_seconds` the stream is joined near its beginning instead.
    """
    sequence = await feed.last_sequence()
    if not await _older_are_finished(database, wait_seconds):
        sequence = await feed.early_sequence()
    async with database.reading() as connection:
        row = await (await connection.execute(queries.current_snapshot)).fetchone()
        assert row is not None
        # Without it PostgreSQL, after a crash, could give an id again that the snapshot counts as
        # seen: the reader would take the change under it for one that it has.
        async with database.cursor() as cursor:
            await cursor.execute(queries.write_wal)
        yield Taken(row[0], sequence, database, connection)


async def _older_are_finished(database: Database, wait_seconds: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_seconds
    newest = await _number(database, queries.new_xid)
    while await _number(database, queries.oldest_running) <= newest:
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True


async def _number(database: Database, query: LiteralString) -> int:
    async with database.cursor() as cursor:
        row = await (await cursor.execute(query)).fetchone()
        assert row is not None
        return int(row[0])
