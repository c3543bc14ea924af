"""Connections to PostgreSQL, with a bound on every wait.

`statement_timeout` bounds a server that works; one that accepts and never answers is cut off by us.
Cancelling the task would not do: psycopg then waits for the server to confirm.

Whoever needs a connection waits for a turn first, so that a full pool is told from a server that
is away, and no key's requests starve another's. One connection is kept from them, for what the
service itself needs: who is asking, whether PostgreSQL works.
"""

import asyncio
import select
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

import psycopg
from psycopg import IsolationLevel, sql
from psycopg.pq.abc import PGresult
from psycopg_pool import AsyncConnectionPool

from ssmd_api import rendering, results, rows
from ssmd_api.lists import Statement
from ssmd_api.settings import ApiSettings
from ssmd_api.turns import NoTurn, Turns
from ssmd_common.connections import postgres
from ssmd_common.connections.rights import require_rights
from ssmd_common.connections.session import Session, look

Connection = psycopg.AsyncConnection[Any]
Pool = AsyncConnectionPool[Connection]
Cursor = psycopg.AsyncCursor[tuple[Any, ...]]

SHORT_PATIENCE_SECONDS: Final = 1.0
"""For what a read from Redis can do without."""

PLANNING: Final = {
    "random_page_cost": "1.1",
    "jit": "off",
    "plan_cache_mode": "force_custom_plan",
    "max_parallel_workers_per_gather": "0",
}
"""What plans are made with: the tables are in memory; a page's query is over before any code of it
is compiled; what is right for one category is wrong for another; and stretches of an order are read
one after the other (`ssmd_api.where`)."""

_PATIENCE_SECONDS: Final = 5.0

GENERIC: Final = "SELECT set_config('plan_cache_mode', 'force_generic_plan', false)"
CUSTOM: Final = f"SELECT set_config('plan_cache_mode', '{PLANNING['plan_cache_mode']}', false)"

_queries: ContextVar[int] = ContextVar("queries", default=0)


def queries_run() -> int:
    """How often the task that asks has borrowed a cursor."""
    return _queries.get()


_GRACE_SECONDS: Final = 2.0
_TRUSTED_SECONDS: Final = 1.0

_answered_at: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
_generic: WeakSet[Connection] = WeakSet()
"""Those that plan without the values at hand."""


class Overloaded(psycopg.OperationalError):
    """Every connection was in use for as long as one waits for a turn, or too many wait."""


@asynccontextmanager
async def open_pool(settings: ApiSettings) -> AsyncIterator[Pool]:
    """Autocommit connections in UTC, whose statements are cancelled when they take too long."""
    timeout = f"{settings.api_statement_timeout_seconds * 1000:.0f}"

    async def configure(connection: psycopg.AsyncConnection[Any]) -> None:
        # Of a cursor's own adapters there would be a copy for each answer.
        rows.register(connection)
        # After a rollback psycopg deallocates everything where it prepared anything itself: what
        # `results` prepared would go, too.
        connection.prepare_threshold = None
        await connection.execute("SELECT set_config('statement_timeout', %s, false)", (timeout,))
        for name, value in PLANNING.items():
            await connection.execute("SELECT set_config(%s, %s, false)", (name, value))

    pool = await postgres.open_pool(
        settings.database_url,
        "ssmd-api",
        budget_seconds=settings.startup_budget_seconds,
        max_size=settings.api_pool_size,
        configure=configure,
        check=_check,
        reads=True,
        autocommit=True,
    )
    try:
        async with pool.connection() as connection:
            await require_rights(connection, "api")
        yield pool
    finally:
        await pool.close()


class Database:
    """Lends cursors that yield rows in the shape of `ssmd_api.rows`."""

    def __init__(self, pool: Pool, statement_seconds: float = 10.0) -> None:
        self._pool = pool
        self._answer_seconds = statement_seconds + _GRACE_SECONDS
        self._requests = Turns(max(1, pool.max_size - 1))
        self._upkeep = Turns(1)
        self.patience_seconds = _PATIENCE_SECONDS
        """How long one waits for a turn, and then for a connection."""

    def cursor(self) -> AbstractAsyncContextManager[Cursor]:
        """A cursor for one answer.

        Raises:
            Overloaded: all connections are in use.
            psycopg.OperationalError: no connection, or no answer within the time for a statement
                and a grace.
        """
        _queries.set(_queries.get() + 1)
        return self._cursor(self._requests, self.patience_seconds)

    async def result(self, statement: Statement, *, generic: bool = False) -> PGresult:
        """What a statement finds, as it comes (`ssmd_api.results`); planned once for all values
        where these do not matter to its plan. Raises as above."""
        _queries.set(_queries.get() + 1)
        async with self._connection(
            self._requests, self.patience_seconds, generic=generic
        ) as connection:
            return await self.result_of(connection, statement)

    async def result_of(self, connection: Connection, statement: Statement) -> PGresult:
        """The same by such a connection."""
        version = connection.pgconn.server_version
        text = rendering.understood(statement.query.as_string(), version)
        with postgres.cut_off_after(connection, self._answer_seconds):
            return await results.fetched(connection, text, statement.parameters)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a transaction, for an answer that takes several statements; they come
        from `cursor_of`. Raises as above."""
        async with (
            self._connection(self._requests, self.patience_seconds) as connection,
            connection.transaction(),
        ):
            yield connection

    @asynccontextmanager
    async def cursor_of(self, connection: Connection) -> AsyncIterator[Cursor]:
        """A cursor for one statement of such an answer."""
        _queries.set(_queries.get() + 1)
        with postgres.cut_off_after(connection, self._answer_seconds):
            async with connection.cursor() as cursor:
                yield cursor

    def upkeep(
        self, patience_seconds: float = _PATIENCE_SECONDS
    ) -> AbstractAsyncContextManager[Cursor]:
        """The same of the connection that requests do not take: for short statements."""
        return self._cursor(self._upkeep, patience_seconds)

    async def refuses_writes(self) -> str | None:
        """Why PostgreSQL takes no writes; None if it does.

        Raises:
            psycopg.OperationalError: it does not answer.
            ConfigurationError: a pooler shares its sessions.
        """
        async with self._connection(self._upkeep, SHORT_PATIENCE_SECONDS) as connection:
            assert isinstance(connection, Session)
            with postgres.cut_off_after(connection, self._answer_seconds):
                await look(connection)
            return connection.refuses_writes

    @asynccontextmanager
    async def reading(
        self,
    ) -> AsyncIterator[Connection]:
        """A connection in a transaction that reads one state of the database throughout."""
        async with self._connection(self._requests, self.patience_seconds) as connection:
            await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            await connection.set_read_only(True)
            try:
                async with connection.transaction():
                    yield connection
            finally:
                if not connection.closed:
                    await connection.set_isolation_level(None)
                    await connection.set_read_only(None)

    @asynccontextmanager
    async def _cursor(self, turns: Turns, patience_seconds: float) -> AsyncIterator[Cursor]:
        async with self._connection(turns, patience_seconds) as connection:
            with postgres.cut_off_after(connection, self._answer_seconds):
                yield connection.cursor()

    @asynccontextmanager
    async def _connection(
        self, turns: Turns, patience_seconds: float, *, generic: bool = False
    ) -> AsyncIterator[Connection]:
        try:
            await turns.take(patience_seconds)
        except NoTurn:
            raise Overloaded("every connection to PostgreSQL is in use") from None
        try:
            # Without the pool's own context, which would commit each time, though nothing is open.
            connection = await self._pool.getconn(patience_seconds)
            assert connection.autocommit, "nothing commits what such a connection writes"
            try:
                if generic is not (connection in _generic):
                    await self._replan(connection, generic=generic)
                yield connection
                _answered_at[connection] = time.monotonic()
            finally:
                await self._pool.putconn(connection)
        finally:
            turns.give_back()

    async def _replan(self, connection: Connection, *, generic: bool) -> None:
        with postgres.cut_off_after(connection, self._answer_seconds):
            await results.fetched(connection, GENERIC if generic else CUSTOM, {})
        (_generic.add if generic else _generic.discard)(connection)

    async def pages(
        self, connection: Connection, statement: Statement, size: int
    ) -> AsyncGenerator[PGresult, None]:
        """What a statement finds, as it comes, `size` rows at a time; PostgreSQL writes the next
        ones meanwhile. For connections in a transaction, one statement at a time."""
        declare = sql.SQL("DECLARE ssmd_api_pages CURSOR FOR {}").format(statement.query)
        await self.result_of(connection, Statement(declare, statement.parameters))
        fetch = Statement(sql.SQL(f"FETCH FORWARD {size:d} FROM ssmd_api_pages"), {})
        coming = asyncio.create_task(self.result_of(connection, fetch))
        try:
            while (found := await coming).ntuples:
                coming = asyncio.create_task(self.result_of(connection, fetch))
                yield found
        finally:
            # Nobody may use the connection before the answer that is under way has come.
            await asyncio.wait([coming])
            _ = coming.cancelled() or coming.exception()
        await self.result_of(connection, Statement(sql.SQL("CLOSE ssmd_api_pages"), {}))


async def _check(connection: Connection) -> None:
    """Find out whether a connection works: by asking, unless its server answered a moment ago and
    has not said anything since, such as that it ends."""
    last = _answered_at.get(connection, float("-inf"))
    if time.monotonic() - last < _TRUSTED_SECONDS and not _is_told_something(connection):
        return
    with postgres.cut_off_after(connection, _GRACE_SECONDS):
        await AsyncConnectionPool.check_connection(connection)
    _answered_at[connection] = time.monotonic()


def _is_told_something(connection: Connection) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
