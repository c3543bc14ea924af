"""Three real NATS servers that hold streams together, on the loopback interface only."""

import asyncio
from pathlib import Path
from typing import Any

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client

from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port

_SIZE = 3
_READY_SECONDS = 30.0


class NatsCluster:
    """Nodes that know of each other; `options` are further settings of each."""

    def __init__(self, directory: Path, *, options: dict[str, Any] | None = None) -> None:
        self._directory = directory
        routes = [free_port() for _ in range(_SIZE)]
        self.nodes = [
            NatsServer(
                directory / f"n{number}",
                options={
                    "server_name": f"n{number}",
                    "cluster": {
                        "name": "test",
                        "listen": f"127.0.0.1:{port}",
                        "routes": [f"nats://127.0.0.1:{route}" for route in routes],
                    },
                    **(options or {}),
                },
            )
            for number, port in enumerate(routes)
        ]

    @property
    def url(self) -> str:
        """Of all nodes, as NATS_URL takes it."""
        return ",".join(node.url for node in self.nodes)

    async def start(self) -> None:
        """Start all, and wait until they have elected who leads JetStream."""
        await asyncio.gather(*(node.start() for node in self.nodes))
        client = await nats.connect(self.nodes[0].url)
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while not await _has_leader(client):  # noqa: ASYNC110 - it asks a server
                    await asyncio.sleep(0.05)
        finally:
            await client.close()

    async def stop(self) -> None:
        """End all at once: one after the other they would still hand over what each leads."""
        await asyncio.gather(*(node.kill() for node in self.nodes))

    def remove(self) -> None:
        """Delete all files. It must not be running."""
        for node in self.nodes:
            node.remove()


async def _has_leader(client: Client) -> bool:
    try:
        await client.jetstream(timeout=1).account_info()
    except (nats.errors.Error, nats.js.errors.Error):
        return False
    return True
