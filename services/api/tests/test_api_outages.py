"""PostgreSQL goes, or accepts and never answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from api_testbed import Client, Serve

from ssmd_stack.database import Database

pytestmark = pytest.mark.usefixtures("universe")


class Proxy:
    """Passes bytes on, until it is told to hold them."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._flows = asyncio.Event()
        self._flows.set()
        self.port = 0

    def hold(self) -> None:
        self._flows.clear()

    def let_go(self) -> None:
        self._flows.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.let_go()
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def until_ok(api: Client, path: str) -> None:
    async with asyncio.timeout(60):
        while (await api.get(path)).status != 200:  # noqa: ASYNC110 - polled on purpose
            await asyncio.sleep(0.1)


async def test_a_database_that_never_answers_is_503_and_then_fine_again(
    serve: Serve, database: Database
) -> None:
    parts = urlsplit(database.url)
    assert parts.hostname
    assert parts.port
    async with Proxy(parts.hostname, parts.port).running() as proxy:
        url = database.url.replace(f":{parts.port}/", f":{proxy.port}/")
        async with serve(database_url=url, api_statement_timeout_seconds=0.5) as api:
            assert (await api.get("/v1/series")).status == 200
            proxy.hold()
            async with asyncio.timeout(60):
                replies = await asyncio.gather(*(api.get("/v1/series") for _ in range(3)))
            assert {reply.status for reply in replies} == {503}
            assert all(reply.headers["Retry-After"] for reply in replies)
            proxy.let_go()
            await until_ok(api, "/v1/series")


async def test_a_query_that_takes_too_long_is_cancelled(serve: Serve, database: Database) -> None:
    async with serve(api_statement_timeout_seconds=0.3) as api, database.connect() as other:
        assert (await api.get("/v1/series")).status == 200
        async with other.transaction():
            await other.execute("LOCK TABLE series IN ACCESS EXCLUSIVE MODE")
            reply = await api.get("/v1/series")
        assert reply.status == 503
        assert "too long" in reply.json["detail"]
        assert (await api.get("/v1/series")).status == 200
