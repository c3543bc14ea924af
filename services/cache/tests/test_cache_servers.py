"""Servers that are full, secured, shared with others, or gone for a while."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis
import redis.exceptions
from certificates import Authority
from pydantic import SecretStr

from ssmd_cache.writer.redis_writer import RedisWriter
from ssmd_cache.writer.script import Script
from ssmd_stack.ports import free_port
from ssmd_stream.stream import Stream

SERIES = "INSERT INTO series (ticker, category) VALUES ('S', 'C')"
EVENT = "INSERT INTO events (event_ticker, series_ticker) VALUES ('E', 'S')"
MARKETS = (
    "INSERT INTO markets (ticker, event_ticker, series_ticker, status)"
    " SELECT 'M' || n, 'E', 'S', 'active' FROM generate_series(1, 20) n"
)


async def test_full_redis_is_told_and_nothing_is_lost(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKETS)
    async with world.cache() as cache:
        await cache.ready()
        await world.settled()
        written = world.sequence
        await world.redis.config_set("maxmemory", 1)
        await world.commit("UPDATE markets SET yes_bid = 5")
        await cache.says("redis", "maxmemory")
        assert not cache.health.ready
        consumer = await world.js.consumer_info("SECMASTER_CDC", cache.settings.consumer)
        assert consumer.ack_floor.stream_seq <= written
        await world.redis.config_set("maxmemory", 0)
        await world.assert_right()
        await cache.ready()


async def test_a_warm_up_into_a_full_redis_waits(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKETS)
    await world.redis.config_set("maxmemory", 1)
    async with world.cache() as cache:
        await cache.says("redis", "maxmemory")
        assert not cache.health.ready
        await world.redis.config_set("maxmemory", 0)
        await cache.ready()
        await world.assert_right()


async def test_it_stops_with_a_batch_that_redis_never_got(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: RedisWriter) -> Any:
        raise redis.exceptions.ConnectionError("nobody is there")

    await world.commit(SERIES, EVENT, MARKETS)
    # Nothing but a batch asks Redis for anything meanwhile.
    async with world.cache(cache_check_seconds=600) as cache:
        await world.settled()
        monkeypatch.setattr(Script, "connection", refuse)
        await world.commit("UPDATE markets SET yes_bid = 5")
        await cache.says("redis", "nobody is there")
    monkeypatch.undo()
    async with world.cache() as cache:
        await cache.ready()
        await world.assert_right()


async def test_a_redis_that_evicts_is_not_good_enough(world: Any) -> None:
    await world.redis.config_set("maxmemory", 10**9)
    await world.redis.config_set("maxmemory-policy", "allkeys-lru")
    async with world.cache() as cache:
        await cache.says("eviction", "noeviction")


async def test_keys_of_someone_else_are_named_and_left_alone(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKETS)
    await world.redis.rpush("secmaster:series:S:E:M7", "mine")
    async with world.cache() as cache:
        await cache.says("foreign", "secmaster:series:S:E:M7")
        # The rest of the picture is there and goes on.
        await world.commit("UPDATE markets SET yes_bid = 5")
        await world.settled()
        assert b'"yes_bid":5' in await world.redis.get("secmaster:series:S:E:M8")
        assert await world.redis.lrange("secmaster:series:S:E:M7", 0, -1) == [b"mine"]
        assert not cache.health.ready
        await world.redis.delete("secmaster:series:S:E:M7")
        await cache.ready()
        await world.assert_right()
        await world.redis.delete("secmaster:markets")
        await world.redis.set("secmaster:markets", "mine")
        await cache.says("foreign", "secmaster:markets")
        assert await world.redis.get("secmaster:markets") == b"mine"
        await world.redis.delete("secmaster:markets")
        await cache.ready()
        await world.assert_right()


async def test_a_key_of_someone_else_is_named_at_the_start(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKETS)
    await world.redis.set("secmaster:markets", "mine")
    async with world.cache() as cache:
        await cache.says("foreign", "secmaster:markets")
        await world.redis.delete("secmaster:markets")
        await cache.ready()
        await world.assert_right()


async def test_a_listing_of_someone_else_is_named(world: Any) -> None:
    """In the way of an event that is new, one that changes category, and a market that ends."""
    await world.commit(SERIES)
    async with world.cache() as cache:
        await cache.ready()
        await world.redis.set("secmaster:event_markets:E", "mine")
        await world.commit(EVENT)
        await cache.says("foreign", "secmaster:event_markets:E")
        await world.redis.delete("secmaster:event_markets:E")
        await cache.ready()
        await world.commit(MARKETS)
        await world.settled()
        for listing in ("secmaster:event_markets:E", "secmaster:markets:by_category:C"):
            await world.redis.delete(listing)
            await world.redis.set(listing, "mine")
        await world.commit("UPDATE events SET category = 'D'")
        await cache.says("foreign", "secmaster:event_markets:E")
        await world.commit("DELETE FROM markets WHERE ticker = 'M7'")
        await world.settled()
        for listing in ("secmaster:event_markets:E", "secmaster:markets:by_category:C"):
            assert await world.redis.getdel(listing) == b"mine"
        await cache.ready()
        await world.assert_right()


async def test_it_stops_while_it_waits_for_its_first_word_with_redis(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: RedisWriter) -> Any:
        raise redis.exceptions.ConnectionError("nobody is there")

    monkeypatch.setattr(RedisWriter, "claim", refuse)
    async with world.cache() as cache:
        await cache.says("redis", "nobody is there")
    assert cache.task.exception() is None


async def test_nats_that_closes_the_connection_ends_it_with_a_sentence(world: Any) -> None:
    """The client does not connect again after that: the next start does."""
    await world.commit(SERIES, EVENT, MARKETS)
    cut: list[Any] = []
    info = Stream.info

    async def closed(stream: Stream) -> Any:
        cut.append(await stream.client.close())
        return await info(stream)

    with pytest.raises(ExceptionGroup) as ended, pytest.MonkeyPatch.context() as patch:
        async with world.cache() as cache:
            await cache.ready()
            patch.setattr(Stream, "info", closed)
            await asyncio.wait({cache.task})
    assert cut
    [error] = ended.value.exceptions
    assert "NATS closed the connection" in str(error)


@contextlib.asynccontextmanager
async def tls_in_front_of(port: int, directory: Path) -> AsyncIterator[tuple[int, Path]]:
    """TLS on a port of its own, ended before the server behind `port`."""
    authority = Authority()
    cert, secret = authority.issue(directory, "redis")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, secret)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    own = free_port()
    server = await asyncio.start_server(serve, "127.0.0.1", own, ssl=context)
    try:
        yield own, authority.file(directory)
    finally:
        server.close()


async def test_password_and_tls(world: Any, tmp_path: Path) -> None:
    await world.commit(SERIES, EVENT, MARKETS)
    await world.redis.config_set("requirepass", "s3cret")
    password = f"redis://:s3cret@127.0.0.1:{world.valkey_server.port}/0"
    await world.redis.aclose()
    world.redis = aioredis.Redis.from_url(password)
    async with tls_in_front_of(world.valkey_server.port, tmp_path) as (port, cert):
        url = f"rediss://:s3cret@127.0.0.1:{port}/0?ssl_ca_certs={cert}"
        async with world.cache(redis_url=SecretStr(url)) as cache:
            await cache.ready()
            await world.commit("UPDATE markets SET yes_bid = 5")
            await world.assert_right()
    await world.redis.aclose()


@pytest.mark.slow
async def test_postgres_killed_and_back(private_postgres: Any, own_world: Any) -> None:
    async with contextlib.AsyncExitStack() as stack:
        world = own_world
        await world.create_stream()
        await world.commit(SERIES, EVENT, MARKETS)
        async with world.process("ssmd_cache") as cache:
            await cache.until(ready=True)
            await private_postgres.kill()
            # Without its lock it must not go on: another may lead. It ends and is started again.
            assert await asyncio.wait_for(cache.child.wait(), 180) == 1
        async with world.process("ssmd_cache") as cache:
            await cache.until()
            await private_postgres.start()
            world.pg = await stack.enter_async_context(world.database.connect())
            await world.commit("UPDATE markets SET yes_bid = 6")
            await cache.until(ready=True)
            await world.assert_right()
