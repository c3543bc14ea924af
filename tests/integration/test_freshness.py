"""One row that a run cannot read does not age all the others: sync, api and cache as they are."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from pydantic import SecretStr

from ssmd_cache.database.lookup import Lookup
from ssmd_common import apikeys
from ssmd_common.exitcodes import ExitCode
from ssmd_simulator.server import Simulator
from ssmd_stack import forked
from ssmd_stack.ports import free_port

DEADLINE_SECONDS = 180.0
HOUR = 3600


@asynccontextmanager
async def process(module: str, *arguments: str, **variables: str) -> AsyncIterator[Any]:
    environment = {**os.environ, "OPS_HOST": "127.0.0.1", "OPS_PORT": str(free_port()), **variables}
    running = await forked.start(module, *arguments, env=environment)
    try:
        yield running
    finally:
        running.terminate()
        await running.wait()


async def test_a_bad_row_ages_alone(database: Any) -> None:
    key = apikeys.generate("test")
    port = free_port()
    api = f"http://127.0.0.1:{port}"
    lookup = Lookup(SecretStr(database.url), budget_seconds=10)
    async with (
        Simulator("tiny", tempo=None, budget=0) as exchange,
        database.connect() as connection,
        aiohttp.ClientSession(headers={"X-API-Key": key.text}) as session,
    ):
        variables = {"DATABASE_URL": database.url, "KALSHI_BASE_URL": exchange.base_url}

        async def synced() -> int:
            async with process("ssmd_sync", "run", "everything", **variables) as sync:
                async with asyncio.timeout(DEADLINE_SECONDS):
                    return int(await sync.wait())

        async def age(ticker: str) -> int:
            async with session.get(f"{api}/v1/markets/{ticker}") as reply:
                assert reply.status == 200, await reply.text()
                return int(reply.headers["X-Ssmd-Age"])

        async def ready() -> bool:
            try:
                async with session.get(f"{api}/readyz") as reply:
                    return reply.status == 200
            except aiohttp.ClientError:
                return False

        await connection.execute(
            "INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute)"
            " VALUES ('test', %s, %s, '{read}', 100000)",
            (key.prefix, key.hash),
        )
        assert await synced() == ExitCode.OK
        # That was two hours ago; an hour ago a run read all as well, and changed nothing.
        await connection.execute("UPDATE sync_runs SET started_at = started_at - interval '2 h'")
        await connection.execute("UPDATE markets SET observed_at = observed_at - interval '2 h'")
        assert await synced() == ExitCode.OK
        await connection.execute(
            "UPDATE sync_runs SET started_at = started_at - interval '1 h',"
            " finished_at = finished_at - interval '1 h'"
        )
        before = datetime.now(UTC)
        active = [
            m
            for m in exchange.universe.unsettled
            if m.status(exchange.clock()) == "active" and not m.event.multivariate
        ]
        bad, neighbour = active[0], active[1]
        stranger = next(m for m in active if m.event is not bad.event)
        exchange.exchange.edit(bad, {"ticker": 5}, exchange.clock())
        assert await synced() == ExitCode.PARTIAL
        api_variables = {
            "DATABASE_URL": database.url,
            "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
            "API_HOST": "127.0.0.1",
            "API_PORT": str(port),
        }
        async with process("ssmd_api", **api_variables):
            async with asyncio.timeout(DEADLINE_SECONDS):
                while not await ready():  # noqa: ASYNC110 - it asks another process
                    await asyncio.sleep(0.05)
            # The bad one's age counts from the last run that did read it.
            assert HOUR <= await age(bad.ticker) < 2 * HOUR
            assert await age(neighbour.ticker) < HOUR
            assert await age(stranger.ticker) < HOUR
        last_sync = await lookup.last_sync()
        await lookup.close()
        assert last_sync is not None
        assert datetime.fromisoformat(last_sync) > before - timedelta(seconds=1)
