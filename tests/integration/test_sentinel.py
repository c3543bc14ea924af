"""Redis behind Sentinels: a master that they gave up, and that answers us all the same."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import redis.asyncio as aioredis
import redis.exceptions
from topology import PATIENCE_SECONDS, Topology, execute, topology, verify

from ssmd_common import apikeys
from ssmd_common.keys import Keys
from ssmd_stack.database import Database
from ssmd_stack.fixtures import stack_kind
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stack.proxy import TcpProxy
from ssmd_stack.valkey import ValkeySentinel, ValkeyServer

SERIES = "INSERT INTO series (ticker, category) VALUES ('S', 'C')"
EVENT = "INSERT INTO events (event_ticker, series_ticker) VALUES ('E', 'S')"
MARKETS = (
    "INSERT INTO markets (ticker, event_ticker, series_ticker, status)"
    " SELECT 'M' || n, 'E', 'S', 'active' FROM generate_series(1, 20) n"
)
MARKET = Keys().market("S", "E", "M1")


@dataclass
class Replicated:
    """Everyone reaches the master at its address, which leads nowhere while it is isolated."""

    master: ValkeyServer
    replica: ValkeyServer
    address: TcpProxy
    url: str

    async def isolate(self) -> None:
        """Sentinel and replica lose it; connections of the services stay open."""
        self.address.lead_to(f"redis://127.0.0.1:{free_port()}")
        async with aioredis.Redis.from_url(self.master.url, client_name="ssmd-test") as client:
            # Again, for what was just being connected, and had no name yet.
            for _ in range(3):
                for each in await client.client_list():
                    if not each["name"].startswith("ssmd-"):
                        await client.client_kill_filter(_id=each["id"])
                await asyncio.sleep(0.2)

    async def reunite(self) -> None:
        self.address.lead_to(self.master.url)

    async def freeze(self) -> None:
        self.master._process.send(signal.SIGSTOP)  # type: ignore[union-attr]

    async def thaw(self) -> None:
        self.master._process.send(signal.SIGCONT)  # type: ignore[union-attr]


async def role(server: ValkeyServer) -> tuple[str, str | None]:
    """Its role, and how its link to its master is."""
    async with aioredis.Redis.from_url(server.url) as client:
        found = await client.info("replication")
    return found["role"], found.get("master_link_status")


async def value(server: ValkeyServer) -> int | None:
    """The bid of one market, as this server has it."""
    async with aioredis.Redis.from_url(server.url) as client:
        text = await client.get(MARKET)
    return None if text is None else msgspec.json.decode(text)["yes_bid"]


async def until(condition: Callable[[], Awaitable[Any]], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                # Sentinels close the connections of whom they promote or demote.
                with contextlib.suppress(redis.exceptions.ConnectionError):
                    if await condition():
                        return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"it never came so far: {what}") from None


@pytest.fixture
async def replicated(scratch: Path) -> AsyncIterator[Replicated]:
    if stack_kind() != "embedded":
        pytest.skip("a Sentinel is only made of embedded servers")
    async with AsyncExitStack() as stack:
        master = await stack.enter_async_context(ValkeyServer(scratch / "a"))
        address = await stack.enter_async_context(TcpProxy(master.url))
        follows = ["--replicaof", "127.0.0.1", str(address.port)]
        replica = await stack.enter_async_context(ValkeyServer(scratch / "b", options=follows))
        await until(lambda: _is(replica, "slave", "up"), "the replica follows")
        watcher = ValkeySentinel(scratch / "s", address.port, down_after_seconds=2)
        sentinel = await stack.enter_async_context(watcher)
        async with aioredis.Redis(port=sentinel.port) as asking:

            async def knows_the_replica() -> bool:
                told = await asking.execute_command("SENTINEL", "REPLICAS", "master")
                return any(each[b"master-link-status"] == b"ok" for each in told)

            await until(knows_the_replica, "the Sentinel knows the replica")
        yield Replicated(master, replica, address, sentinel.url)


async def _is(server: ValkeyServer, *wanted: str | None) -> bool:
    return await role(server) == wanted


@pytest.fixture
async def services(
    nats_server: NatsServer, replicated: Replicated, tmp_path: Path
) -> AsyncIterator[Topology]:
    async with topology(nats_server, replicated, tmp_path) as made:  # type: ignore[arg-type]
        yield made


class Reader:
    """Asks the API for one market."""

    def __init__(self, session: aiohttp.ClientSession, api: str) -> None:
        self._session = session
        self._api = api

    async def ask(self) -> tuple[int | None, str]:
        """The bid, and who answered: `cache` or `database`."""
        async with self._session.get(f"{self._api}/v1/markets/M1") as reply:
            assert reply.status == 200, await reply.text()
            return (await reply.json())["yes_bid"], reply.headers["X-Ssmd-Source"]

    async def reads(self, bid: int) -> bool:
        """Whether the API answers so, and out of Redis."""
        return await self.ask() == (bid, "cache")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["isolated", "frozen"])
async def test_a_master_that_was_given_up_is_left_by_writer_and_readers(
    services: Topology, replicated: Replicated, database: Database, how: str
) -> None:
    key = apikeys.generate("test")
    stored = (
        "INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute)"
        f" VALUES ('test', '{key.prefix}', '\\x{key.hash.hex()}', '{{read}}', 100000)"
    )
    await execute(database.url, SERIES, EVENT, MARKETS, stored)
    port = str(free_port())
    started = [await services.start(name, database.url) for name in ("cdc", "cache")]
    started.append(await services.start("api", database.url, API_PORT=port))
    for service in started:
        await service.ready()
    async with aiohttp.ClientSession(headers={"X-API-Key": key.text}) as session:
        reader = Reader(session, f"http://127.0.0.1:{port}")

        async def write(bid: int) -> None:
            await execute(database.url, f"UPDATE markets SET yes_bid = {bid}")

        await write(1)
        await until(lambda: reader.reads(1), "the API reads from the first master")
        await (replicated.isolate() if how == "isolated" else replicated.freeze())
        await until(lambda: _is(replicated.replica, "master", None), "the replica is promoted")
        await write(2)

        async def has(bid: int) -> bool:
            return await value(replicated.replica) == bid

        await until(lambda: has(2), "cache writes to the new master")
        await until(lambda: reader.reads(2), "the API reads from the new master")
        if how == "isolated":
            # Whoever still reads there is found out.
            async with (
                aioredis.Redis.from_url(replicated.replica.url) as new,
                aioredis.Redis.from_url(replicated.master.url) as old,
            ):
                row = msgspec.json.decode(await new.get(MARKET) or b"")
                await old.set(MARKET, msgspec.json.encode({**row, "yes_bid": 66}))
        await (replicated.reunite() if how == "isolated" else replicated.thaw())
        answers: set[int | None] = set()

        async def returned() -> bool:
            answers.add((await reader.ask())[0])
            return await _is(replicated.master, "slave", "up")

        await until(returned, "the old master follows the new one")
        assert answers == {2}
        await write(3)
        await until(lambda: reader.reads(3), "the API reads what is new")
        assert await has(3)
    assert not [code for service in started for code in service.codes]
    environment = {**services.environment, "DATABASE_URL": database.url}
    verified = await asyncio.to_thread(verify, environment)
    assert verified.returncode == 0, verified.stdout + verified.stderr
