"""REDIS_URL: one server, Sentinels, and what is refused in words; on real servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import redis.exceptions

from ssmd_common.connections import redis as connections
from ssmd_common.connections.redis_place import SentinelPlace, place_of
from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import RedisSettings, load
from ssmd_stack.proxy import TcpProxy
from ssmd_stack.valkey import ValkeySentinel, ValkeyServer

PATIENCE_SECONDS = 60.0


def settings(url: str, **more: Any) -> RedisSettings:
    return RedisSettings.model_validate({"redis_url": url, **more})


@pytest.fixture
async def replicated(tmp_path: Path) -> AsyncIterator[tuple[ValkeyServer, ValkeyServer, str]]:
    """A master, its replica, and the URL of the Sentinel that watches them."""
    async with AsyncExitStack() as stack:
        master = await stack.enter_async_context(ValkeyServer(tmp_path / "a"))
        follows = ["--replicaof", "127.0.0.1", str(master.port)]
        replica = await stack.enter_async_context(ValkeyServer(tmp_path / "b", options=follows))
        async with asyncio.timeout(PATIENCE_SECONDS):
            client = connections.client(settings(replica.url), "test")
            while (await client.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await client.aclose()
        watcher = ValkeySentinel(tmp_path / "s", master, down_after_seconds=1)
        sentinel = await stack.enter_async_context(watcher)
        asking = connections.client(settings(f"redis://127.0.0.1:{sentinel.port}"), "test")
        async with asyncio.timeout(PATIENCE_SECONDS):
            # A Sentinel that has not seen the replica yet has nobody to promote.
            while not await asking.execute_command("SENTINEL", "REPLICAS", "master"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asking.aclose()
        yield master, replica, sentinel.url


async def test_the_client_follows_the_sentinels_to_a_new_master(replicated: Any) -> None:
    master, replica, url = replicated
    client = await connections.connect(settings(url), "test", budget_seconds=PATIENCE_SECONDS)
    await client.set("key", "old")
    assert not await connections.master_moved(client)
    await master.kill()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await client.set("key", "new")
                break
            except (redis.exceptions.ConnectionError, redis.exceptions.ReadOnlyError):
                await asyncio.sleep(0.1)
    assert (await client.info("server"))["tcp_port"] == replica.port
    await client.aclose()


async def test_a_master_that_is_one_no_more_is_left(replicated: Any) -> None:
    """Our connection to it is open still, as to one that only the Sentinels cannot reach."""
    _, replica, url = replicated
    client = await connections.connect(settings(url), "test", budget_seconds=PATIENCE_SECONDS)
    await client.set("key", "old")
    asking = connections.client(
        settings(url.replace("redis+sentinel", "redis").partition("/master")[0]), "test"
    )
    await asking.execute_command("SENTINEL", "FAILOVER", "master")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await connections.master_moved(client):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await connections.leave(client)
        assert (await client.info("server"))["tcp_port"] == replica.port
    await asking.aclose()
    await client.aclose()


async def test_an_address_that_leads_elsewhere_is_noticed(tmp_path: Path) -> None:
    """As a name or a virtual address does after a failover, with our old connection still open."""
    async with (
        ValkeyServer(tmp_path / "a") as old,
        ValkeyServer(tmp_path / "b") as new,
        TcpProxy(old.url) as address,
    ):
        client = await connections.connect(
            settings(address.url), "test", budget_seconds=PATIENCE_SECONDS
        )
        assert not await connections.master_moved(client)
        address.lead_to(new.url)
        assert await connections.master_moved(client)
        await connections.leave(client)
        assert (await client.info("server"))["tcp_port"] == new.port
        assert not await connections.master_moved(client)
        await client.aclose()


async def test_a_cluster_is_refused_in_words(tmp_path: Path) -> None:
    options = ["--cluster-enabled", "yes"]
    async with ValkeyServer(tmp_path / "a", options=options) as node:
        with pytest.raises(ConfigurationError, match=r"Redis Cluster, which is not supported"):
            await connections.connect(settings(node.url), "test", budget_seconds=600)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("redis+sentinel://host:26379", "must be like"),
        ("redis+sentinel:///master", "must be like"),
        ("redis+sentinel://host:port/master", "named by host:port"),
        ("redis+sentinel://host/master/x", "must be a number"),
        ("https://host", "must be a URL such as redis://host:port"),
    ],
)
def test_a_place_that_is_none_is_told(
    url: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(ConfigurationError, match=fault):
        load(RedisSettings)


def test_how_a_sentinels_url_is_read() -> None:
    url = "rediss+sentinel://cache:p%2Fq@a:1,[::1]:2,c/my%20master/3"
    place = SentinelPlace.parse(url)
    assert place.sentinels == (("a", 1), ("::1", 2), ("c", 26379))
    assert (place.master, place.database, place.tls) == ("my master", 3, True)
    assert (place.user, place.password) == ("cache", "p/q")
    # No secret, and the same for replicas that list the Sentinels otherwise.
    assert place_of(url) == "sentinel:my master/3"
    assert place_of("redis://u:p@Host:1/2") == "host:1/2"
