"""What the command line's tests share: modules beside them, a shell over a real API."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest_asyncio

from ssmd_api.__main__ import open_context
from ssmd_api.app import make_app
from ssmd_api.settings import ApiSettings
from ssmd_common import health
from ssmd_common.health import Health
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stream import subjects

# Test modules are not importable by name; what several of them share is.
sys.path.append(str(Path(__file__).parent))

from shells import Shell, fill


@pytest_asyncio.fixture
async def shell(database: Database, tmp_path: Path) -> AsyncIterator[Shell]:
    """`ssmd` in a folder of its own, beside an API with some rows and no stream."""
    async with _beside_an_api(database, tmp_path) as found:
        yield found


@pytest_asyncio.fixture
async def streaming_shell(
    database: Database, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[Shell]:
    """The same beside an API that has an empty stream, too."""
    client = await nats.connect(nats_server.url)
    await client.jetstream().add_stream(name=subjects.STREAM, subjects=["cdc.>"])
    await client.close()
    async with _beside_an_api(database, tmp_path, nats_url=nats_server.url) as found:
        yield found


@asynccontextmanager
async def _beside_an_api(database: Database, tmp_path: Path, **more: str) -> AsyncIterator[Shell]:
    key = await fill(database)
    settings = ApiSettings(database_url=database.url, redis_url="redis://127.0.0.1:1/0", **more)  # type: ignore[arg-type]
    async with open_context(settings) as context:
        app = make_app(context, Health("ssmd-api"))
        async with health.serve(app, "127.0.0.1", 0, "API_PORT") as port:
            yield Shell(
                tmp_path,
                SSMD_API_URL=f"http://127.0.0.1:{port()}",
                SSMD_DATA_API_KEY=key,
                DATABASE_URL=database.url,
                XDG_CONFIG_HOME=str(tmp_path / "config"),
            )
