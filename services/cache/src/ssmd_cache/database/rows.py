"""Rows of PostgreSQL as JSON, as `ssmd_stream.rowjson` spells them."""

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
from ssmd_stream.rowjson import rows_as_json

queries: Final = Queries("ssmd_cache.database")

Connection = psycopg.AsyncConnection[Any]


class Rows:
    """Reads rows over one connection; `prepare` first."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: dict[str, sql.Composed] = {}

    async def prepare(self) -> None:
        """Learn the tables' columns, and make timestamps print the same everywhere."""
        self._rows = await rows_as_json(self._connection, TABLES)

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
