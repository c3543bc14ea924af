"""A database of one's own, cloned from a migrated template and dropped afterwards."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

TEMPLATE: Final = "ssmd_template"
_DROP_SECONDS = 30.0


class DatabaseServer(Protocol):
    """Embedded, in a container, or external: a server that databases can be made on."""

    @property
    def template(self) -> str:
        """The database that `new_database` clones."""
        ...

    @property
    def admin_url(self) -> str:
        """The maintenance database, as a role that may create databases."""
        ...

    def url_of(self, database: str) -> str:
        """A database as its owner: LOGIN REPLICATION, no superuser."""
        ...

    def admin_url_of(self, database: str) -> str:
        """A database as the role of `admin_url`."""
        ...


@dataclass(frozen=True, slots=True)
class Database:
    """`url` opens it as its owner, `admin_url` as a superuser (where the server has one for us)."""

    name: str
    url: str
    admin_url: str

    @contextlib.asynccontextmanager
    async def connect(self, **options: Any) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """An autocommit connection as the owner, closed at the end; options as psycopg's."""
        connection = await psycopg.AsyncConnection.connect(
            self.url, **{"autocommit": True, **options}
        )
        try:
            yield connection
        finally:
            await connection.close()


async def ensure_owner(admin_url: str, role: str, password: str, database: str) -> None:
    """Make the role (LOGIN REPLICATION, no superuser) and its database, where missing."""
    name, owned = sql.Identifier(role), sql.Identifier(database)
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as connection:
        found = await connection.execute(
            "SELECT exists(SELECT FROM pg_roles WHERE rolname = %s),"
            " exists(SELECT FROM pg_database WHERE datname = %s)",
            (role, database),
        )
        has_role, has_database = await found.fetchone() or (False, False)
        if not has_role:
            await connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN REPLICATION PASSWORD {}").format(
                    name, sql.Literal(password)
                )
            )
        if not has_database:
            await connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(owned, name))


def maintenance(server: DatabaseServer) -> psycopg.Connection[Any]:
    """A connection to make and drop databases through, in threads."""
    return psycopg.connect(server.admin_url, autocommit=True)


async def make_template(server: DatabaseServer, migrations: Sequence[Path]) -> None:
    """Make the template that `new_database` clones."""
    with maintenance(server) as connection:
        await _create(connection, server, server.template, template="template1")
    await migrate(server.url_of(server.template), migrations)


async def migrate(url: str, migrations: Sequence[Path]) -> None:
    """Apply the files to an empty database, each in a transaction like `psql -1 -f`."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for migration in migrations:
            # Several statements in one simple query are one transaction.
            await connection.execute(migration.read_bytes())


@contextlib.asynccontextmanager
async def new_database(
    server: DatabaseServer,
    *,
    template: str | None = None,
    through: psycopg.Connection[Any] | None = None,
) -> AsyncIterator[Database]:
    """A fresh clone of the server's template, or of another; its slots are dropped with it.

    `through` is a connection of `maintenance`, for whoever makes many.
    """
    name = f"testdb_{secrets.token_hex(4)}"
    with contextlib.ExitStack() as stack:
        connection = through or stack.enter_context(maintenance(server))
        await _create(connection, server, name, template=template or server.template)
        try:
            yield Database(name, server.url_of(name), server.admin_url_of(name))
        finally:
            await drop(connection, name)


async def _create(
    connection: psycopg.Connection[Any], server: DatabaseServer, name: str, *, template: str
) -> None:
    owner = conninfo_to_dict(server.url_of(name))["user"]
    await asyncio.to_thread(
        connection.execute,
        # A third of the work of a copy through the log, and every test has one.
        sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY file_copy").format(
            sql.Identifier(name), sql.Identifier(template), sql.Identifier(str(owner))
        ),
    )


async def drop(connection: psycopg.Connection[Any], name: str) -> None:
    """Drop a database, ending its connections and dropping its replication slots."""
    give_up = asyncio.get_running_loop().time() + _DROP_SECONDS
    while True:
        try:
            await asyncio.to_thread(_drop_now, connection, name)
        except (psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject):
            if asyncio.get_running_loop().time() > give_up:
                raise
            # A walsender that ends, or that a test's task starts again, takes a moment.
            await asyncio.sleep(0.02)
        else:
            return


def _drop_now(connection: psycopg.Connection[Any], name: str) -> None:
    connection.execute(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
        " WHERE database = %s AND active_pid IS NOT NULL",
        (name,),
    )
    connection.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s",
        (name,),
    )
    connection.execute(
        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    )
