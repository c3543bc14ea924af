from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from topology import Topology, topology

from ssmd_stack.nats import NatsServer
from ssmd_stack.valkey import ValkeyServer


@pytest.fixture
async def services(
    nats_server: NatsServer, valkey_server: ValkeyServer, tmp_path: Path
) -> AsyncIterator[Topology]:
    async with topology(nats_server, valkey_server, tmp_path) as made:
        yield made
