"""A warm-up on request: by the running cache, or here when none runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

import psycopg
import redis.asyncio as aioredis

from ssmd_cache.database.snapshot import join
from ssmd_cache.errors import ContentsLost, KeyTypeConflict
from ssmd_cache.settings import CacheSettings
from ssmd_cache.warmup.warmup import warm_up
from ssmd_cache.writer.position import CachePosition, decode
from ssmd_cache.writer.redis_retry import RedisRetry
from ssmd_cache.writer.redis_writer import RedisWriter
from ssmd_common.connections import nats, postgres
from ssmd_common.errors import SsmdError, UpstreamUnavailable
from ssmd_common.health import Health
from ssmd_common.keys import Keys
from ssmd_common.leader import lock_key
from ssmd_stream.stream import Stream

_POLL_SECONDS: Final = 0.2


class Fruitless(SsmdError):
    """The rebuild did not come about."""


async def rebuild(
    settings: CacheSettings,
    client: aioredis.Redis,
    *,
    deadline_seconds: float,
    say: Callable[[str], None],
) -> CachePosition:
    """Ask the cache that leads for a warm-up and wait for it; without one, warm up here.

    Raises:
        Fruitless: no warm-up; the sentence says why, or where to look.
    """
    keys = Keys(settings.redis_key_prefix)
    wanted = int(await client.incr(keys.own("rebuild_requests")))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_seconds
    said = False
    while loop.time() < deadline:
        text = await client.get(keys.position)
        position = decode(text) if text is not None else None
        if position is not None and position.warm and position.rebuilds >= wanted:
            return position
        async with _lead(settings) as token:
            if token is not None:
                say("no cache service leads, so the warm-up is made from here")
                health = Health("cache")
                async with _fruitful(health, deadline, deadline_seconds):
                    return await _warm(settings, client, keys, token, wanted, health)
        if not said:
            say("the running cache service warms up")
            said = True
        await asyncio.sleep(_POLL_SECONDS)
    raise Fruitless(
        f"the cache service did not warm up within {deadline_seconds:g} s: "
        "its /readyz and its log say why"
    )


@contextlib.asynccontextmanager
async def _fruitful(health: Health, deadline: float, seconds: float) -> AsyncIterator[None]:
    """What can keep a warm-up from its end, in an operator's words."""
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError:
        why = health.conditions.get("redis") or "PostgreSQL or NATS does not answer"
        raise Fruitless(f"Redis could not be warmed within {seconds:g} s: {why}") from None
    except KeyTypeConflict as error:
        raise Fruitless(str(error)) from error
    except ContentsLost as error:
        raise Fruitless("Redis was emptied or restarted meanwhile: run this again") from error


async def _warm(
    settings: CacheSettings,
    client: aioredis.Redis,
    keys: Keys,
    token: int,
    rebuilds: int,
    health: Health,
) -> CachePosition:
    writer = RedisWriter(client, keys, token)
    await writer.claim()
    stream = await nats.connect(
        settings,
        "ssmd-cache-rebuild",
        budget_seconds=settings.startup_budget_seconds,
        service="cache",
        consumer=settings.consumer,
    )
    try:
        async with join(
            settings.database_url,
            Stream(stream),
            wait_seconds=settings.cache_snapshot_wait_seconds,
            budget_seconds=settings.startup_budget_seconds,
        ) as joined:
            warm = await warm_up(
                writer,
                joined,
                RedisRetry(health, asyncio.Event()),
                rebuilds=rebuilds,
                batch_rows=settings.cache_warm_batch_rows,
            )
        return warm.position
    finally:
        await nats.close(stream)


@contextlib.asynccontextmanager
async def _lead(settings: CacheSettings) -> AsyncIterator[int | None]:
    """The fencing token while the cache's lock is held; None if another holds it."""
    connection = await postgres.connect(
        settings.database_url, "ssmd-cache-rebuild", budget_seconds=settings.startup_budget_seconds
    )
    async with connection:
        try:
            cursor = await connection.execute(
                "SELECT pg_try_advisory_lock(%s, %s)", lock_key(settings.lock)
            )
            held = await cursor.fetchone()
            if not held or not held[0]:
                yield None
                return
            token = await (await connection.execute("SELECT nextval('fencing_tokens')")).fetchone()
        except psycopg.OperationalError as error:
            raise UpstreamUnavailable(
                "PostgreSQL went away during the rebuild: check DATABASE_URL"
            ) from error
        assert token is not None
        yield int(token[0])
