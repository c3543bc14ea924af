"""Leader election by a PostgreSQL advisory lock, with a fencing token for other stores (Redis). Who
writes to that PostgreSQL alone needs none (docs/architecture.md, decision 10).

The lock lives as long as its connection. A process that dies frees it at once; a lost node within
the connection's keepalive time (15 s). A leader whose connection is gone must end, since another
may lead by then.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import psycopg
import structlog
from pydantic import SecretStr

from ssmd_common.connections import pooler, postgres
from ssmd_common.connections.rights import require_rights
from ssmd_common.connections.session import Session, look
from ssmd_common.deadlines import answered_within
from ssmd_common.errors import ConfigurationError, LeadershipLost
from ssmd_common.metrics import LEADER
from ssmd_common.runtime import Runtime
from ssmd_common.states import STANDBY
from ssmd_common.tasks import end

log = structlog.get_logger(__name__)

POLL_SECONDS: Final = 0.5
WATCH_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 10.0
_ATTENDED_SECONDS: Final = 1.0
LOST_WITHIN_SECONDS: Final = WATCH_SECONDS + ANSWER_SECONDS
"""A leader that is cut off knows it this soon: before the server gives its lock to another."""
_SPACE: Final = 0x73736D64  # "ssmd": our own space of advisory locks

_HOLDER: Final = """
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND granted AND classid = %s::oid AND objid = %s::oid AND objsubid = 2
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

# One statement, so that a pooler cannot give us another session in between. A lock that a session
# holds is granted to it again, whichever client asks: ours has not asked yet.
_TRY: Final = f"""
WITH holder AS ({_HOLDER})
SELECT CASE
    WHEN pg_backend_pid() <> %s OR pg_backend_pid() IN (SELECT pid FROM holder) THEN 'shared'
    WHEN current_setting('transaction_read_only') = 'on' THEN 'read-only'
    WHEN pg_try_advisory_lock(%s, %s) THEN 'ours'
    ELSE 'taken' END
"""  # noqa: S608 - both are constants


@dataclass(frozen=True, slots=True)
class Leadership:
    """Held until its context ends; `token` is larger than any earlier leader's."""

    name: str
    token: int
    connection: psycopg.AsyncConnection[Any]


def lock_key(name: str) -> tuple[int, int]:
    """The two int4 keys of the lock called `name`."""
    number = zlib.crc32(name.encode())
    return _SPACE, number - (1 << 32) if number >= 1 << 31 else number


def _holder_key(name: str) -> tuple[int, int]:
    """The lock's keys as `pg_locks` shows them, unsigned."""
    first, second = lock_key(name)
    return first, second % (1 << 32)


@asynccontextmanager
async def lead(
    runtime: Runtime, url: SecretStr, name: str, *, budget_seconds: float, lock: str | None = None
) -> AsyncIterator[Leadership | None]:
    """Wait on standby until this replica leads; None when the service is stopped before that.

    Of those that name the same `lock` in one database (default: the service's name), one leads.
    While leading, a side task watches the lock's connection and ends the service when it is lost.
    """
    connection = await postgres.connect(url, f"ssmd-{name}-leader", budget_seconds=budget_seconds)
    async with connection:
        await require_rights(connection, name)
        lock = lock or name
        token = await _acquire(runtime, connection, lock)
        if token is None:
            yield None
            return
        runtime.health.state = "leading"
        runtime.health.set("leader", None)
        LEADER.set(1)
        log.info("leading", lock=lock, fencing_token=token)
        watch = runtime.spawn(f"{name}-leader-watch", _watch(runtime, connection, lock))
        try:
            yield Leadership(name, token, connection)
        finally:
            LEADER.set(0)
            await end(watch)


async def _acquire(runtime: Runtime, connection: Session, name: str) -> int | None:
    # Polling, not waiting in pg_advisory_lock: a waiting statement would hold back vacuum for days.
    while not runtime.stop.is_set():
        try:
            parameters = (*_holder_key(name), connection.backend, *lock_key(name))
            cursor = await connection.execute(_TRY, parameters, prepare=False)
            [verdict] = await cursor.fetchone() or [None]
            if verdict == "shared":
                raise ConfigurationError(pooler.SHARED)
            if verdict == "ours":
                runtime.health.tell_writable(None)
                token = await (
                    await connection.execute("SELECT nextval('fencing_tokens')")
                ).fetchone()
                assert token is not None
                return int(token[0])
            if verdict == "read-only":
                await look(connection)
                runtime.health.tell_writable(connection.refuses_writes)
                runtime.health.progress()
                await runtime.stopped_within(POLL_SECONDS)
                continue
        except psycopg.OperationalError as error:
            raise LeadershipLost(
                f"the connection that waits for the lock {name!r} is gone: restart the service"
            ) from error
        if runtime.health.state != STANDBY:
            log.info("standing by, another replica leads", lock=name)
        runtime.health.stand_by("leader", "another replica leads; this one stands by")
        runtime.health.progress()
        await runtime.stopped_within(POLL_SECONDS)
    return None


async def _watch(runtime: Runtime, connection: Session, name: str) -> None:
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        try:
            # Paused or starved, we are late ourselves: then the answer is looked for first. Not
            # cancelled: psycopg would wait for a silent server to confirm that, for ten seconds.
            async with answered_within(
                ANSWER_SECONDS,
                attended=_ATTENDED_SECONDS,
                give_up=partial(postgres.cut_off, connection),
            ):
                await look(connection)
                cursor = await connection.execute(_HOLDER, _holder_key(name), prepare=False)
                holder = await cursor.fetchone()
            if holder != (connection.backend,):
                raise LeadershipLost(
                    f"the lock {name!r} is not held any more although its connection lives, so "
                    "another replica may lead: this one ends and is to be restarted"
                )
            runtime.health.tell_writable(connection.refuses_writes)
        except (psycopg.Error, TimeoutError) as error:
            raise LeadershipLost(
                f"the connection that holds the lock {name!r} is gone, so another replica may "
                "lead: this one ends and is to be restarted"
            ) from error
