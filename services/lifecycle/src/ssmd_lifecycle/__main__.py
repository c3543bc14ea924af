"""Lifecycle: Kalshi's WebSocket and the clock → PostgreSQL."""

import sys
from contextlib import AsyncExitStack
from typing import Final

import structlog

from ssmd_common import runtime as common
from ssmd_common.connections import postgres
from ssmd_common.connections.clock import CLOCK
from ssmd_common.connections.loaders import forgive_values
from ssmd_common.leader import lead
from ssmd_common.runtime import Runtime
from ssmd_kalshi.budget import Budget
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.signing import Signer, load_signer
from ssmd_kalshi.socket import KalshiSocket, SocketPolicy
from ssmd_lifecycle import liveness, retention
from ssmd_lifecycle.apply.message_store import MessageStore
from ssmd_lifecycle.apply.recorder import Recorder
from ssmd_lifecycle.apply.resolver import Resolver
from ssmd_lifecycle.clock.scheduler import Scheduler
from ssmd_lifecycle.clock.timed_store import TimedStore
from ssmd_lifecycle.feed import silence_watch
from ssmd_lifecycle.feed.gaps import Gaps
from ssmd_lifecycle.feed.inbox import Inbox
from ssmd_lifecycle.feed.listener import Listener
from ssmd_lifecycle.feed.messages import MARKET_CHANNEL, MULTIVARIATE_CHANNEL
from ssmd_lifecycle.feed.silence import Silence
from ssmd_lifecycle.filter import FilterFile
from ssmd_lifecycle.repair.backfill import Backfill
from ssmd_lifecycle.repair.repairer import Repairer
from ssmd_lifecycle.repair.rest_upserter import RestUpserter
from ssmd_lifecycle.settings import LOCK, LifecycleSettings
from ssmd_lifecycle.side_tasks import SideTasks, explained
from ssmd_lifecycle.transactions import Pool
from ssmd_store.parents import Connection
from ssmd_store.sessions import Sessions

log = structlog.get_logger(__name__)

_BORROW_SECONDS: Final = 120.0
"""A connection that others of ours use may take long where we hardly get to run. Whether PostgreSQL
answers is not found out by waiting for it: the leader's watch ends a service that is cut off."""

_CLOCK_SECONDS: Final = 1.0


async def serve(runtime: Runtime, settings: LifecycleSettings) -> None:
    """Run until `runtime.stop`: stand by, then lead; neither while the clock may be wrong."""
    runtime.health.of_work.add("gap")
    signer = _signer(settings)
    filter_file = FilterFile(settings.lifecycle_filter_path)
    filter_file.load()
    async with AsyncExitStack() as stack:
        pool = await postgres.open_pool(
            settings.database_url,
            "ssmd-lifecycle",
            budget_seconds=settings.startup_budget_seconds,
            max_size=5,
            configure=forgive_values,
            check=_unchecked,
        )
        stack.push_async_callback(pool.close)
        pool.timeout = _BORROW_SECONDS
        while not runtime.stop.is_set():
            gap = "what changed since the last message has not been read yet"
            runtime.health.set("gap", gap)
            await explained(_until_clocks_agree(runtime, pool))
            if not runtime.stop.is_set():
                # Where the clocks differ, all that was heard by ours is dropped: it is a gap, and
                # another replica may lead meanwhile.
                part = _take_part(runtime, settings, pool, signer, filter_file)
                await CLOCK.while_it_agrees(part)


async def _until_clocks_agree(runtime: Runtime, pool: Pool) -> None:
    """Wait until our clock may be written by, or the service stops."""
    while not runtime.stop.is_set():
        async with pool.connection() as connection:
            differs = await CLOCK.differs(connection)
        CLOCK.tell(runtime.health)
        runtime.health.progress()
        if differs is None:
            return
        runtime.health.state = "waiting"
        await runtime.stopped_within(_CLOCK_SECONDS)


async def _take_part(
    runtime: Runtime,
    settings: LifecycleSettings,
    pool: Pool,
    signer: Signer | None,
    filter_file: FilterFile,
) -> None:
    """Listen; lead once no other replica does. Here each part gets those before it."""
    url, budget_seconds = settings.database_url, settings.startup_budget_seconds
    async with AsyncExitStack() as stack:
        # The resolver and a repair write pages at the same time.
        sessions = await stack.enter_async_context(
            Sessions(url, "lifecycle", size=2, budget_seconds=budget_seconds)
        )
        rest = await stack.enter_async_context(
            KalshiRest(
                settings.kalshi_base_url.get_secret_value(),
                budget=Budget(settings.kalshi_read_budget),
                signer=signer,
                stop=runtime.stop,
            )
        )
        inbox, silence, gaps = Inbox(settings.lifecycle_queue_messages), Silence(), Gaps(pool)
        scheduler = Scheduler(TimedStore(pool))
        upserter = RestUpserter(sessions, rest)
        repairer = Repairer(gaps, rest, upserter, Backfill(pool, filter_file, inbox))
        store = MessageStore(pool)
        resolver = Resolver(store, upserter)
        most = settings.lifecycle_batch_messages
        recorder = Recorder(inbox, store, resolver, filter_file, batch_messages=most)

        listening = SideTasks(runtime)
        if signer is not None:
            socket = await stack.enter_async_context(_socket(settings, signer))
            stack.push_async_callback(listening.stop)
            listening.start(
                "listener",
                Listener(inbox, silence, gaps, multivariate=settings.lifecycle_multivariate).run(
                    runtime, socket
                ),
            )
            listening.start("silence-watch", silence_watch.run(runtime, silence, gaps))
        else:
            log.warning(
                "no exchange key is configured: no messages come, markets open and close by the "
                "clock and are read over REST; set KALSHI_API_KEY and KALSHI_PRIVATE_KEY_PATH"
            )
        leadership = await stack.enter_async_context(
            lead(runtime, url, LOCK, budget_seconds=budget_seconds)
        )
        if leadership is None:
            return
        leading = SideTasks(runtime)
        stack.push_async_callback(leading.stop)

        async def take_the_lead() -> None:
            if signer is None:
                leading.start("poller", repairer.poll(runtime, settings.lifecycle_poll_seconds))
            else:
                await gaps.lead(runtime)
                await recorder.recall(inbox.lead())
                leading.start("repairer", repairer.run(runtime))
                leading.start("gap-closer", repairer.close(runtime))
            leading.start("clock", scheduler.run(runtime))
            leading.start("due-listener", scheduler.listen(url, budget_seconds=budget_seconds))
            leading.start("resolver", resolver.run(runtime))
            days = settings.lifecycle_retention_days
            leading.start("retention", retention.run(runtime, pool, days))
            leading.start("liveness", liveness.run(runtime, scheduler, recorder))
            leading.start("filter", filter_file.follow())
            runtime.health.set("postgres", None)
            await recorder.run(runtime)

        await explained(take_the_lead())


async def _unchecked(_: Connection) -> None:
    """Lend a connection as it is: one that is gone ends the service, as the lock's does."""


def _signer(settings: LifecycleSettings) -> Signer | None:
    key, path = settings.kalshi_api_key, settings.kalshi_private_key_path
    if key is None or path is None:
        return None
    return load_signer(key.get_secret_value(), path)


def _socket(settings: LifecycleSettings, signer: Signer) -> KalshiSocket:
    channels = [MARKET_CHANNEL]
    if settings.lifecycle_multivariate:
        channels.append(MULTIVARIATE_CHANNEL)
    return KalshiSocket(
        settings.kalshi_ws_url.get_secret_value(),
        signer=signer,
        channels=channels,
        policy=SocketPolicy(silence_seconds=settings.lifecycle_silence_seconds),
    )


def main() -> None:
    """The service's entry point."""
    sys.exit(common.run("lifecycle", LifecycleSettings, serve))


if __name__ == "__main__":
    main()
