"""PostgreSQL connections that notice a dead peer, on both sides, within 15 seconds."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

import psycopg
from psycopg_pool import AsyncConnectionPool
from pydantic import SecretStr

from ssmd_common.connections.hosts import NoHost
from ssmd_common.connections.retry import service_health, unless_stopped, within_budget
from ssmd_common.connections.server import Server
from ssmd_common.connections.session import Login, Session, elsewhere, open_session, settle
from ssmd_common.errors import ConfigurationError

_MEND: Final = "check DATABASE_URL and that PostgreSQL runs"
_PROMOTED_SECONDS: Final = 1.0

FAULTS_OF_CONFIGURATION: Final = (
    psycopg.errors.InvalidPassword,
    psycopg.errors.InvalidAuthorizationSpecification,
    psycopg.errors.InvalidCatalogName,
)

_REFUSALS: Final = (
    "password authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "unsupported startup parameter",
)


async def connect(
    url: SecretStr, application: str, *, budget_seconds: float, reads: bool = False, **more: Any
) -> Session:
    """An autocommit connection in UTC, tried again within the budget.

    A service waits as long as it takes for a server that takes no writes, and says so in its
    health; not where it only `reads`. A command is given what there is.

    Raises:
        UpstreamUnavailable: no answer within the budget.
        ConfigurationError: the server answers and refuses the role, the password or the database;
            the database cannot be used as it is, or a pooler shares its sessions.
        StopRequested: the service was asked to stop meanwhile.
    """
    login = Login.of(url, application, **more)

    async def attempt() -> Session:
        try:
            return await open_session(login)
        except psycopg.OperationalError as error:
            raise_if_refused(error)
            raise

    health = service_health.get()
    while True:
        session = await within_budget(
            "PostgreSQL",
            _MEND,
            attempt,
            budget_seconds=budget_seconds,
            retry_on=(psycopg.OperationalError,),
        )
        if health is None or reads:
            return session
        health.tell_writable(session.refuses_writes)
        if session.refuses_writes is None:
            return session
        await session.close()
        health.progress()
        await unless_stopped(asyncio.sleep(_PROMOTED_SECONDS, result=True))


async def open_pool(
    url: SecretStr,
    application: str,
    *,
    budget_seconds: float,
    max_size: int,
    configure: Callable[[Session], Awaitable[None]] | None = None,
    check: Callable[[Session], Awaitable[None]] | None = None,
    reads: bool = False,
    **options: Any,
) -> AsyncConnectionPool[psycopg.AsyncConnection[Any]]:
    """An open pool whose first connection has been made; the caller closes it.

    `configure` prepares each new connection, `check` raises for one that is no good when it is
    lent (default: it answers a query); `reads` as for `connect`; `options` are psycopg's, such as
    `autocommit`.
    """
    first = await connect(url, application, budget_seconds=budget_seconds, reads=reads)
    await first.close()
    login = first.login

    async def configured(session: Session) -> None:
        await settle(session, login)
        if configure is not None:
            await configure(session)

    pool = AsyncConnectionPool(
        login.info,
        connection_class=Session,
        min_size=1,
        max_size=max_size,
        timeout=10,
        open=False,
        name=application,
        configure=configured,
        kwargs=options,
        check=check or AsyncConnectionPool.check_connection,
    )
    await pool.open()
    # To its borrowers a connection like any other.
    return cast("AsyncConnectionPool[psycopg.AsyncConnection[Any]]", pool)


def raise_if_refused(error: psycopg.OperationalError) -> None:
    """Turn what no retry can mend into a ConfigurationError."""
    text = str(error)
    if is_refused(error):
        line = next((part for part in text.splitlines() if "FATAL" in part), text).strip()
        raise ConfigurationError(
            f"PostgreSQL refuses the connection ({line.partition('FATAL:')[2].strip() or line}): "
            "check the role, password and database in DATABASE_URL"
        ) from error


def is_refused(error: BaseException) -> bool:
    """Whether the server answers, and no retry can mend what it says; of several hosts, each."""
    if isinstance(error, NoHost):
        return bool(error.errors) and all(map(is_refused, error.errors))
    text = str(error)
    # While connecting, psycopg has only the server's text: no SQLSTATE reaches it.
    return isinstance(error, FAULTS_OF_CONFIGURATION) or any(part in text for part in _REFUSALS)


@contextmanager
def cut_off_after(connection: psycopg.AsyncConnection[Any], seconds: float) -> Iterator[None]:
    """Whoever waits on the connection for longer than that, while inside, finds it closed.

    Cancelling the task would not do: psycopg then waits for the server to confirm.
    """
    timer = asyncio.get_running_loop().call_later(seconds, cut_off, connection)
    try:
        yield
    finally:
        timer.cancel()


def cut_off(connection: psycopg.AsyncConnection[Any]) -> None:
    """Whoever waits on the connection finds it closed."""
    if not connection.closed:
        # The other side may have done so before us.
        with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)


def leave_others(session: Session) -> list[Server]:
    """Cut off what is on other servers than `session`, which has just been opened by the same URL.

    After a failover old connections can be on the old primary, which may live and take writes.
    Whoever used them connects anew, as after any loss. Nothing is left for a server that takes no
    writes. Returns the servers that were left; an earlier run of the same is one, if its end was
    not noticed yet.
    """
    if session.refuses_writes is not None:
        return []
    others = elsewhere(session)
    for other in others:
        cut_off(other)
    return list({other.server: None for other in others})
