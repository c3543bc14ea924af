"""REDIS_URL: one server, Sentinels, and what is refused in words; on real servers."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis.exceptions

from ssmd_common.connections import redis as connections
from ssmd_common.connections.redis_place import SentinelPlace, place_of
from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import RedisSettings, load
from ssmd_stack.ports import free_port
from ssmd_stack.proxy import TcpProxy
from ssmd_stack.valkey import ValkeySentinel, ValkeyServer

PATIENCE_SECONDS = 180.0


def settings(url: str, **more: Any) -> RedisSettings:
    return RedisSettings.model_validate({"redis_url": url, **more})


@pytest.fixture
async def replicated(tmp_path: Path) -> AsyncIterator[tuple[ValkeyServer, ValkeyServer, str]]:
    """A master, its replica, and the URL of the Sentinel that watches them."""
    async with AsyncExitStack() as stack:
        master = await stack.enter_async_context(ValkeyServer(tmp_path / "a"))
        follows = ["--replicaof", "127.0.0.1", str(master.port)]
        replica = await stack.enter_async_context(ValkeyServer(tmp_path / "b", options=follows))
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            connections.client(settings(replica.url), "test") as client,
        ):
            while (await client.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        watcher = ValkeySentinel(tmp_path / "s", master.port, down_after_seconds=1)
        sentinel = await stack.enter_async_context(watcher)
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            connections.client(settings(f"redis://127.0.0.1:{sentinel.port}"), "test") as asking,
        ):
            # A Sentinel promotes nobody whom it has not asked yet, only seen with the master.
            while not await has_asked_the_replica(asking):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        yield master, replica, sentinel.url


async def has_asked_the_replica(sentinel: Any) -> bool:
    told = await sentinel.execute_command("SENTINEL", "REPLICAS", "master")
    return any(replica[b"master-link-status"] == b"ok" for replica in told)


async def until_moved(watch: connections.MasterWatch) -> None:
    """It leaves the old master."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                if await watch.follow():
                    return
            except redis.exceptions.ConnectionError:
                # In the midst of a failover there is no master to name.
                pass
            await asyncio.sleep(0.1)


async def test_the_client_follows_the_sentinels_to_a_new_master(replicated: Any) -> None:
    master, replica, url = replicated
    async with (
        await connections.connect(settings(url), "test", budget_seconds=PATIENCE_SECONDS) as client,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await client.set("key", "old")
        assert not await connections.MasterWatch(client).follow()
        await master.kill()
        while True:
            try:
                await client.set("key", "new")
                break
            except (redis.exceptions.ConnectionError, redis.exceptions.ReadOnlyError):
                await asyncio.sleep(0.1)
        assert (await client.info("server"))["tcp_port"] == replica.port


async def test_a_master_that_is_one_no_more_is_left(replicated: Any) -> None:
    """Our connection to it is open still, as to one that only the Sentinels cannot reach."""
    _, replica, url = replicated
    sentinel = url.replace("redis+sentinel", "redis").partition("/master")[0]
    async with (
        await connections.connect(settings(url), "test", budget_seconds=PATIENCE_SECONDS) as client,
        connections.client(settings(sentinel), "test") as asking,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await client.set("key", "old")
        await asking.execute_command("SENTINEL", "FAILOVER", "master")
        await until_moved(connections.MasterWatch(client))
        assert (await client.info("server"))["tcp_port"] == replica.port


async def test_an_address_that_leads_elsewhere_is_noticed(tmp_path: Path) -> None:
    """As a name or a virtual address does after a failover, with our old connection still open."""
    async with (
        ValkeyServer(tmp_path / "a") as old,
        ValkeyServer(tmp_path / "b") as new,
        TcpProxy(old.url) as address,
        await connections.connect(
            settings(address.url), "test", budget_seconds=PATIENCE_SECONDS
        ) as client,
    ):
        watch = connections.MasterWatch(client)
        assert not await watch.follow()
        address.lead_to(new.url)
        # One connection that reaches the new one already hides none that does not.
        async with client.client() as old_one:
            await client.ping()
            assert await watch.follow()
            assert not old_one.connection.is_connected
        assert (await client.info("server"))["tcp_port"] == new.port
        assert not await watch.follow()


async def test_a_cluster_is_refused_in_words(tmp_path: Path) -> None:
    # Else nodes talk at the port that is 10,000 higher, which somebody may have.
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
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


async def test_protected_mode_is_told_with_what_ends_it(tmp_path: Path) -> None:
    """Seen by whoever does not come over loopback; our own other address is enough."""
    addresses = [
        address.address
        for name, found in psutil.net_if_addrs().items()
        for address in found
        if name != "lo" and address.family == socket.AF_INET
    ]
    if not addresses:
        pytest.skip("this machine has only its loopback address")
    protected = ["--bind", "0.0.0.0", "--protected-mode", "yes"]
    async with ValkeyServer(tmp_path / "v", options=protected) as server:
        url = f"redis://{addresses[0]}:{server.port}/0"
        with pytest.raises(ConfigurationError, match=r"protected mode.*requirepass"):
            await connections.connect(settings(url), "test", budget_seconds=5)
