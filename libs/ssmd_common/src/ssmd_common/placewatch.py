"""Notices that DATABASE_URL leads to another server than a service's connections.

After a failover, connections that stand can still be on the old primary, which may live on and take
writes: behind an address that moved, or as one of several hosts. Nothing on them tells; only a new
connection does, so one is made every few seconds.
"""

import asyncio
from typing import Final

import psycopg
import structlog

from ssmd_common.connections import postgres
from ssmd_common.connections.session import Login, open_session
from ssmd_common.deadlines import answered_within
from ssmd_common.errors import SsmdError
from ssmd_common.health import Health

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 8.0
_ANSWER_SECONDS: Final = 10.0


async def follow_the_url(health: Health, login: Login) -> None:
    """Have the process leave servers where DATABASE_URL leads no more, until cancelled.

    Whether PostgreSQL answers at all, others tell.
    """
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            async with answered_within(_ANSWER_SECONDS):
                session = await open_session(login)
        except (psycopg.Error, SsmdError, OSError, TimeoutError) as error:
            log.debug("no new connection to compare with", error=str(error))
            continue
        async with session:
            left = postgres.leave_others(session)
        if left:
            told = (
                f"DATABASE_URL leads to {session.server} now: the connections to "
                f"{', '.join(map(str, left))} were closed"
            )
            log.warning("another server answers", reason=told)
            health.failed("moved", told)
