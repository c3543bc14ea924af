"""Whether PostgreSQL takes writes, for a service that can be quiet for hours.

Whether it answers at all, the reporter of every service tells (`postgreswatch`).
"""

from typing import Final

import psycopg
import structlog
from pydantic import SecretStr

from ssmd_common.connections.retry import first_line
from ssmd_common.connections.session import Login, Session, look, open_session
from ssmd_common.deadlines import answered_within
from ssmd_common.runtime import Runtime

log = structlog.get_logger(__name__)

_ANSWER_SECONDS: Final = 10.0


async def watch_writable(
    runtime: Runtime, url: SecretStr, application: str, *, every_seconds: float
) -> None:
    """Keep the health's condition `writable` true, until the service stops.

    Raises:
        ConfigurationError: a pooler shares its sessions, or the database cannot be used.
    """
    login = Login.of(url, application)
    session: Session | None = None
    try:
        while not await runtime.stopped_within(every_seconds):
            try:
                async with answered_within(_ANSWER_SECONDS):
                    if session is None:
                        session = await open_session(login)
                    await look(session)
            except (psycopg.OperationalError, TimeoutError) as error:
                log.debug("nobody to ask whether it takes writes", error=first_line(error))
                if session is not None:
                    await session.close()
                session = None
            else:
                runtime.health.tell_writable(session.refuses_writes)
    finally:
        if session is not None:
            await session.close()
