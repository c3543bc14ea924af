"""For strangers who know the API by its OpenAPI document only: what it names is there."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from api_testbed import Client, Serve
from api_universe import fill, fill_more, insert, insert_request, insert_status

from ssmd_api import examples
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.valkey import ValkeyServer

TOOLS = Path(__file__).parents[3] / ".ci" / "openapi" / "bin"
"""Of `make openapi`."""


@asynccontextmanager
async def whole_api(
    serve: Serve, database: Database, nats: NatsServer, valkey: ValkeyServer
) -> AsyncIterator[Client]:
    """The API with all behind it, the universe, and what the document's examples name."""
    async with database.connect() as connection:
        await connection.execute("SELECT history.notice()")
        await fill(connection)
        await insert(connection, "series", ticker=examples.SERIES, category="Crypto", tags=["BTC"])
        event = {"event_ticker": examples.EVENT, "series_ticker": examples.SERIES}
        await insert(connection, "events", **event)
        await insert(connection, "markets", ticker=examples.MARKET, **event)
        await fill_more(connection, examples.MARKET)
        await insert_status(connection, "sync", {"jobs": {examples.PARAMETERS["job"]: {}}})
        await insert_request(connection)
        # Keys are made and revoked as requests come: never the one that asks.
        await connection.execute("ALTER SEQUENCE api_keys_id_seq RESTART WITH 987654321")
    async with serve(
        nats_url=nats.url, redis_url=valkey.url, api_failed_logins_per_minute=10**6
    ) as api:
        async with database.connect() as connection:
            await connection.execute("ALTER SEQUENCE api_keys_id_seq RESTART WITH 1")
        yield api


async def run(*command: str | Path, home: Path, **environment: str) -> str:
    """What a command says, which must succeed; what it leaves is in `home`."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=home,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": f"{TOOLS}:{os.environ['PATH']}", "HOME": str(home), **environment},
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()
    return said.decode()
