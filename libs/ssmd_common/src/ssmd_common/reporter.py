"""Tells `service_status` how this process is, and notices when PostgreSQL does not answer.

A side task of every service that has a DATABASE_URL, on a small connection of its own. It never
ends the service and never keeps it waiting: a write that fails is counted and tried again. As it
speaks to PostgreSQL every few seconds, it also knows first when PostgreSQL is silent, and when the
clocks differ.
"""

import asyncio
import math
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import psycopg
import structlog
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.connections.clock import CLOCK
from ssmd_common.connections.retry import first_line
from ssmd_common.connections.session import Login, open_session
from ssmd_common.health import Health
from ssmd_common.metrics import ERRORS, LAG_SECONDS, STATUS_WRITE_FAILURES, WORK, total
from ssmd_common.placewatch import follow_the_url
from ssmd_common.postgreswatch import PostgresWatch
from ssmd_common.rights import PAGE
from ssmd_common.sql import Queries
from ssmd_common.statustexts import document, plain
from ssmd_common.tasks import end

log = structlog.get_logger(__name__)

queries: Final = Queries("ssmd_common")

WRITE_SECONDS: Final = 3.0
"""How often a process writes its row when nothing changes."""

_LOOK_SECONDS: Final = 0.2
_REWORD_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 2.0
_TIDY_SECONDS: Final = 600.0
_LAST_WORDS_SECONDS: Final = 2.0
# It goes by the clock, also where we are late ourselves: that must not look like silence.
_CONNECT_SECONDS: Final = 30
_RATE_SECONDS: Final = 10.0
# What a server says that is not there for anyone; all else that it says while connecting is an
# answer, if an unfriendly one.
_NOT_UP: Final = ("starting up", "shutting down", "recovery", "not yet accepting")


@asynccontextmanager
async def reporting(health: Health, url: SecretStr) -> AsyncIterator[None]:
    """Report `health` while inside, and once more when it has come to its end."""
    reporter = Reporter(health, url)
    task = asyncio.create_task(reporter.run(), name="status-report")
    try:
        yield
    finally:
        reporter.cut_off()
        await end(task)
        await reporter.last_words()


class Reporter:
    """Writes one row of `service_status`, that of this start of this process."""

    def __init__(self, health: Health, url: SecretStr) -> None:
        self._health = health
        self._login = Login.of(
            url, f"ssmd-{health.service}-status", connect_timeout=_CONNECT_SECONDS
        )
        self._place = Login.of(url, f"ssmd-{health.service}-place")
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._began = time.monotonic()
        self._tidied = float("-inf")
        self._watch = PostgresWatch(health, self.cut_off)
        self._error: str | None = None
        self._says_lag = False
        self._works: deque[tuple[float, float]] = deque()
        host = socket.gethostname()
        self._is = {
            "service": health.service,
            "instance": f"{host}:{os.getpid()}:{secrets.token_hex(3)}",
            "host": host,
            "pid": os.getpid(),
            "version": _version(health.service),
            "system_identifier": None,
            "timeline": None,
        }

    async def run(self) -> None:
        """Until cancelled; nothing is raised."""
        watches = (
            asyncio.create_task(self._watch.run(), name="status-watch"),
            asyncio.create_task(follow_the_url(self._health, self._place), name="status-place"),
        )
        try:
            await self._keep_writing()
        finally:
            await end(*watches)

    async def last_words(self) -> None:
        """Write once more, how it ended; not for long."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(_LAST_WORDS_SECONDS, self.cut_off)
        try:
            async with asyncio.timeout(_LAST_WORDS_SECONDS + 1):
                await self._write()
        except Exception as error:
            log.warning("the end could not be written down", error=first_line(error))
        finally:
            timer.cancel()
            await self._close()

    def cut_off(self) -> None:
        """Whoever waits for PostgreSQL here finds the connection closed."""
        connection = self._connection
        if connection is not None and connection.lock.locked():
            postgres.cut_off(connection)

    async def _keep_writing(self) -> None:
        while True:
            seen, told = self._seen(), self._told()
            try:
                await self._write()
            except Exception as error:
                # Whatever it is: what watches a service must not be what ends it.
                self._failed(error)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._wrote()
                await self._until_due(seen, told)

    async def _until_due(self, seen: object, told: object) -> None:
        wrote = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            ago = time.monotonic() - wrote
            if (
                ago >= WRITE_SECONDS
                or CLOCK.jumped
                or self._seen() != seen
                or (ago >= _REWORD_SECONDS and self._told() != told)
            ):
                return

    def _seen(self) -> object:
        """What is told at once when it changes."""
        health = self._health
        fine = {name: not why for name, why in health.conditions.items()}
        return health.state, fine, set(health.degraded)

    def _told(self) -> object:
        """The words for it, which may change all the time."""
        return dict(self._health.conditions), dict(self._health.degraded)

    async def _write(self) -> None:
        connection = self._connection
        if connection is None or connection.closed:
            connection = await self._connect()
        await CLOCK.compare(connection)
        self._watch.answered()
        CLOCK.tell(self._health)
        await connection.execute(queries.write_status, self._row())
        self._watch.answered()
        if time.monotonic() - self._tidied > _TIDY_SECONDS:
            self._tidied = time.monotonic()
            await connection.execute(queries.forget_dead)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        connection = await open_session(self._login)
        self._connection = connection
        await connection.execute(queries.prepare_status)
        for name, query in (
            ("timeline", queries.server_timeline),
            ("system_identifier", queries.server_identifier),
        ):
            try:
                row = await (await connection.execute(query)).fetchone()
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
                row = None
            self._is[name] = row and row[0]
        return connection

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _row(self) -> dict[str, object]:
        health, now = self._health, time.monotonic()
        work = total(WORK)
        self._works.append((now, work))
        while len(self._works) > 2 and self._works[1][0] < now - _RATE_SECONDS:
            self._works.popleft()
        then, work_then = self._works[0]
        per_second = (work - work_then) / (now - then) if now > then else None
        ago = health.last_error_seconds_ago
        return {
            **self._is,
            "state": plain(health.state),
            "ready": health.ready,
            "reasons": document({k: why for k, why in health.conditions.items() if why}),
            "degraded": document(health.degraded),
            "position": document(health.position),
            "lag_seconds": self._lag_seconds(),
            "work": work,
            "work_per_second": per_second,
            "errors": total(ERRORS),
            "memory_bytes": _memory_bytes(),
            "last_error": None if health.last_error is None else plain(health.last_error),
            "last_error_seconds_ago": ago,
            "seconds_since_start": now - self._began,
        }

    def _lag_seconds(self) -> float | None:
        """As the service says; of one that never said it, what its gauge has."""
        if self._health.lag_seconds is not None:
            self._says_lag = True
        if self._says_lag:
            return self._health.lag_seconds
        lag = total(LAG_SECONDS)
        return None if math.isnan(lag) else lag

    def _wrote(self) -> None:
        if self._error is not None:
            log.info("service_status is written again")
        self._error = None
        self._health.degrade("service_status", None)

    def _failed(self, error: Exception) -> None:
        kind, text, answered = _judge(error)
        if answered:
            self._watch.answered()
        else:
            self._watch.error = text
        STATUS_WRITE_FAILURES.labels(kind).inc()
        if kind != "unreachable":
            self._health.degrade("service_status", text)
        if text != self._error:
            log.warning("service_status is not written", kind=kind, error=text)
        self._error = text


def _judge(error: Exception) -> tuple[str, str, bool]:
    """The kind of a failure for its metric, a sentence, and whether PostgreSQL said it."""
    text = first_line(error)
    match error:
        case psycopg.errors.UndefinedTable() | psycopg.errors.UndefinedColumn():
            return "missing", f"{_CANNOT}: {text}: run `ssmd db migrate`", True
        case psycopg.errors.InsufficientPrivilege():
            return "denied", f"{_CANNOT}: {text}: {PAGE} has the GRANT", True
        case psycopg.OperationalError() if (error.sqlstate or "57P").startswith("57P"):
            # While connecting, psycopg has only the server's text.
            words = str(error)
            said = "FATAL" in words and not any(part in words for part in _NOT_UP)
            return ("refused", f"{_CANNOT}: {text}", True) if said else ("unreachable", text, False)
        case OSError():
            return "unreachable", text, False
        case _:
            # The server said it, or it never came so far as to ask.
            return "other", f"{_CANNOT}: {text}", True


_CANNOT: Final = "service_status cannot be written"


def _version(service: str) -> str:
    try:
        return version(f"ssmd-{service}")
    except PackageNotFoundError:
        return "unknown"


def _memory_bytes() -> int | None:
    """Resident memory, where the system tells it."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
