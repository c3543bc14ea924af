"""The live view's source for services of ours: PostgreSQL and NATS, never the API."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

from ssmd_client.errors import Missing
from ssmd_client.live.compact import LEFT_OUT, TABLES
from ssmd_client.live.messages import Message
from ssmd_client.live.scope import KINDS, Scope
from ssmd_client.live.source import Batch, Gone, Interrupted, RawRow, Start

try:
    import nats.errors
    import psycopg
    from psycopg import sql

    from ssmd_common.connections import nats as connections
    from ssmd_common.connections import postgres
    from ssmd_common.connections.retry import first_line
    from ssmd_common.errors import UpstreamUnavailable
    from ssmd_common.settings import NatsSettings, PostgresSettings
    from ssmd_common.tables import PRIMARY_KEY
    from ssmd_stream.errors import ReaderBroken, StreamGap
    from ssmd_stream.join import joined_at
    from ssmd_stream.reader import reading
    from ssmd_stream.rowjson import rows_as_json
    from ssmd_stream.stream import Stream
except ImportError as error:
    raise Missing(
        "the libraries for PostgreSQL and NATS are not installed: pip install 'ssmd-client[direct]'"
    ) from error

_ROWS: Final = 1000
_BATCH: Final = 500
_WAIT_SECONDS: Final = 1.0
_JOIN_SECONDS: Final = 30.0
_BUDGET_SECONDS: Final = 5.0


class ServerSettings(PostgresSettings, NatsSettings):
    """The addresses of both servers, as every service of ours has them."""


class DirectSource:
    """PostgreSQL for snapshots and single rows, NATS for what comes after."""

    def __init__(self, settings: ServerSettings, scope: Scope, application: str) -> None:
        """`application` is what connections are named for."""
        self._settings = settings
        self._scope = scope
        self._application = application
        self._stream: Stream | None = None
        self._created = ""
        self._next = 0
        self._last: Message | None = None
        """The message before `_next`, as it was read."""

    async def close(self) -> None:
        if self._stream is not None:
            await connections.close(self._stream.client)

    async def snapshot(self) -> AsyncIterator[Start | list[RawRow]]:
        try:
            async with AsyncExitStack() as stack:
                stream = await self._connected()
                join = await stack.enter_async_context(
                    joined_at(
                        self._settings.database_url,
                        stream,
                        self._application,
                        wait_seconds=_JOIN_SECONDS,
                        budget_seconds=_BUDGET_SECONDS,
                        waits=False,
                    )
                )
                self._created, self._next = join.stream.created, join.sequence + 1
                self._last = None
                yield Start(join.snapshot, join.sequence)
                expressions = await rows_as_json(join.connection, list(TABLES), without=LEFT_OUT)
                for table, row in expressions.items():
                    async for page in self._pages(join.connection, table, row):
                        yield page
        except (psycopg.OperationalError, UpstreamUnavailable, nats.errors.Error, OSError) as error:
            raise Interrupted(first_line(error)) from error

    async def follow(self) -> AsyncIterator[Batch]:
        try:
            stream = await self._connected()
            await self._require_same(stream)
            async with reading(stream, self._next) as reader:
                if reader.is_current:
                    yield Batch((), self._next - 1, is_current=True)
                while True:
                    found = await reader.batch(_BATCH, _WAIT_SECONDS)
                    messages = [
                        Message(each.sequence, each.subject, each.payload) for each in found
                    ]
                    if found:
                        self._next = found[-1].sequence + 1
                        self._last = messages[-1]
                        yield Batch(messages, self._next - 1, reader.is_current)
                    else:
                        yield Batch((), self._next - 1, reader.is_current)
        except StreamGap as error:
            raise Gone(str(error)) from error
        except (
            ReaderBroken,
            UpstreamUnavailable,
            nats.errors.Error,
            TimeoutError,
            OSError,
        ) as error:
            raise Interrupted(first_line(error)) from error

    async def row(self, table: str, key: dict[str, Any], *, whole: bool = False) -> bytes | None:
        try:
            session = await postgres.connect(
                self._settings.database_url,
                f"{self._application}-row",
                budget_seconds=_BUDGET_SECONDS,
                reads=True,
            )
            async with session as connection:
                without = () if whole else LEFT_OUT
                row = (await rows_as_json(connection, [table], without=without))[table]
                names = PRIMARY_KEY[table]
                statement = sql.SQL("SELECT {row} FROM {table} t WHERE {where}").format(
                    row=row,
                    table=sql.Identifier(table),
                    where=sql.SQL(" AND ").join(
                        sql.SQL("{} = {}").format(sql.Identifier("t", name), sql.Placeholder(name))
                        for name in names
                    ),
                )
                values = {name: key[name] for name in names}
                cursor = await connection.execute(statement, {"close": "}", **values})
                found = await cursor.fetchone()
        except (psycopg.OperationalError, UpstreamUnavailable, OSError) as error:
            raise Interrupted(first_line(error)) from error
        return None if found is None else str(found[0]).encode()

    async def _pages(
        self, connection: psycopg.AsyncConnection[Any], table: str, row: sql.Composed
    ) -> AsyncIterator[list[RawRow]]:
        column = "ticker" if table == "series" else "series_ticker"
        some = bool(self._scope.series) and table != "fees"
        conditions: list[sql.Composable] = [sql.SQL("true")]
        if some:
            conditions.append(sql.SQL("{} = ANY(%(series)s)").format(sql.Identifier("t", column)))
        if table in KINDS and not self._scope.multivariate:
            conditions.append(sql.SQL("t.mve_collection_ticker IS NULL"))
        statement = sql.SQL("SELECT {row} FROM {table} t WHERE {where}").format(
            row=row,
            table=sql.Identifier(table),
            where=sql.SQL(" AND ").join(conditions),
        )
        parameters: dict[str, Any] = {"close": "}"}
        if some:
            parameters["series"] = list(self._scope.series)
        async with connection.cursor(f"{self._application}_{table}") as cursor:
            cursor.itersize = _ROWS
            await cursor.execute(statement, parameters)
            while page := await cursor.fetchmany(_ROWS):
                yield [RawRow(table, found) for (found,) in page]

    async def _connected(self) -> Stream:
        if self._stream is None or self._stream.client.is_closed:
            client = await connections.connect(
                self._settings, self._application, budget_seconds=_BUDGET_SECONDS
            )
            self._stream = Stream(client)
        return self._stream

    async def _require_same(self, stream: Stream) -> None:
        """Gone unless it is the stream that was joined, as far as it was read."""
        info = await stream.info()
        if info.created != self._created:
            raise Gone("the stream was made anew")
        if self._last is None:
            return
        stored = await stream.message(self._last.sequence)
        if stored is not None and stored.payload != self._last.payload:
            raise Gone("the stream was put back to an older state")
