from collections.abc import AsyncIterator

import nats
import pytest_asyncio

from ssmd_stack.nats import NatsServer
from ssmd_stream import subjects
from ssmd_stream.stream import Stream


@pytest_asyncio.fixture
async def stream(nats_server: NatsServer) -> AsyncIterator[Stream]:
    """SECMASTER_CDC, empty."""
    client = await nats.connect(nats_server.url)
    await client.jetstream(timeout=60).add_stream(
        name=subjects.STREAM, subjects=[subjects.SUBJECTS]
    )
    yield Stream(client)
    await client.close()
