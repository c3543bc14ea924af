"""Requests made from the OpenAPI document, good and bad ones: schemathesis (`make openapi`)."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from api_stream import publish
from api_testbed import Client, Serve
from api_universe import fill, fill_more, insert
from nats.js.client import JetStreamContext

from ssmd_api import examples
from ssmd_api.changefilter import ChangeFilter
from ssmd_api.hub import Ended, Follower, Hub
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.valkey import ValkeyServer

SCHEMATHESIS = Path(__file__).parents[3] / ".ci" / "openapi" / "bin" / "schemathesis"
CONFIG = Path(__file__).with_name("schemathesis.toml")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def fill_examples(database: Database) -> None:
    """The universe, and what the document's examples name."""
    async with database.connect() as connection:
        await fill(connection)
        await insert(connection, "series", ticker=examples.SERIES, category="Crypto", tags=["BTC"])
        event = {"event_ticker": examples.EVENT, "series_ticker": examples.SERIES}
        await insert(connection, "events", **event)
        await insert(connection, "markets", ticker=examples.MARKET, **event)
        await fill_more(connection, examples.MARKET)
        # Keys are made and revoked as requests come: never the one that asks.
        await connection.execute("ALTER SEQUENCE api_keys_id_seq RESTART WITH 987654321")


@pytest.fixture
def short_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of changes end by themselves, as when the service stops: replies are read whole."""
    join = Hub.join

    def joined(hub: Hub, follower: Follower, wanted: ChangeFilter, start: int) -> None:
        join(hub, follower, wanted, start)
        asyncio.get_running_loop().call_later(0.1, follower.end, Ended.STOPPING)

    monkeypatch.setattr(Hub, "join", joined)


@asynccontextmanager
async def whole_api(
    serve: Serve, database: Database, nats: NatsServer, valkey: ValkeyServer
) -> AsyncIterator[Client]:
    await fill_examples(database)
    async with serve(
        nats_url=nats.url, redis_url=valkey.url, api_failed_logins_per_minute=10**6
    ) as api:
        async with database.connect() as connection:
            await connection.execute("ALTER SEQUENCE api_keys_id_seq RESTART WITH 1")
        yield api


async def run(*command: str | Path, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], **environment},
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode()


@pytest.mark.usefixtures("short_streams")
async def test_it_finds_nothing(
    serve: Serve,
    database: Database,
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    js: JetStreamContext,
    tmp_path: Path,
) -> None:
    if not SCHEMATHESIS.exists():
        pytest.skip("schemathesis is not installed: make openapi")
    row: dict[str, Any] = {"ticker": "KXBTCD", "title": "Bitcoin price"}
    for _ in range(3):
        await publish(js, "series", row)
    async with whole_api(serve, database, nats_server, valkey_server) as api:
        code, said = await run(
            SCHEMATHESIS, "--config-file", CONFIG, "run", f"{api.base}/openapi.json",
            SSMD_DATA_API_KEY=api.key,
            HOME=str(tmp_path),
            SCHEMATHESIS_HOOKS=str(CONFIG.with_name("schemathesis_hooks.py")),
        )  # fmt: skip
    print(said)
    assert code == 0, said
