"""The API: answers about the security master over HTTP, from Redis and PostgreSQL."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import psycopg
import structlog

from ssmd_api import tierfile
from ssmd_api.app import make_app
from ssmd_api.auth import Authenticator
from ssmd_api.cached import Cached
from ssmd_api.context import Context
from ssmd_api.counts import Counts
from ssmd_api.crossorigin import Origins
from ssmd_api.database import Database, open_pool
from ssmd_api.deprecation import DEPRECATED
from ssmd_api.feed import ChangeFeed
from ssmd_api.freshness import Freshness
from ssmd_api.keystore import KeyStore
from ssmd_api.keywatch import KeyWatch
from ssmd_api.marketdata import MarketData
from ssmd_api.places import Places
from ssmd_api.ratelimit import RateLimiter
from ssmd_api.recent import Recent
from ssmd_api.requeststore import RequestStore
from ssmd_api.settings import ApiSettings
from ssmd_api.store import Store
from ssmd_api.tiers import Tiers
from ssmd_api.unreadable import Unreadable
from ssmd_common import health, runtime
from ssmd_common.connections.retry import first_line
from ssmd_common.keys import Keys
from ssmd_common.runtime import Runtime

log = structlog.get_logger(__name__)

_CHECK_SECONDS: Final = 2.0


@asynccontextmanager
async def open_context(settings: ApiSettings) -> AsyncIterator[Context]:
    """Connect to PostgreSQL, and to Redis when it is there."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings))
        cached = Cached(settings, Keys(settings.redis_key_prefix))
        stack.push_async_callback(cached.close)
        stopping, unreadable = asyncio.Event(), Unreadable()
        feed = ChangeFeed(settings, unreadable, stopping)
        stack.push_async_callback(feed.close)
        database = Database(pool, settings.api_statement_timeout_seconds)
        store, keys = Store(database), KeyStore(database)
        authenticator = Authenticator(
            keys, settings.api_key_memory_seconds, settings.api_failed_logins_per_minute
        )
        stack.push_async_callback(authenticator.close)
        keywatch = KeyWatch(authenticator, settings.api_key_memory_seconds)
        stack.push_async_callback(keywatch.close)
        yield Context(
            settings=settings,
            store=store,
            cached=cached,
            tiers=Tiers(tierfile.load(settings.api_fee_tiers_file)),
            freshness=Freshness(store),
            counts=Counts(store),
            recent=Recent(settings.api_recent_seconds),
            keys=keys,
            requests=RequestStore(database),
            authenticator=authenticator,
            keywatch=keywatch,
            limiter=RateLimiter(),
            database=database,
            feed=feed,
            market_data=MarketData(feed.client),
            unreadable=unreadable,
            exports=Places("exports", settings.api_exports),
            streams=Places("streams", settings.api_streams),
            origins=Origins(settings.origins),
            deprecated=DEPRECATED,
            stopping=stopping,
        )


async def serve(running: Runtime, settings: ApiSettings) -> None:
    """Answer until asked to stop, then finish what is being answered."""
    # What it serves was stamped by others; only ages are by its own clock.
    running.health.stamps = False
    async with open_context(settings) as context:
        app = make_app(context, running.health)
        async with health.serve(app, settings.api_host, settings.api_port, "API_PORT") as port:
            log.info("serving", port=port())
            running.health.state = "serving"
            await _look(running, context)
            running.spawn("watch", _watch(running, context))
            await _check(running, context)
            while not await running.stopped_within(_CHECK_SECONDS):
                await _check(running, context)
            context.stopping.set()
        # A lost note of a key's last use is no reason to fail at the end.
        with contextlib.suppress(psycopg.Error):
            await context.authenticator.write_uses()


async def _check(running: Runtime, context: Context) -> None:
    """Readiness is PostgreSQL's alone: without Redis the API is slower and right."""
    try:
        refusal = await context.database.refuses_writes()
        running.health.tell_writable(refusal)
        if refusal is None:
            await context.authenticator.write_uses()
        running.health.set("postgres", None)
    except psycopg.errors.InsufficientPrivilege:
        raise
    except psycopg.Error as error:
        running.health.failed("postgres", error)
        running.health.set("postgres", f"PostgreSQL does not answer: {first_line(error)}")
    running.health.progress()


async def _watch(running: Runtime, context: Context) -> None:
    """Redis and the stream, apart from what is asked of PostgreSQL: neither waits for the other."""
    while not await running.stopped_within(_CHECK_SECONDS):
        await context.cached.follow_master()
        await _look(running, context)


async def _look(running: Runtime, context: Context) -> None:
    feed = context.feed
    running.health.position = feed.position()
    running.health.lag_seconds = feed.lag_seconds()
    unreadable = context.unreadable.degraded(feed.first_sequence)
    running.health.degrade("changes", feed.refusal or unreadable)
    await context.cached.ping()
    running.health.degrade("redis", context.cached.refusal)
    if not running.stop.is_set():
        running.health.state = "serving" if context.cached.up else "serving without redis"


def main() -> None:
    sys.exit(runtime.run("api", ApiSettings, serve))


if __name__ == "__main__":
    main()
