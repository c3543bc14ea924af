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
- `nats_cluster` (test): a `NatsCluster` of three nodes: `.nodes`, each a `NatsServer`.
- `valkey_server` (test): a `ValkeyServer`, the same shape; it starts empty.
- `scratch` (session): a private directory, removed at the end.

SSMD_STACK=containers runs them in containers; SSMD_STACK=external uses those at DATABASE_URL (its
role needs CREATEDB and REPLICATION), NATS_URL and REDIS_URL, which tests empty
(SSMD_STACK_MAY_ERASE=1); tests that stop an external server are skipped.

Each worker of pytest-xdist has servers of its own; they are ready in about a second. Servers die
with the test run, however it ends (Linux), and the next run removes the files of a killed one.
The role in `.url` has LOGIN and REPLICATION and owns its database; it is no superuser.
"""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn, Protocol

import nats
import pytest
import pytest_asyncio
import redis.asyncio
from hypothesis import settings

from ssmd_common.migrations import migration_files
from ssmd_stack.containers import NatsContainer, PostgresContainer, ValkeyContainer
from ssmd_stack.database import Database, DatabaseServer, drop, make_template, migrate, new_database
from ssmd_stack.external import ExternalPostgres, ExternalServer, external
from ssmd_stack.nats import NatsServer
from ssmd_stack.nats_cluster import NatsCluster
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.scratch import scratch_directory
from ssmd_stack.servers import stack_kind
from ssmd_stack.valkey import ValkeyServer

# Hypothesis' deadline of 200 ms says how busy the machine is, and nothing of what is tested.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")


class OwnServer(Protocol):
    """What `nats_server`, `valkey_server` and `private_postgres` are, wherever they run."""

    @property
    def url(self) -> str: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def kill(self) -> None: ...

    def remove(self) -> None: ...


class Borrowed:
    """An external server: a test that wants to stop it is skipped."""

    def __init__(self, server: ExternalServer) -> None:
        self.url = server.url

    async def start(self) -> None:
        _not_ours()

    async def stop(self) -> None:
        _not_ours()

    async def kill(self) -> None:
        _not_ours()


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    with scratch_directory() as directory:
        yield directory


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(scratch: Path) -> AsyncIterator[DatabaseServer]:
    kind = stack_kind()
    if kind == "external":
        server = external("postgres")
        assert isinstance(server, ExternalPostgres)
        await server.start()
        await make_template(server, migration_files())
        yield server
        await drop(server, server.template)
        return
    own: PostgresServer | PostgresContainer = (
        PostgresContainer(durable=False)
        if kind == "containers"
        else PostgresServer(scratch / "postgres", durable=False)
    )
    async with _running(own):
        await make_template(own, migration_files())
        yield own


@pytest_asyncio.fixture
async def database(postgres_server: DatabaseServer) -> AsyncIterator[Database]:
    async with new_database(postgres_server) as made:
        yield made


@pytest_asyncio.fixture
async def empty_database(postgres_server: DatabaseServer) -> AsyncIterator[Database]:
    async with new_database(postgres_server, template="template1") as made:
        yield made


@pytest_asyncio.fixture
async def private_postgres(scratch: Path) -> AsyncIterator[OwnServer]:
    kind = stack_kind()
    if kind == "external":
        _not_ours()
    server: OwnServer = (
        PostgresContainer()
        if kind == "containers"
        else PostgresServer(scratch / f"postgres-{secrets.token_hex(4)}")
    )
    async with _running(server):
        await migrate(server.url, migration_files())
        yield server


@pytest_asyncio.fixture
async def nats_server(scratch: Path) -> AsyncIterator[OwnServer | Borrowed]:
    kind = stack_kind()
    if kind == "external":
        _require_permission()
        server = external("nats")
        await server.start()
        await _empty_nats(server.url)
        yield Borrowed(server)
        return
    own: OwnServer = (
        NatsContainer()
        if kind == "containers"
        else NatsServer(scratch / f"nats-{secrets.token_hex(4)}")
    )
    async with _running(own):
        yield own


@pytest_asyncio.fixture
async def nats_cluster(scratch: Path) -> AsyncIterator[NatsCluster]:
    if stack_kind() != "embedded":
        pytest.skip("a cluster of NATS nodes is only made of embedded servers")
    cluster = NatsCluster(scratch / f"nats-cluster-{secrets.token_hex(4)}")
    async with _running(cluster):
        yield cluster


@pytest_asyncio.fixture
async def valkey_server(scratch: Path) -> AsyncIterator[OwnServer | Borrowed]:
    kind = stack_kind()
    if kind == "external":
        _require_permission()
        server = external("valkey")
        await server.start()
        async with redis.asyncio.from_url(server.url) as client:
            await client.flushdb()
        yield Borrowed(server)
        return
    own: OwnServer = (
        ValkeyContainer()
        if kind == "containers"
        else ValkeyServer(scratch / f"valkey-{secrets.token_hex(4)}")
    )
    async with _running(own):
        yield own


@asynccontextmanager
async def _running(server: OwnServer | NatsCluster) -> AsyncIterator[None]:
    try:
        await server.start()
        yield
    finally:
        await server.stop()
        server.remove()


async def _empty_nats(url: str) -> None:
    client = await nats.connect(url)
    manager = client.jetstream()
    for stream in await manager.streams_info():
        await manager.delete_stream(stream.config.name or "")
    await client.close()


def _not_ours() -> NoReturn:
    pytest.skip("an external server is not ours to stop or start")


def _require_permission() -> None:
    if os.environ.get("SSMD_STACK_MAY_ERASE") != "1":
        pytest.skip(
            "tests empty the external NATS and Redis: set SSMD_STACK_MAY_ERASE=1 if they may"
        )
