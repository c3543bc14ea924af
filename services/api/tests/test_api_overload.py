"""Overload is said as overload, costs those who cause it, and no server is accused of it."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from api_testbed import Client, Serve, make_key
from nats.js.client import JetStreamContext
from prometheus_client import REGISTRY
from test_api_cache import TICKER, warm

from ssmd_api.keystore import KeyStore
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.proxy import TcpProxy
from ssmd_stack.valkey import ValkeyServer

pytestmark = pytest.mark.usefixtures("universe")

WRONG = {"X-API-Key": "sk_test_nosuchkey1_" + "x" * 43}


async def test_a_full_pool_is_overload_and_all_else_works(serve: Serve, database: Database) -> None:
    async with serve(api_pool_size=2) as api, database.connect() as other:
        api.context.database.patience_seconds = 0.2
        async with other.transaction():
            await other.execute("LOCK TABLE series IN ACCESS EXCLUSIVE MODE")
            held = asyncio.create_task(api.get("/v1/series"))
            await until_locked(database)
            assert REGISTRY.get_sample_value("ssmd_api_requests_in_progress") == 1
            replies = await asyncio.gather(*(api.get("/v1/fees") for _ in range(5)))
            for reply in replies:
                assert reply.status == 503
                assert reply.headers["Retry-After"]
                assert reply.json["type"] == "urn:ssmd:problem:overloaded"
                assert "cannot be reached" not in reply.json["detail"]
            # Who is asking can still be found out, and whether PostgreSQL works.
            mine = {"X-API-Key": await make_key(database, "admin")}
            assert (await api.get("/v1/series", headers=mine)).status == 403
            assert await api.context.database.refuses_writes() is None
        assert (await held).status == 200
        assert REGISTRY.get_sample_value("ssmd_api_requests_in_progress") == 0
        assert (await api.get("/v1/fees")).status == 200


async def until_locked(database: Database) -> None:
    """Some statement waits for a lock."""
    async with asyncio.timeout(180), database.connect() as connection:
        while True:
            cursor = await connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            row = await cursor.fetchone()
            if row and row[0]:
                return
            await asyncio.sleep(0.02)


async def test_a_key_that_floods_does_not_starve_another(serve: Serve, database: Database) -> None:
    async with serve(api_pool_size=2) as api:
        other = {"X-API-Key": await make_key(database, "read")}
        assert (await api.get("/v1/series", headers=other)).status == 200
        finished: list[str] = []

        async def ask(name: str, headers: dict[str, str]) -> None:
            assert (await api.get("/v1/markets?limit=1", headers=headers)).status == 200
            finished.append(name)

        turns = api.context.database._requests
        async with turns.turn(60):
            flood = [asyncio.create_task(ask("flood", {})) for _ in range(90)]
            async with asyncio.timeout(180):
                while turns._waiting < 90:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            one = asyncio.create_task(ask("other", other))
            async with asyncio.timeout(180):
                while turns._waiting < 91:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        await asyncio.gather(*flood, one)
        assert finished.index("other") < 20


async def test_a_thousand_parallel_reads_of_the_cache_are_served_from_it(
    cached_api: Client, database: Database, valkey_server: ValkeyServer
) -> None:
    """By a few connections, and together: one by one the late ones would fall to PostgreSQL."""
    await warm(database, valkey_server.url)
    before = await commands(cached_api)
    url, headers = f"{cached_api.base}/v1/markets/{TICKER}", {"X-API-Key": cached_api.key}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def read() -> tuple[int, str]:
            async with http.get(url, headers=headers) as reply:
                assert (await reply.json())["ticker"] == TICKER
                return reply.status, reply.headers["X-Ssmd-Source"]

        found = Counter(await asyncio.gather(*(read() for _ in range(1000))))
    assert found == {(200, "cache"): 1000}
    probe = cached_api.context.cached._probe
    assert int((await probe.info("clients"))["connected_clients"]) < 40
    assert await commands(cached_api) - before < 1000


async def commands(api: Client) -> int:
    """How many Redis has answered."""
    return int((await api.context.cached._probe.info("stats"))["total_commands_processed"])


@pytest.mark.slow
async def test_a_thousand_streams_opened_after_a_revocation_are_served(
    serve: Serve,
    database: Database,
    nats_server: NatsServer,
    js: JetStreamContext,
    looked_up: list[str],
) -> None:
    """Of a key that is as good as before: it is looked up once more."""
    async with serve(
        nats_url=nats_server.url, api_streams=1200, api_pool_size=2, api_failed_logins_per_minute=3
    ) as api:
        made = (await api.ask("POST", "/v1/keys", json={"name": "bot"})).json
        assert (await api.get("/v1/series")).status == 200
        looked_up.clear()
        assert (await api.ask("DELETE", f"/v1/keys/{made['id']}")).status == 204
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
            AsyncExitStack() as stack,
        ):
            headers = {"X-API-Key": api.key}

            async def opened() -> int:
                asked = http.get(f"{api.base}/v1/changes", headers=headers)
                return (await stack.enter_async_context(asked)).status

            found = Counter(await asyncio.gather(*(opened() for _ in range(1000))))
        assert found == {200: 1000}
        assert len(looked_up) <= 10


async def test_one_slow_read_does_not_switch_the_cache_off(
    serve: Serve,
    database: Database,
    valkey_server: ValkeyServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("ssmd_api.cached.READ_SECONDS", 0.2)
    await warm(database, valkey_server.url)
    async with TcpProxy(valkey_server.url) as proxy, serve(redis_url=proxy.url) as api:
        assert (await api.get(f"/v1/markets/{TICKER}")).headers["X-Ssmd-Source"] == "cache"
        proxy.freeze()
        slow = await api.get(f"/v1/markets/{TICKER}")
        assert (slow.status, slow.headers["X-Ssmd-Source"]) == (200, "database")
        assert api.context.cached.up
        proxy.thaw()
        await api.context.cached.ping()
        monkeypatch.setattr("ssmd_api.cached.READ_SECONDS", 5.0)
        assert (await api.get(f"/v1/markets/{TICKER}")).headers["X-Ssmd-Source"] == "cache"
    assert "redis does not answer" not in capsys.readouterr().out


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prefixes that PostgreSQL was asked for."""
    asked: list[str] = []
    by_prefix = KeyStore.by_prefix

    async def counted(self: KeyStore, prefix: str) -> Any:
        asked.append(prefix)
        return await by_prefix(self, prefix)

    monkeypatch.setattr(KeyStore, "by_prefix", counted)
    return asked


async def test_a_key_is_looked_up_once_for_all_who_come_with_it(
    serve: Serve, looked_up: list[str]
) -> None:
    async with serve(api_failed_logins_per_minute=3, api_pool_size=2) as api:
        for headers in ({}, WRONG):
            looked_up.clear()
            replies = await asyncio.gather(
                *(api.get("/v1/fees/NONE", headers=headers) for _ in range(90))
            )
            # They did not all come at the same moment, but at few.
            assert 1 <= len(looked_up) <= 10, looked_up
            statuses = Counter(reply.status for reply in replies)
            assert statuses == ({404: 90} if not headers else {401: 3, 429: 87})


async def test_a_revocation_costs_no_other_key(
    serve: Serve, database: Database, looked_up: list[str]
) -> None:
    """Those who come with the revoked one use up their address' wrong tries; others go on."""
    async with serve(api_failed_logins_per_minute=3) as api:
        made = (await api.ask("POST", "/v1/keys", json={"name": "bot"})).json
        revoked = {"X-API-Key": made["key"]}
        assert (await api.get("/v1/series", headers=revoked)).status == 200
        assert (await api.ask("DELETE", f"/v1/keys/{made['id']}")).status == 204
        statuses = [(await api.get("/v1/series", headers=revoked)).status for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        assert (await api.get("/v1/series")).status == 200


async def test_what_was_read_before_a_revocation_is_not_trusted_after_it(
    serve: Serve, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up that is under way while the key is revoked."""
    async with serve(api_key_memory_seconds=300) as api:
        made = (await api.ask("POST", "/v1/keys", json={"name": "bot"})).json
        mine = {"X-API-Key": made["key"]}
        read, go = asyncio.Event(), asyncio.Event()
        by_prefix = KeyStore.by_prefix

        async def held(self: KeyStore, prefix: str) -> Any:
            found = await by_prefix(self, prefix)
            read.set()
            await go.wait()
            return found

        monkeypatch.setattr(KeyStore, "by_prefix", held)
        first = asyncio.create_task(api.get("/v1/series", headers=mine))
        await read.wait()
        assert (await api.ask("DELETE", f"/v1/keys/{made['id']}")).status == 204
        go.set()
        await first
        assert (await api.get("/v1/series", headers=mine)).status == 401


async def test_remembered_keys_need_no_database_that_is_overloaded(
    serve: Serve, database: Database
) -> None:
    """Nor do wrong keys from many addresses keep a good one from being looked up."""
    async with serve(api_trust_forwarded_for=True, api_key_memory_seconds=0) as api:
        flood = [
            asyncio.create_task(
                api.get(
                    "/v1/series",
                    headers={
                        "X-API-Key": f"sk_test_nosuchkey{n}_" + "x" * 43,
                        "X-Forwarded-For": f"10.0.0.{n}",
                    },
                )
            )
            for n in range(90)
        ]
        began = time.monotonic()
        assert (await api.get("/v1/series")).status == 200
        assert time.monotonic() - began < 30
        assert {reply.status for reply in await asyncio.gather(*flood)} <= {401, 503}
