"""What is asked of a service through the table `requests`: no service calls another.

The API adds a row and notifies; the service that it is for watches, takes it under a lock of its
task, works, and answers in the row. A worker that ends without an answer leaves the row open and
the lock free, so the next one takes it. That may do the work twice: it is of the kind that may be.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import msgspec
import psycopg
import structlog
from prometheus_client import Gauge
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.errors import ConfigurationError
from ssmd_common.runtime import Runtime
from ssmd_common.sql import Queries

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 5.0
"""How often one looks, told or not: behind some poolers nobody is told."""
MOST_ATTEMPTS: Final = 5
"""Workers that may end over one request before it is given up."""
MAX_ERROR: Final = 2000

_AGAIN_SECONDS: Final = 1.0
_QUERIES: Final = Queries("ssmd_common")
_NUL: Final = "\\u0000"
"""As JSON spells the one character that jsonb refuses."""

Connection = psycopg.AsyncConnection[Any]


async def watch(
    runtime: Runtime,
    url: SecretStr,
    service: str,
    wake: Callable[[str], None],
    waiting: Gauge,
    *,
    budget_seconds: float,
) -> None:
    """Until the stop: `wake` gets each task with an open request, as soon as it is asked for and
    then every few seconds; `waiting` is set to the seconds since the oldest was asked.

    Raises:
        UpstreamUnavailable: PostgreSQL does not answer within the budget.
        ConfigurationError: the database has not been migrated.
    """
    try:
        await runtime.until_stop(_watch(url, service, wake, waiting, budget_seconds))
    except psycopg.errors.UndefinedTable as error:
        raise ConfigurationError("there is no table `requests`: run `ssmd db migrate`") from error


async def _watch(
    url: SecretStr, service: str, wake: Callable[[str], None], waiting: Gauge, budget_seconds: float
) -> None:
    while True:
        # Not to a standby, where nobody may listen.
        connection = await postgres.connect(
            url, f"ssmd-{service}-requests", budget_seconds=budget_seconds
        )
        # A lost connection is made again, within its budget or not at all.
        with suppress(psycopg.OperationalError):
            async with connection:
                await connection.execute(_QUERIES.listen_for_requests)
                while True:
                    cursor = await connection.execute(_QUERIES.open_requests, {"service": service})
                    found = dict(await cursor.fetchall())
                    waiting.set(max(found.values(), default=0.0))
                    for task in found:
                        wake(task)
                    async for _ in connection.notifies(timeout=LOOK_SECONDS, stop_after=1):
                        pass
        log.warning("the connection that watches requests is gone", service=service)
        await asyncio.sleep(_AGAIN_SECONDS)


async def take(connection: Connection, service: str, task: str) -> list[int]:
    """The open requests of a task, which are the caller's from now on: it holds the task's lock."""
    given = {
        "service": service,
        "task": task,
        "worker": f"{socket.gethostname()}:{os.getpid()}",
        "most": MOST_ATTEMPTS,
    }
    cursor = await connection.execute(_QUERIES.take_requests, given)
    return [row[0] for row in await cursor.fetchall()]


async def give_back(connection: Connection, ids: Sequence[int]) -> None:
    """Leave requests to whoever takes them next; that they were begun does not count."""
    await connection.execute(_QUERIES.give_requests_back, {"ids": list(ids)})


async def answer(
    connection: Connection,
    ids: Sequence[int],
    result: Mapping[str, Any] | None,
    error: str | None = None,
) -> None:
    """What became of them: `done` without an error, else `failed`; JSON of the result is kept."""
    text = None if result is None else msgspec.json.encode(result).decode().replace(_NUL, "\\ufffd")
    await connection.execute(
        _QUERIES.answer_requests,
        {
            "ids": list(ids),
            "state": "done" if error is None else "failed",
            "result": text,
            "error": error and error[:MAX_ERROR],
        },
    )


async def expire(connection: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` requests that were asked before a time; how many that were."""
    cursor = await connection.execute(_QUERIES.expire_requests, {"before": before, "limit": limit})
    return cursor.rowcount
