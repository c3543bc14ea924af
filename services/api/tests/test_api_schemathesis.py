"""Requests made from the OpenAPI document, good and bad ones: schemathesis (`make openapi`)."""

import asyncio
from pathlib import Path

import pytest
from api_strangers import TOOLS, run, whole_api
from api_stream import publish
from api_testbed import Serve
from nats.js.client import JetStreamContext

from ssmd_api.changefilter import ChangeFilter
from ssmd_api.follower import Ended, Follower
from ssmd_api.hub import Hub
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.valkey import ValkeyServer

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture
def short_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of changes end by themselves, as when the service stops: replies are read whole."""
    join = Hub.join

    def joined(hub: Hub, follower: Follower, wanted: ChangeFilter, start: int) -> None:
        join(hub, follower, wanted, start)
        asyncio.get_running_loop().call_later(0.05, follower.end, Ended.STOPPING)

    monkeypatch.setattr(Hub, "join", joined)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("short_streams")
async def test_it_finds_nothing(
    serve: Serve,
    database: Database,
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    js: JetStreamContext,
    tmp_path: Path,
) -> None:
    if not (TOOLS / "schemathesis").exists():
        pytest.skip("schemathesis is not installed: make openapi")
    for _ in range(3):
        await publish(js, "series", {"ticker": "KXBTCD", "title": "Bitcoin price"})
    async with whole_api(serve, database, nats_server, valkey_server) as api:
        await run(
            "schemathesis", "--config-file", CONFIG, "run", f"{api.base}/openapi.json",
            SSMD_DATA_API_KEY=api.key,
            SCHEMATHESIS_HOOKS=str(CONFIG.with_name("schemathesis_hooks.py")),
            home=tmp_path,
        )  # fmt: skip
