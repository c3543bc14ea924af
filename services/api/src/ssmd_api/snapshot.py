"""What /v1/snapshot reads: a snapshot that joins the change stream by visibility
(docs/architecture.md, decision 4).

A reader applies a change after `sequence` if and only if its xid is invisible in `snapshot`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import sql

from ssmd_api import asof
from ssmd_api.asof import Past
from ssmd_api.changefilter import filters
from ssmd_api.database import Connection, Database
from ssmd_api.feed import ChangeFeed
from ssmd_api.kinds import KINDS, OF_BOTH_KINDS, Multivariate
from ssmd_api.lists import Statement
from ssmd_api.pages import texts
from ssmd_api.rendering import Rendering
from ssmd_api.shapes import Shape
from ssmd_common.columns import Table
from ssmd_common.tables import PUBLISHED

TABLES: Final = tuple(PUBLISHED)
"""Every table of the change stream."""

DEFAULT_TABLES: Final = tuple(table for table in TABLES if table != "market_lifecycle_events")
"""Without the log of all that ever happened, which only grows."""

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Taken:
    """One state of the database, readable while the context of `take` lasts."""

    snapshot: str
    sequence: int
    database: Database
    connection: Connection
    past: Past | None = None
    """The moment that it is of, if it is not of now: no place in the stream completes it."""

    async def rows(
        self,
        columns: Table,
        wanted: Mapping[str, str],
        multivariate: Multivariate = Multivariate.EXCLUDE,
    ) -> AsyncGenerator[Sequence[bytes], None]:
        """These columns of a table's rows as JSON, in pages, soft-deleted ones too; `wanted` is by
        `changefilter.filters`."""
        table, rendering = columns.name, Rendering(Shape(columns), {"": "t"})
        kinds = KINDS[multivariate] if table in OF_BOTH_KINDS else ()
        query = sql.SQL("SELECT {text} FROM {table} t {joins} WHERE {conditions}").format(
            text=rendering.text,
            joins=rendering.joins,
            table=sql.Identifier(table),
            conditions=sql.SQL(" AND ").join(
                [
                    sql.SQL("({})").format(_any_of(kinds)),
                    *(_is(filters(table)[name], name) for name in wanted),
                ]
            ),
        )
        statement = Statement(query, dict(wanted))
        if self.past is not None:
            statement = Statement(asof.then(query), self.past.parameters(wanted))
        pages = self.database.pages(self.connection, statement, _PAGE)
        async with aclosing(pages):
            async for page in pages:
                yield rendering.rows(texts(page, page.ntuples))


def _any_of(kinds: Sequence[LiteralString]) -> sql.Composable:
    if not kinds:
        return sql.SQL("true")
    return sql.SQL(" OR ").join([sql.SQL("t." + kind) for kind in kinds])


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
    """Take a snapshot, and find where the stream completes it (`ssmd_stream.join`)."""
    # Imported when it is needed: NATS' library is.
    from ssmd_stream.join import joined

    stream = await feed.stream()
    async with joined(
        stream, database.cursor, database.reading, wait_seconds=wait_seconds
    ) as found:
        yield Taken(str(found.snapshot), found.sequence, database, found.connection)
