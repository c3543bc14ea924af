"""The API in this process, over real PostgreSQL and Valkey."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import nats
import psycopg
import pytest
import pytest_asyncio
from nats.js.client import JetStreamContext

from ssmd_api.__main__ import open_context
from ssmd_api.app import make_app
from ssmd_api.settings import ApiSettings
from ssmd_common import health
from ssmd_common.health import Health
from ssmd_stack.database import Database, DatabaseServer, new_database
from ssmd_stack.nats import NatsServer
from ssmd_stack.valkey import ValkeyServer
from ssmd_stream import subjects

# Test directories are no packages: what tests share is found beside them.
sys.path.append(str(Path(__file__).parent))

from api_testbed import NOTHING_LISTENS, Client, Serve, make_key
from api_universe import fill


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def filled(postgres_server: DatabaseServer) -> AsyncIterator[str]:
    """The name of a database with the rows of `api_universe`, to be cloned."""
    async with new_database(postgres_server) as made:
        async with made.connect() as connection:
            await fill(connection)
        yield made.name


@pytest_asyncio.fixture
async def database(
    request: pytest.FixtureRequest,
    postgres_server: DatabaseServer,
    maintenance_connection: psycopg.Connection[Any],
    filled: str,
) -> AsyncIterator[Database]:
    """As everywhere; with the rows of `api_universe` for who uses `universe`."""
    template = filled if "universe" in request.fixturenames else None
    async with new_database(
        postgres_server, template=template, through=maintenance_connection
    ) as made:
        yield made


@pytest_asyncio.fixture
async def universe(database: Database) -> None:
    """The rows of `api_universe` are in the database: to write them takes as long as the rest."""
    async with database.connect() as connection:
        # Their history is known from here on, as if they had been written here.
        await connection.execute(
            "UPDATE history.spans SET identity = history.identity(), known_from = clock_timestamp()"
            " WHERE began = (SELECT max(began) FROM history.spans)"
        )


@pytest.fixture
def serve(database: Database, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Start the API with some settings changed."""
    # On a busy machine this process is often late for an answer that is there.
    monkeypatch.setattr("ssmd_api.cached.READ_SECONDS", 5.0)

    @asynccontextmanager
    async def start(**changed: Any) -> AsyncIterator[Client]:
        settings = ApiSettings(
            # What a test changes is to be seen at once.
            **{
                "database_url": database.url,
                "redis_url": NOTHING_LISTENS,
                "api_recent_seconds": 0,
                **changed,
            }
        )
        status = Health("ssmd-api")
        async with open_context(settings) as context:
            app = make_app(context, status)
            async with (
                health.serve(app, "127.0.0.1", 0, "API_PORT") as port,
                aiohttp.ClientSession() as http,
            ):
                key = await make_key(database, "read", "admin")
                try:
                    yield Client(http, f"http://127.0.0.1:{port()}", key, context, status)
                finally:
                    # As the service does when it ends: readers of the stream are let go.
                    context.stopping.set()

    return start


@pytest_asyncio.fixture
async def api(serve: Serve) -> AsyncIterator[Client]:
    """The API without Redis."""
    async with serve() as client:
        yield client


@pytest_asyncio.fixture
async def cached_api(serve: Serve, valkey_server: ValkeyServer) -> AsyncIterator[Client]:
    """The API with a Redis of its own."""
    async with serve(redis_url=valkey_server.url) as client:
        yield client


@pytest_asyncio.fixture
async def js(nats_server: NatsServer) -> AsyncIterator[JetStreamContext]:
    """SECMASTER_CDC, empty."""
    client = await nats.connect(nats_server.url)
    made = client.jetstream(timeout=60)
    await made.add_stream(name=subjects.STREAM, subjects=[subjects.SUBJECTS])
    yield made
    await client.close()


@pytest_asyncio.fixture
async def streaming(serve: Serve, nats_server: NatsServer) -> AsyncIterator[Client]:
    """The API with a NATS of its own."""
    async with serve(nats_url=nats_server.url) as client:
        yield client
