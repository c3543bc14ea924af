"""PostgreSQL goes, or accepts and never answers."""

import asyncio

import pytest
from api_testbed import Client, Serve

from ssmd_stack.database import Database
from ssmd_stack.proxy import TcpProxy

pytestmark = pytest.mark.usefixtures("universe")


async def until_ok(api: Client, path: str) -> None:
    async with asyncio.timeout(180):
        while (await api.get(path)).status != 200:  # noqa: ASYNC110 - polled on purpose
            await asyncio.sleep(0.1)


async def test_a_database_that_never_answers_is_503_and_then_fine_again(
    serve: Serve, database: Database
) -> None:
    async with (
        TcpProxy(database.url) as proxy,
        serve(database_url=proxy.url, api_statement_timeout_seconds=0.5) as api,
    ):
        assert (await api.get("/v1/series")).status == 200
        proxy.freeze()
        async with asyncio.timeout(180):
            replies = await asyncio.gather(*(api.get("/v1/series") for _ in range(3)))
        assert {reply.status for reply in replies} == {503}
        assert all(reply.headers["Retry-After"] for reply in replies)
        proxy.thaw()
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
