"""Rows of PostgreSQL as JSON, the way the change stream's `data` shows them.

Integers are JSON integers, NUMERIC strings as PostgreSQL prints them, timestamps RFC 3339 UTC with
a fraction only where there is one, arrays and jsonb JSON.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from ssmd_cache.picture import TABLES
from ssmd_common.sql import Queries
from ssmd_common.tasks import end

queries: Final = Queries("ssmd_cache")

Connection = psycopg.AsyncConnection[Any]

_AS_IT_IS: Final = sql.SQL("t.{column}")
_AS_TEXT: Final = sql.SQL("t.{column}::text AS {column}")
# Years before 1 and after 9999 as ISO 8601 extends them; infinity keeps PostgreSQL's word.
_AS_TIME: Final = sql.SQL(
    "CASE WHEN t.{column} >= '0001-01-01Z' AND t.{column} < '10000-01-01Z'"
    " THEN replace((t.{column} AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z'"
    " WHEN NOT isfinite(t.{column}) THEN t.{column}::text"
    " WHEN t.{column} > '0001-01-01Z'"
    " THEN '+' || replace((t.{column} AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z'"
    " ELSE CASE WHEN extract(year FROM t.{column} AT TIME ZONE 'UTC') < -1 THEN '-' ELSE '' END"
    " || lpad((-1 - extract(year FROM t.{column} AT TIME ZONE 'UTC'))::text, 4, '0')"
    " || replace(substr(rtrim((t.{column} AT TIME ZONE 'UTC')::text, ' BC'), 5), ' ', 'T') || 'Z'"
    " END AS {column}"
)
_RENDERED: Final = {"numeric": _AS_TEXT, "timestamptz": _AS_TIME}


class Rows:
    """Reads rows over one connection; `prepare` first."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._columns: dict[str, sql.Composed] = {}

    async def prepare(self) -> None:
        """Learn the tables' columns, and make timestamps print the same everywhere."""
        await self._connection.execute("SET datestyle = 'ISO'")
        for table in TABLES:
            cursor = await self._connection.execute(queries.columns, (table,))
            self._columns[table] = sql.SQL(", ").join(
                _RENDERED.get(kind, _AS_IT_IS).format(column=sql.Identifier(column))
                for column, kind in await cursor.fetchall()
            )

    async def all(self, table: str, now: datetime, size: int) -> AsyncGenerator[list[bytes], None]:
        """Every row of a table that may have a key at `now`, in pages, by a server-side cursor.

        The connection must be in a transaction, whose snapshot is what is read.
        """
        statement = self._statement(table)
        name = f"ssmd_cache_{table}"
        async with self._connection.cursor(name, binary=True) as cursor:
            cursor.itersize = size
            await cursor.execute(statement, {"now": now})
            # The next page is on its way while this one is used.
            coming = asyncio.create_task(cursor.fetchmany(size), name="cache-next-page")
            try:
                while page := await coming:
                    coming = asyncio.create_task(cursor.fetchmany(size), name="cache-next-page")
                    yield [row[0] for row in page]
            finally:
                await end(coming)

    async def some(self, table: str, tickers: Sequence[str]) -> list[bytes]:
        """The rows of these tickers (of series_fees: of these series), whatever their state."""
        if not tickers:
            return []
        cursor = await self._connection.execute(
            self._statement(f"one_{table}", table), {"tickers": list(tickers)}, binary=True
        )
        return [row[0] for row in await cursor.fetchall()]

    def _statement(self, query: str, table: str | None = None) -> sql.Composed:
        return sql.SQL(getattr(queries, query)).format(columns=self._columns[table or query])
