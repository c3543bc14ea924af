"""Is a session ours alone? A pooler before PostgreSQL may lend it to others between statements.

A pooler shows at once: the process number that it gives its client is not the server's. Whether it
keeps a session for one client is then tried out, whatever its kind and however large its pool: the
session gets an idle limit of a tenth of a second. A session of our own ends with it, and our
connection too; one that was given back ends alone, or is used by others, and our connection lives.
"""

import asyncio
from typing import Any, Final, LiteralString

import psycopg
from psycopg.rows import tuple_row

from ssmd_common.errors import ConfigurationError

SHARED: Final = (
    "DATABASE_URL leads through a pooler that lends one session of PostgreSQL to many clients "
    "(transaction or statement pooling), where locks, settings and temporary tables are nobody's: "
    "use session pooling or a direct connection"
)

_LIMIT: Final = "SELECT set_config('idle_session_timeout', '100ms', false), pg_backend_pid()"
_WAITS_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 4.0)
"""A loaded server may be late with its limit; one that is not this late has not got it."""


async def require_session_of_our_own(
    connection: psycopg.AsyncConnection[Any], backend: int
) -> None:
    """Try out an autocommit connection that `backend` answered; afterwards it is of no use.

    Raises:
        ConfigurationError: the pooler shares its sessions.
        psycopg.OperationalError: the pooler refused us for a reason of its own.
    """
    try:
        if await _backend(connection, _LIMIT) == backend:
            for seconds in _WAITS_SECONDS:
                await asyncio.sleep(seconds)
                if await _backend(connection, "SELECT pg_backend_pid()") != backend:
                    break
    except psycopg.OperationalError as error:
        # Where the server's own word is not passed on, the connection just ends.
        if error.sqlstate is None or isinstance(error, psycopg.errors.IdleSessionTimeout):
            return
        raise
    finally:
        await connection.close()
    raise ConfigurationError(SHARED)


async def _backend(connection: psycopg.AsyncConnection[Any], query: LiteralString) -> int:
    cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
    row = await (await cursor.execute(query, prepare=False)).fetchone()
    assert row is not None
    return int(row[-1])
