"""Pytest fixtures with real servers. Loaded through an entry point: use them by name.

- `postgres_server` (session): a `PostgresServer` with fsync off, `wal_level=logical`, 60 slots;
  shared by all tests of the run, so not to be stopped.
- `database` (test): a `Database` on it, cloned from a template with all of `migrations/`: `.url`,
  `.connect()`.
- `empty_database` (test): the same before any migration.
- `private_postgres` (test): a durable `PostgresServer` of the test's own, migrated, to stop, kill
  and start.
- `nats_server` (test): a `NatsServer` with JetStream: `.url`, `.stop()`, `.kill()`, and `.start()`
  on the same port and store.
- `valkey_server` (test): a `ValkeyServer`, the same shape; it starts empty.
- `scratch` (session): a private directory, removed at the end.

Each worker of pytest-xdist has servers of its own; they are ready in about a second. Servers die
with the test run, however it ends (Linux), and the next run removes the files of a killed one.
The role in `.url` has LOGIN and REPLICATION and owns its database; it is no superuser.
"""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from ssmd_common.migrations import migration_files
from ssmd_stack.database import Database, make_template, migrate, new_database
from ssmd_stack.nats import NatsServer
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.scratch import scratch_directory
from ssmd_stack.valkey import ValkeyServer


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    with scratch_directory() as directory:
        yield directory


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(scratch: Path) -> AsyncIterator[PostgresServer]:
    async with PostgresServer(scratch / "postgres", durable=False) as server:
        await make_template(server, migration_files())
        yield server
    server.remove()


@pytest_asyncio.fixture
async def database(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    async with new_database(postgres_server) as made:
        yield made


@pytest_asyncio.fixture
async def empty_database(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    async with new_database(postgres_server, template="template1") as made:
        yield made


@pytest_asyncio.fixture
async def private_postgres(scratch: Path) -> AsyncIterator[PostgresServer]:
    async with PostgresServer(scratch / f"postgres-{secrets.token_hex(4)}") as server:
        await migrate(server.url, migration_files())
        yield server
    server.remove()


@pytest_asyncio.fixture
async def nats_server(scratch: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(scratch / f"nats-{secrets.token_hex(4)}") as server:
        yield server
    server.remove()


@pytest_asyncio.fixture
async def valkey_server(scratch: Path) -> AsyncIterator[ValkeyServer]:
    async with ValkeyServer(scratch / f"valkey-{secrets.token_hex(4)}") as server:
        yield server
    server.remove()
