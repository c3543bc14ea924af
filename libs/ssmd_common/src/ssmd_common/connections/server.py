"""Which PostgreSQL server answers a session, and whether it takes writes."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg.rows import tuple_row

# That of the WAL being written: the control file's is late after a promotion.
_TIMELINE: Final = """CASE WHEN NOT pg_is_in_recovery()
    THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer END"""

_FACTS: Final = """
SELECT pg_backend_pid(), current_database(), current_setting('server_encoding'),
       pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
       (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,
       {timeline},
       host(inet_server_addr()) || ':' || inet_server_port()
"""


@dataclass(frozen=True, slots=True)
class Server:
    """One run of one server, told from all others by the microsecond in which it started.

    Not by its address, which servers behind a proxy share, nor by the system identifier, which a
    standby has from its primary. `timeline` is None where it is a standby, or does not tell.
    """

    started_us: int
    timeline: int | None = field(compare=False)
    address: str | None = field(compare=False)

    def __str__(self) -> str:
        started = datetime.fromtimestamp(self.started_us / 1e6, UTC)
        return (
            f"{self.address or 'a local socket'} (timeline {self.timeline or 'unknown'}, started "
            f"{started:%Y-%m-%dT%H:%M:%SZ})"
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of a session."""

    backend: int
    database: str
    encoding: str
    standby: bool
    read_only: bool
    server: Server

    @property
    def refuses_writes(self) -> str | None:
        """The sentence for a server that takes no writes; None for one that does."""
        if self.standby:
            why = "it is a standby that is not promoted"
        elif self.read_only:
            why = "default_transaction_read_only is on"
        else:
            return None
        return (
            f"PostgreSQL is read-only ({why}): the service goes on by itself once it takes writes; "
            "DATABASE_URL has to lead to the primary"
        )


async def facts(session: psycopg.AsyncConnection[Any]) -> Facts:
    """Ask the server."""
    # Not prepared: a pooler may give the next statement to a process that does not know it.
    cursor = psycopg.AsyncCursor(session, row_factory=tuple_row)
    try:
        await cursor.execute(_FACTS.format(timeline=_TIMELINE), prepare=False)
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.UndefinedFunction,
        psycopg.errors.FeatureNotSupported,
    ):
        # Servers of some clouds do not tell about their WAL.
        await cursor.execute(_FACTS.format(timeline="NULL::integer"), prepare=False)
    row = await cursor.fetchone()
    assert row is not None
    backend, database, encoding, standby, read_only, started_us, timeline, address = row
    server = Server(started_us, timeline, address)
    return Facts(backend, database, encoding, standby, read_only, server)
