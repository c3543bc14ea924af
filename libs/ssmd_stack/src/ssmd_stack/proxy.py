"""A TCP proxy in front of a server: what networks do to connections, for tests and benchmarks."""

import asyncio
import ctypes
import socket
import struct
from asyncio.trsock import TransportSocket
from collections.abc import Callable
from typing import Final, Self
from urllib.parse import urlsplit

_CHUNK_BYTES: Final = 1 << 16
_TURNS: Final = 5
"""Of the loop, until who was taken in at the end has come to `_accept`; asyncio needs two."""
_SO_ATTACH_FILTER: Final = 26
_DROP_EVERYTHING: Final = struct.pack("HBBI", 0x06, 0, 0, 0)


class TcpProxy:
    """Passes bytes on until told otherwise; after `passes` bytes to the server it freezes."""

    def __init__(self, url: str, *, passes: int | None = None) -> None:
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"a host and a port are needed: {url}")
        self._server_url = url
        self._given_port = parts.port
        self._target = parts.hostname, parts.port
        self._left = passes
        self._port = 0
        self._flows = asyncio.Event()
        self._flows.set()
        self._sockets: set[TransportSocket] = set()
        self._pipes: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens, once entered."""
        return self._port

    @property
    def url(self) -> str:
        """The server's URL with our port in it."""
        return self._server_url.replace(f":{self._given_port}", f":{self._port}")

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        # asyncio forgets to close who was taken in when its server closes (Python 3.11).
        for listening in self._listener.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        self._listener.close()
        self.cut()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection; new ones are served."""
        for pipe in self._pipes:
            pipe.cancel()

    def lead_to(self, url: str) -> None:
        """New connections go to this server; the old ones stay where they are."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = parts.hostname, parts.port

    def freeze(self) -> None:
        """Pass nothing on and tell nobody: the connections stay open, and silent."""
        self._flows.clear()

    def thaw(self) -> None:
        """Pass on again, and first what was held."""
        self._flows.set()

    def lose(self) -> None:
        """Freeze, and let the kernel drop what still comes: no acknowledgement, no reset (Linux).

        So a peer with keepalives or a TCP user timeout finds it out, as when a node is lost.
        """
        self.freeze()
        for connection in self._sockets:
            program = ctypes.create_string_buffer(_DROP_EVERYTHING)
            filters = struct.pack("HP", 1, ctypes.addressof(program))
            connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filters)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = asyncio.create_task(self._serve(reader, writer))
        self._pipes.add(pipe)
        pipe.add_done_callback(self._pipes.discard)
        # Also of one that was cut before it began.
        pipe.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there = await asyncio.open_connection(*self._target)
        except (OSError, asyncio.CancelledError):
            return
        ends = {end.get_extra_info("socket") for end in (writer, there)}
        self._sockets |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, there, self._count))
                group.create_task(self._pump(there_reader, writer))
        except (asyncio.CancelledError, ExceptionGroup):
            pass
        finally:
            self._sockets -= ends
            there.transport.abort()

    def _count(self, size: int) -> None:
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                self.freeze()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            count(len(data))
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        await self._flows.wait()
        raise ConnectionResetError
