"""Applies `migrations/` with yoyo, so that two runs at once and a kill at any point are harmless.

yoyo keeps the books (`_yoyo_migration`, `_yoyo_log`). What it does not give is added here: an
advisory lock on the very connection that migrates, which the server frees when that connection's
last transaction has ended; and a migration and its mark in one transaction.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg
import yoyo
from pydantic import SecretStr
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import parse_uri
from yoyo.migrations import Migration, MigrationList, default_migration_table

from ssmd_common.connections import postgres
from ssmd_common.connections.session import Login
from ssmd_common.errors import SsmdError, UpstreamUnavailable
from ssmd_common.leader import lock_key
from ssmd_common.migrations import migration_files
from ssmd_common.sql import Queries

queries = Queries("ssmd_cli", "migrate.sql")

_LOCK: Final = lock_key("migrations")


class MigrationFailed(SsmdError):
    """A migration did not apply; it left nothing behind, and those before it stay."""


@dataclass(frozen=True, slots=True)
class MigrationState:
    """One migration: its file name without `.sql`, and when it was applied, if it was."""

    name: str
    applied_at: datetime | None
    is_known: bool = True
    """False if the database has it and this version of ssmd does not: the database is newer."""


async def migrate(
    url: SecretStr, *, budget_seconds: float = 30.0, waiting: Callable[[], None] = lambda: None
) -> list[str]:
    """Apply what is missing, in order, and return the names of what this run applied.

    `waiting` is called if another run holds the lock.

    Raises:
        MigrationFailed: names the migration and the server's reason.
        UpstreamUnavailable: PostgreSQL did not answer within the budget, or takes no writes.
        ConfigurationError: the database has another encoding, or a pooler shares its sessions.
    """
    session = await postgres.connect(url, "ssmd-migrate", budget_seconds=budget_seconds)
    # yoyo connects anew: not to another of several hosts.
    login = session.login.at(session)
    await session.close()
    if session.refuses_writes is not None:
        raise UpstreamUnavailable(session.refuses_writes)
    return await asyncio.to_thread(_apply_missing, login, migration_files(), waiting)


async def states(url: SecretStr, *, budget_seconds: float = 10.0) -> list[MigrationState]:
    """Every migration of this version and of the database, in order; writes nothing."""
    async with await postgres.connect(
        url, "ssmd-migrate", budget_seconds=budget_seconds
    ) as connection:
        found = await (await connection.execute(queries.has_migration_table)).fetchone()
        applied: dict[str, datetime] = {}
        if found and found[0]:
            rows = await (await connection.execute(queries.applied_migrations)).fetchall()
            applied = {name: when.replace(tzinfo=UTC) for name, when in rows}
    known = {file.stem for file in migration_files()}
    return [
        MigrationState(name, applied.get(name), is_known=name in known)
        for name in sorted(known | applied.keys())
    ]


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """yoyo's backend for psycopg 3, on one locked connection for all it does."""

    def __init__(self, login: Login, waiting: Callable[[], None]) -> None:
        self._login = login
        self._waiting = waiting
        # The connection comes from `connect` below; yoyo's own reading of URLs is not needed.
        super().__init__(parse_uri("postgresql+psycopg:///"), default_migration_table)

    def connect(self, _dburi: Any) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self._login.info, autocommit=True)
        connection.execute(self._login.statement())
        row = connection.execute(queries.try_migration_lock, _LOCK).fetchone()
        if row is None or not row[0]:
            self._waiting()
            connection.execute(queries.take_migration_lock, _LOCK)
        return connection

    def apply_one(self, migration: Migration, force: bool = False, mark: bool = True) -> None:
        """Apply the file as `psql -1 -f` does: the whole text, in one transaction with its mark."""
        del force, mark
        with self.transaction():
            self.connection.execute(Path(migration.path).read_bytes())
            self.log_migration(migration, "apply")
            self.mark_one(migration, log=False)

    def get_log_data(
        self, migration: Migration | None = None, operation: str = "apply"
    ) -> dict[str, Any]:
        """As yoyo's, without its need for a passwd entry and a name server."""
        del operation
        return {
            "id": os.urandom(16).hex(),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": self.connection.info.user,
            "hostname": socket.gethostname(),
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": "apply",
        }


def _apply_missing(login: Login, files: list[Path], waiting: Callable[[], None]) -> list[str]:
    with _Backend(login, waiting) as backend:
        backend.init_database()
        # Whoever inserted the row is gone: we hold the lock.
        backend.break_lock()
        with backend.lock():
            known = yoyo.read_migrations(str(files[0].parent))
            applied = []
            for migration in backend.to_apply(known):
                try:
                    backend.apply_migrations_only(MigrationList([migration]))
                except psycopg.Error as error:
                    raise MigrationFailed(_explain(migration.id, error)) from error
                applied.append(migration.id)
        # A database that was restored or copied: until now nothing else may have noticed.
        if backend.connection.execute(queries.has_history).fetchone() == (True,):
            backend.connection.execute(queries.notice_history)
    return applied


def _explain(name: str, error: psycopg.Error) -> str:
    reason = error.diag.message_primary or str(error).strip()
    if isinstance(error, psycopg.errors.DuplicateTable | psycopg.errors.DuplicateObject):
        return (
            f"migration {name} failed: {reason}; was it applied by hand with psql? Then use an"
            " empty database, or go on with psql"
        )
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"migration {name} failed: {reason}; the role in DATABASE_URL must own the database"
    if isinstance(error, psycopg.errors.FeatureNotSupported) and error.diag.message_detail:
        # A view, a rule or a trigger that is not ours stands on a column whose type changes.
        return (
            f"migration {name} failed, and left nothing behind: {reason}:"
            f" {error.diag.message_detail}; drop that, or end the session that holds it, and make"
            " it again afterwards (docs/operations.md, before a column changes)"
        )
    return f"migration {name} failed, and left nothing behind: {reason}"
