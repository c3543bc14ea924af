"""Rows of PostgreSQL as JSON, the way the change stream's `data` shows them.

Integers are JSON integers, NUMERIC strings as PostgreSQL prints them, timestamps RFC 3339 UTC with
a fraction only where there is one, arrays and jsonb JSON.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from ssmd_cache.projection.facts import TABLES
from ssmd_common.sql import Queries
from ssmd_common.tasks import end

queries: Final = Queries("ssmd_cache.database")

Connection = psycopg.AsyncConnection[Any]

_TEXT: Final = "coalesce(t.{column}::text, 'null')"
# Years before 1 and after 9999 as ISO 8601 extends them; infinity keeps PostgreSQL's word.
_TIME: Final = (
    "CASE WHEN t.{column} IS NULL THEN 'null' ELSE '\"' ||"
    " CASE WHEN t.{column} >= '0001-01-01Z' AND t.{column} < '10000-01-01Z'"
    " THEN replace((t.{column} AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z'"
    " WHEN NOT isfinite(t.{column}) THEN t.{column}::text"
    " WHEN t.{column} > '0001-01-01Z'"
    " THEN '+' || replace((t.{column} AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z'"
    " ELSE CASE WHEN extract(year FROM t.{column} AT TIME ZONE 'UTC') < -1 THEN '-' ELSE '' END"
    " || lpad((-1 - extract(year FROM t.{column} AT TIME ZONE 'UTC'))::text, 4, '0')"
    " || replace(substr(rtrim((t.{column} AT TIME ZONE 'UTC')::text, ' BC'), 5), ' ', 'T') || 'Z'"
    " END || '\"' END"
)
_RENDERED: Final = {
    **dict.fromkeys(("int2", "int4", "int8", "bool", "jsonb"), _TEXT),
    "numeric": "coalesce('\"' || t.{column}::text || '\"', 'null')",
    "timestamptz": _TIME,
}
_OTHER: Final = "coalesce(to_json(t.{column})::text, 'null')"
_MOST_ARGUMENTS: Final = 100
"""A function of PostgreSQL takes no more."""


class Rows:
    """Reads rows over one connection; `prepare` first."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: dict[str, sql.Composed] = {}

    async def prepare(self) -> None:
        """Learn the tables' columns, and make timestamps print the same everywhere."""
        await self._connection.execute("SET datestyle = 'ISO'")
        for table in TABLES:
            cursor = await self._connection.execute(queries.columns, (table,))
            self._rows[table] = _as_json(await cursor.fetchall())

    async def all(
        self, table: str, now: datetime, size: int, close: str = "}"
    ) -> AsyncGenerator[list[tuple[Any, ...]], None]:
        """Every row of a table that may have a key at `now`, in pages, by a server-side cursor.

        A row is (JSON,); of markets (JSON, category); of series_fees ([JSON, …],), all steps of a
        series. `close` ends each JSON: more members may stand there, before the brace.
        The connection must be in a transaction, whose snapshot is what is read.
        """
        statement = self._statement(table)
        name = f"ssmd_cache_{table}"
        async with self._connection.cursor(name, binary=True) as cursor:
            cursor.itersize = size
            await cursor.execute(statement, {"now": now, "close": close})
            coming: deque[asyncio.Task[list[tuple[Any, ...]]]] = deque()

            def ask() -> None:
                coming.append(asyncio.create_task(cursor.fetchmany(size), name="cache-next-page"))

            # The next page is on its way, and one asked for, while this one is used.
            ask()
            ask()
            try:
                while page := await coming.popleft():
                    ask()
                    yield page
                # Cancelling a query that runs aborts the transaction, which others still read in.
                await coming.popleft()
            finally:
                await end(*coming)

    async def some(self, table: str, tickers: Sequence[str]) -> list[bytes]:
        """The rows of these tickers (of series_fees: of these series), whatever their state."""
        # Text that PostgreSQL cannot hold is no row's ticker.
        tickers = [ticker for ticker in tickers if _can_be_stored(ticker)]
        if not tickers:
            return []
        cursor = await self._connection.execute(
            self._statement(f"one_{table}", table),
            {"tickers": tickers, "close": "}"},
            binary=True,
        )
        return [row[0] for row in await cursor.fetchall()]

    def _statement(self, query: str, table: str | None = None) -> sql.Composed:
        return sql.SQL(getattr(queries, query)).format(row=self._rows[table or query])


def _can_be_stored(ticker: str) -> bool:
    try:
        return b"\0" not in ticker.encode()
    except UnicodeEncodeError:
        return False


def _as_json(columns: Sequence[tuple[str, str]]) -> sql.Composed:
    """An expression for the row as JSON.

    It says what row_to_json would, which looks every column's type up anew for every row.
    """
    parts: list[sql.Composable] = []
    for column, kind in columns:
        parts.append(sql.Literal(("," if parts else "{") + f'"{column}":'))
        rendered = sql.SQL(_RENDERED.get(kind, _OTHER))
        parts.append(rendered.format(column=sql.Identifier(column)))
    parts.append(sql.SQL("%(close)s::text"))
    calls = [
        sql.SQL("concat({})").format(sql.SQL(", ").join(parts[at : at + _MOST_ARGUMENTS]))
        for at in range(0, len(parts), _MOST_ARGUMENTS)
    ]
    return sql.SQL(" || ").join(calls)
