"""What the command line's tests share: modules beside them, a shell over a real API."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest_asyncio
from s3_server import s3

from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stream import subjects

# Test modules are not importable by name; what several of them share is.
sys.path.append(str(Path(__file__).parent))

from shell import Shell, fill, serving

__all__ = ["s3"]


@pytest_asyncio.fixture
async def shell(database: Database, tmp_path: Path) -> AsyncIterator[Shell]:
    """`ssmd` in a folder of its own, beside an API with some rows and no stream."""
    async with serving(database, await fill(database), tmp_path) as found:
        yield found


@pytest_asyncio.fixture
async def streaming_shell(
    database: Database, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[Shell]:
    """The same beside an API that has an empty stream, too."""
    client = await nats.connect(nats_server.url)
    await client.jetstream(timeout=60).add_stream(name=subjects.STREAM, subjects=["cdc.>"])
    await client.close()
    key = await fill(database)
    async with serving(database, key, tmp_path, nats_server.url) as found:
        yield found
