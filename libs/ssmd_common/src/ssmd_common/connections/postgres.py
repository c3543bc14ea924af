"""PostgreSQL connections that notice a dead peer, on both sides, within 15 seconds."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool
from pydantic import SecretStr

from ssmd_common.connections.retry import within_budget
from ssmd_common.deadlines import answered_within
from ssmd_common.errors import ConfigurationError

_MEND: Final = "check DATABASE_URL and that PostgreSQL runs"

# The server's side of the same promise: without it a lost node keeps its locks and slots for
# hours.
_SERVER_OPTIONS: Final = (
    "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3 "
    "-c tcp_user_timeout=12000 "
    # Timestamps read as text are then RFC 3339 but for one space and the zone.
    "-c TimeZone=UTC -c DateStyle=ISO"
)

_PATIENCE_SECONDS: Final = 120
"""psycopg's own limit, which goes by the clock: never the first to end an attempt."""

FAULTS_OF_CONFIGURATION: Final = (
    psycopg.errors.InvalidPassword,
    psycopg.errors.InvalidAuthorizationSpecification,
    psycopg.errors.InvalidCatalogName,
)


def conninfo(url: SecretStr, application: str, **more: Any) -> str:
    """The connection string with this project's timeouts; values in the URL itself win."""
    given = psycopg.conninfo.conninfo_to_dict(url.get_secret_value())
    ours: dict[str, Any] = {
        "application_name": application,
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 12000,
        "options": _SERVER_OPTIONS,
    }
    return make_conninfo("", **{**ours, **given, **more})


async def connect(
    url: SecretStr, application: str, *, budget_seconds: float, **more: Any
) -> psycopg.AsyncConnection[Any]:
    """An autocommit connection in UTC, tried again within the budget.

    Raises:
        UpstreamUnavailable: no answer within the budget.
        ConfigurationError: the server answers and refuses the role, the password or the database.
    """
    info = conninfo(url, application, **more)

    async def attempt() -> psycopg.AsyncConnection[Any]:
        try:
            return await open_connection(info, autocommit=True)
        except psycopg.OperationalError as error:
            raise_if_refused(error)
            raise

    return await within_budget(
        "PostgreSQL",
        _MEND,
        attempt,
        budget_seconds=budget_seconds,
        retry_on=(psycopg.OperationalError,),
    )


async def open_connection(info: str, **options: Any) -> psycopg.AsyncConnection[Any]:
    """One attempt to connect; `connect_timeout` counts the server's silence, not our own lateness.

    Raises:
        psycopg.OperationalError: it failed.
    """
    given = psycopg.conninfo.conninfo_to_dict(info)
    seconds = float(given.get("connect_timeout") or 0)
    if seconds <= 0 or "," in str(given.get("host", "")):
        # Of several hosts the next one is tried when the first does not answer, which psycopg does.
        return await psycopg.AsyncConnection.connect(info, **options)
    try:
        async with answered_within(seconds):
            patient = make_conninfo(info, connect_timeout=_PATIENCE_SECONDS)
            return await psycopg.AsyncConnection.connect(patient, **options)
    except TimeoutError as error:
        raise psycopg.errors.ConnectionTimeout("connection timeout expired") from error


async def open_pool(
    url: SecretStr,
    application: str,
    *,
    budget_seconds: float,
    max_size: int,
    configure: Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]] | None = None,
    check: Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]] | None = None,
    **options: Any,
) -> AsyncConnectionPool[psycopg.AsyncConnection[Any]]:
    """An open pool whose first connection has been made; the caller closes it.

    `configure` prepares each new connection, `check` raises for one that is no good when it is
    lent (default: it answers a query); `options` are psycopg's, such as `autocommit`.
    """
    first = await connect(url, application, budget_seconds=budget_seconds)
    await first.close()
    pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
        conninfo(url, application),
        min_size=1,
        max_size=max_size,
        timeout=10,
        open=False,
        name=application,
        configure=configure,
        kwargs=options,
        check=check or AsyncConnectionPool.check_connection,
    )
    await pool.open()
    return pool


def raise_if_refused(error: psycopg.OperationalError) -> None:
    """Turn what no retry can mend into a ConfigurationError."""
    text = str(error)
    # While connecting, psycopg has only the server's text: no SQLSTATE reaches it.
    refusals = ("password authentication failed", "does not exist", "no pg_hba.conf entry")
    if isinstance(error, FAULTS_OF_CONFIGURATION) or any(part in text for part in refusals):
        line = next((part for part in text.splitlines() if "FATAL" in part), text).strip()
        raise ConfigurationError(
            f"PostgreSQL refuses the connection ({line.partition('FATAL:')[2].strip() or line}): "
            "check the role, password and database in DATABASE_URL"
        ) from error


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
        with socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)
