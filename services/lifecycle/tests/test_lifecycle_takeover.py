"""A node that is lost: its connections stay open, and nothing ever answers on them again."""

import asyncio
import ctypes
import os
import socket
import struct
from asyncio.trsock import TransportSocket
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.exitcodes import ExitCode
from ssmd_common.leader import LOST_WITHIN_SECONDS, POLL_SECONDS
from ssmd_simulator.control import Order
from ssmd_simulator.server import Simulator
from ssmd_stack.database import Database

StartService = Callable[..., Awaitable[Any]]
Eventually = Callable[..., Awaitable[Any]]

_SO_ATTACH_FILTER: Final = 26
_DROP_EVERYTHING: Final = struct.pack("HBBI", 0x06, 0, 0, 0)


def deafen(connection: TransportSocket) -> None:
    """From now on the kernel drops what arrives for this socket: no acknowledgement, no reset."""
    program = ctypes.create_string_buffer(_DROP_EVERYTHING)
    address = ctypes.addressof(program)
    connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, address))


class Node:
    """The network of a node, as a TCP proxy in front of PostgreSQL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.port is not None
        self._target = parts.hostname, parts.port
        self._url = url
        self._sockets: set[TransportSocket] = set()
        self._pipes: set[asyncio.Task[None]] = set()
        self._lost = False

    @property
    def url(self) -> str:
        return self._url.replace(f":{self._target[1]}", f":{self._port}")

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def lose(self) -> None:
        """All packets of both directions are lost."""
        self._lost = True
        for connection in self._sockets:
            deafen(connection)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = asyncio.current_task()
        assert pipe is not None
        self._pipes.add(pipe)
        there_reader, there = await asyncio.open_connection(*self._target)
        ends = {end.get_extra_info("socket") for end in (writer, there)}
        self._sockets |= ends
        try:
            await asyncio.gather(self._pump(reader, there), self._pump(there_reader, writer))
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            self._sockets -= ends
            writer.transport.abort()
            there.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if self._lost:
                await asyncio.Event().wait()
            writer.write(data)
            await writer.drain()
        if self._lost:
            await asyncio.Event().wait()
        raise ConnectionResetError


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="socket filters are Linux's")
async def test_a_lost_nodes_work_is_taken_over(
    database: Database, start_service: StartService, eventually: Eventually
) -> None:
    """PostgreSQL's own wait for a silent peer is two hours."""
    async with Simulator("small") as sim, Node(database.url) as node:
        lost = await start_service(sim, DATABASE_URL=node.url)
        await lost.ready()
        standby = await start_service(sim)

        async def stands_by() -> bool:
            return "stands by" in (await standby.get("/readyz"))[1]

        await eventually("a standby", stands_by)
        node.lose()
        [made] = sim.control.order(Order(open_in=1, close_in=600))
        await standby.ready()
        async with database.connect() as connection:

            async def kinds() -> bool:
                cursor = await connection.execute(
                    "SELECT event_type FROM market_lifecycle_events WHERE market_ticker = %s"
                    " ORDER BY id",
                    (made.ticker,),
                )
                return [kind for (kind,) in await cursor.fetchall()] == ["created", "opened"]

            await eventually("what happened meanwhile", kinds)
        # It is cut off, not dead: it must know that by itself.
        assert await asyncio.wait_for(lost.process.wait(), 60) != ExitCode.OK
        assert '"event": "service ended"' in lost.logs()


async def test_the_timeouts_add_up_to_fifteen_seconds(database: Database) -> None:
    """The server gives a lost leader's lock up in time, and the leader itself before that."""
    connection = await postgres.connect(SecretStr(database.url), "test", budget_seconds=30)
    async with connection:
        cursor = await connection.execute(
            "SELECT current_setting('tcp_keepalives_idle')::int"
            " + current_setting('tcp_keepalives_interval')::int"
            " * current_setting('tcp_keepalives_count')::int"
        )
        [server_seconds] = await cursor.fetchone() or [0]
    assert server_seconds > LOST_WITHIN_SECONDS
    assert server_seconds + 2 * POLL_SECONDS <= 15
