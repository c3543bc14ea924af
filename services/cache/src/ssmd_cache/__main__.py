"""The cache service: the only place where its parts are put together."""

import sys
from contextlib import AsyncExitStack

from ssmd_cache.database.lookup import Lookup
from ssmd_cache.follower.follower import Follower
from ssmd_cache.follower.journey import Journey
from ssmd_cache.follower.lag import Lag
from ssmd_cache.follower.refetch import Refetcher
from ssmd_cache.housekeeping import Housekeeping
from ssmd_cache.service import Cache
from ssmd_cache.settings import CacheSettings
from ssmd_cache.unreadable import Unreadable
from ssmd_cache.verify.onrequest import OnRequest
from ssmd_cache.verify.patrol import Patrol
from ssmd_cache.verify.reconcile import reconcile
from ssmd_cache.writer.redis_retry import RedisRetry
from ssmd_cache.writer.redis_writer import RedisWriter
from ssmd_cache.writer.type_conflicts import TypeConflicts
from ssmd_common.connections import nats, redis
from ssmd_common.keys import Keys
from ssmd_common.leader import lead
from ssmd_common.runtime import Runtime, run
from ssmd_stream.stream import Stream


async def serve(runtime: Runtime, settings: CacheSettings) -> None:
    """Lead, or stand by until this replica does; then keep Redis right."""
    budget, health = settings.startup_budget_seconds, runtime.health
    # Before anything else is fine: a service is ready only when nothing is missing.
    health.of_work.add("warm")
    health.set("warm", "what Redis holds was not looked at yet")
    async with AsyncExitStack() as stack:
        leadership = await stack.enter_async_context(
            lead(runtime, settings.database_url, "cache", budget_seconds=budget, lock=settings.lock)
        )
        if leadership is None:
            return
        client = await redis.connect(settings, "ssmd-cache", budget_seconds=budget, service="cache")
        stack.push_async_callback(client.aclose)
        messages = await nats.connect(
            settings,
            "ssmd-cache",
            budget_seconds=budget,
            service="cache",
            consumer=settings.consumer,
        )
        stack.push_async_callback(nats.close, messages)

        # One each: who asks in the background must not hold up what the stream asks for.
        rows, of_housekeeping, of_patrol = (
            Lookup(settings.database_url, budget_seconds=budget) for _ in range(3)
        )
        stack.push_async_callback(rows.close)
        writer = RedisWriter(client, Keys(settings.redis_key_prefix), leadership.token)
        retry = RedisRetry(health, runtime.stop)
        unreadable = Unreadable(writer, health, retry)
        conflicts = TypeConflicts(client, health, retry)
        refetcher = Refetcher(rows, writer.keys, unreadable)
        housekeeping = Housekeeping(settings, writer, of_housekeeping, health, retry)
        cache = Cache(
            runtime=runtime,
            settings=settings,
            stream=Stream(messages),
            writer=writer,
            retry=retry,
            unreadable=unreadable,
            conflicts=conflicts,
            housekeeping=housekeeping,
            follower=Follower(writer, refetcher, unreadable, conflicts, retry),
            journey=Journey(health),
            lag=Lag(health, settings.cache_ready_lag_seconds),
        )
        if settings.cache_reconcile_seconds:
            comparing = reconcile(runtime, settings, writer, housekeeping, unreadable)
            runtime.spawn("cache-reconcile", comparing)
        on_request = OnRequest(runtime, settings, writer, housekeeping)
        runtime.spawn("cache-requests", on_request.watch())
        runtime.spawn("cache-requested", on_request.run())
        if settings.cache_patrol_seconds:
            patrol = Patrol(runtime, writer, of_patrol, unreadable, settings.cache_patrol_seconds)
            runtime.spawn("cache-patrol", patrol.run())
        await cache.run()


def main() -> None:
    """Run the service."""
    sys.exit(run("cache", CacheSettings, serve))


if __name__ == "__main__":
    main()
