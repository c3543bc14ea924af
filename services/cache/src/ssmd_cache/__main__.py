"""The cache service: wiring only."""

import sys
from contextlib import AsyncExitStack

from ssmd_cache.lookup import lookup
from ssmd_cache.redis_sink import RedisSink
from ssmd_cache.service import Cache
from ssmd_cache.settings import CacheSettings
from ssmd_common.connections import nats, redis
from ssmd_common.keys import Keys
from ssmd_common.leader import lead
from ssmd_common.runtime import Runtime, run


async def serve(runtime: Runtime, settings: CacheSettings) -> None:
    """Lead, or stand by until this replica does; then keep Redis right."""
    budget = settings.startup_budget_seconds
    # Before anything else is fine: a service is ready only when nothing is missing.
    runtime.health.set("warm", "the picture was not looked at yet")
    async with AsyncExitStack() as stack:
        leadership = await stack.enter_async_context(
            lead(runtime, settings.database_url, "cache", budget_seconds=budget, lock=settings.lock)
        )
        if leadership is None:
            return
        client = await redis.connect(settings, "ssmd-cache", budget_seconds=budget, service="cache")
        stack.push_async_callback(client.aclose)
        stream = await nats.connect(
            settings,
            "ssmd-cache",
            budget_seconds=budget,
            service="cache",
            consumer=settings.consumer,
        )
        stack.push_async_callback(nats.close, stream)
        rows = await stack.enter_async_context(lookup(settings.database_url, budget_seconds=budget))
        sink = RedisSink(client, Keys(settings.redis_key_prefix), leadership.token)
        await Cache(runtime, settings, leadership, stream, sink, rows).run()


def main() -> None:
    """Run the service."""
    sys.exit(run("cache", CacheSettings, serve))


if __name__ == "__main__":
    main()
