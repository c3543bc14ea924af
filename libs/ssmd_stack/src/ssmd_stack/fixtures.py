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
- `atomic` (test): once false, once true: whether to publish in atomic batches to `nats_server`.
- `nats_cluster` (test): a `NatsCluster` of three nodes: `.nodes`, each a `NatsServer`.
- `valkey_server` (test): a `ValkeyServer`, the same shape; it starts empty.
- `wrong_clock` (test): a `WrongClock`: processes that get its `.environment` go by it, and `.set`
  puts it ahead or behind; the test is skipped where libfaketime is not installed.
- the marker `embedded` skips a test that reaches for a server's process or files elsewhere: the
  number of a process in a container is that of another one here.
- `scratch` (session): a private directory, removed at the end; in memory if it has room.

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
from typing import Any, NoReturn, Protocol

import nats
import psycopg
import pytest
import pytest_asyncio
import redis.asyncio

from ssmd_common import openfiles, sparing
from ssmd_common.migrations import migration_files
from ssmd_stack.containers import NatsContainer, PostgresContainer, ValkeyContainer
from ssmd_stack.database import (
    Database,
    DatabaseServer,
    drop,
    maintenance,
    make_template,
    migrate,
    new_database,
)
from ssmd_stack.external import ExternalPostgres, ExternalServer, external
from ssmd_stack.faketime import WrongClock, library
from ssmd_stack.nats import NatsServer
from ssmd_stack.nats_cluster import NatsCluster
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.scratch import scratch_directory
from ssmd_stack.servers import stack_kind
from ssmd_stack.valkey import ValkeyServer

# A test run is no start of a service: its garbage is looked for all the time.
sparing.imports_done()


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


def pytest_configure(config: pytest.Config) -> None:
    # A test may hold both ends of a thousand connections.
    openfiles.allow_many()
    config.addinivalue_line(
        "markers", "embedded: reaches for a server's process or files; skipped elsewhere"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("embedded") is not None and stack_kind() != "embedded":
        pytest.skip("only the processes and files of an embedded server are ours")


@pytest.fixture
def wrong_clock(tmp_path: Path) -> WrongClock:
    found = library()
    if found is None:
        pytest.skip("libfaketime is not here (Debian: apt-get install faketime)")
    if "LD_PRELOAD" in os.environ:
        pytest.skip("the clock of this whole run is moved already")
    made = WrongClock(found, tmp_path / "clock")
    made.set(0)
    return made


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    with scratch_directory(in_memory=True) as directory:
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
        with maintenance(server) as connection:
            await drop(connection, server.template)
        return
    own: PostgresServer | PostgresContainer = (
        PostgresContainer(durable=False)
        if kind == "containers"
        else PostgresServer(scratch / "postgres", durable=False)
    )
    async with _running(own):
        await make_template(own, migration_files())
        yield own


@pytest.fixture(scope="session")
def maintenance_connection(postgres_server: DatabaseServer) -> Iterator[psycopg.Connection[Any]]:
    """To open two for each database would be a third of the work for it."""
    with maintenance(postgres_server) as connection:
        yield connection


@pytest_asyncio.fixture
async def database(
    postgres_server: DatabaseServer, maintenance_connection: psycopg.Connection[Any]
) -> AsyncIterator[Database]:
    async with new_database(postgres_server, through=maintenance_connection) as made:
        yield made


@pytest_asyncio.fixture
async def empty_database(
    postgres_server: DatabaseServer, maintenance_connection: psycopg.Connection[Any]
) -> AsyncIterator[Database]:
    async with new_database(
        postgres_server, template="template1", through=maintenance_connection
    ) as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated_postgres(scratch: Path) -> PostgresServer | None:
    """Stopped, for copies: to make and migrate one takes a second of processor time each."""
    if stack_kind() != "embedded":
        return None
    server = PostgresServer(scratch / "postgres-migrated", durable=False)
    async with server:
        await migrate(server.url, migration_files())
    return server


@pytest_asyncio.fixture
async def private_postgres(
    scratch: Path, migrated_postgres: PostgresServer | None
) -> AsyncIterator[OwnServer]:
    if stack_kind() == "external":
        _not_ours()
    if migrated_postgres is not None:
        copy = PostgresServer(scratch / f"postgres-{secrets.token_hex(4)}")
        await copy.begin_as(migrated_postgres)
        async with _running(copy):
            yield copy
        return
    server = PostgresContainer()
    async with _running(server):
        await migrate(server.url, migration_files())
        yield server


@pytest_asyncio.fixture
async def primary(scratch: Path) -> AsyncIterator[PostgresServer]:
    """For `ssmd_stack.standby.standby_of`: migrated, and the only one of its system identifier."""
    if stack_kind() != "embedded":
        pytest.skip("a standby is only made of embedded servers")
    server = PostgresServer(scratch / f"primary-{secrets.token_hex(4)}", durable=False)
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


@pytest_asyncio.fixture(params=[False, True], ids=["window", "atomic"])
async def atomic(request: pytest.FixtureRequest, nats_server: OwnServer | Borrowed) -> bool:
    """Both ways of publishing, where the server has both."""
    if request.param:
        client = await nats.connect(nats_server.url)
        version = client.connected_server_version
        await client.close()
        if (version.major, version.minor) < (2, 12):
            pytest.skip("this NATS server has no atomic batches")
    return bool(request.param)


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
