"""The embedded PostgreSQL's own promises."""

import asyncio
import socket
from pathlib import Path

import psutil
import psycopg
import pytest

from ssmd_stack.errors import PortInUse
from ssmd_stack.nats import NatsServer
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.process import is_alive
from ssmd_stack.valkey import ValkeyServer


async def test_a_later_start_never_moves_to_another_port(scratch: Path) -> None:
    for server in (
        PostgresServer(scratch / "moves-postgres", durable=False),
        NatsServer(scratch / "moves-nats"),
        ValkeyServer(scratch / "moves-valkey"),
    ):
        async with server:
            pass
        with socket.create_server(("127.0.0.1", server.port)), pytest.raises(PortInUse):
            await server.start()
        server.remove()


async def test_a_first_start_avoids_a_port_that_was_taken_meanwhile(scratch: Path) -> None:
    server = NatsServer(scratch / "avoids-nats")
    with socket.create_server(("127.0.0.1", server.port)) as taken:
        async with server:
            assert server.port != taken.getsockname()[1]
    server.remove()


async def test_an_initdb_that_was_killed_is_made_again(scratch: Path) -> None:
    server = PostgresServer(scratch / "half-made", durable=False)
    start = asyncio.create_task(server.start())
    while not (scratch / "half-made" / "data").exists():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    async with server:
        assert server.running
    server.remove()


@pytest.mark.embedded
async def test_backend_that_outlives_its_postmaster_never_meets_the_next_one(
    private_postgres: PostgresServer,
) -> None:
    connection = await psycopg.AsyncConnection.connect(private_postgres.url)
    backend = psutil.Process(connection.info.backend_pid)
    # Stopped, it cannot notice that its postmaster died.
    backend.suspend()
    assert private_postgres.pid is not None
    psutil.Process(private_postgres.pid).kill()
    await private_postgres.wait()
    assert is_alive(backend)
    await private_postgres.start()
    assert not is_alive(backend)
    await connection.close()
