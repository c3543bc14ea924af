"""Lifecycle: Kalshi's WebSocket and the clock → PostgreSQL."""

import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ssmd_common import runtime as common
from ssmd_common.connections import postgres
from ssmd_common.connections.clock import CLOCK
from ssmd_common.connections.loaders import forgive_values
from ssmd_common.leader import lead
from ssmd_common.runtime import Runtime
from ssmd_common.skew import WARNED_SECONDS
from ssmd_kalshi.budget import Budget
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.signing import Signer, load_signer
from ssmd_kalshi.socket import KalshiSocket, SocketPolicy
from ssmd_lifecycle import liveness, retention, watch
from ssmd_lifecycle.bookkeeper import Bookkeeper
from ssmd_lifecycle.filter import FilterFile
from ssmd_lifecycle.gaps import GapStore, Repairer
from ssmd_lifecycle.inbox import Inbox
from ssmd_lifecycle.listener import Listener
from ssmd_lifecycle.messages import MARKET_CHANNEL, MULTIVARIATE_CHANNEL
from ssmd_lifecycle.mirror import Mirror
from ssmd_lifecycle.recorder import Recorder, refresh_filter
from ssmd_lifecycle.resolver import Resolver
from ssmd_lifecycle.rows import Pool
from ssmd_lifecycle.scheduler import Scheduler
from ssmd_lifecycle.settings import LOCK, LifecycleSettings
from ssmd_lifecycle.side import SideTasks, telling
from ssmd_lifecycle.silence import Silence
from ssmd_lifecycle.store import Store
from ssmd_lifecycle.turns import Turns
from ssmd_store.parents import Connection
from ssmd_store.sessions import Sessions

log = structlog.get_logger(__name__)

_BORROW_SECONDS: Final = 120.0
"""A connection that others of ours use may take long where we hardly get to run. Whether PostgreSQL
answers is not found out by waiting for it: the leader's watch ends a service that is cut off."""

_CLOCK_SECONDS: Final = 1.0
_TOLERATED: Final = timedelta(seconds=WARNED_SECONDS)
_READ_AGAIN: Final = timedelta(hours=1)


async def serve(runtime: Runtime, settings: LifecycleSettings) -> None:
    """Run until `runtime.stop`: stand by, then lead; neither while the clock may be wrong."""
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
            await telling(_until_clocks_agree(runtime, pool))
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
    """Listen; lead once no other replica does."""
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
        inbox, silence = Inbox(settings.lifecycle_queue_messages), Silence()
        listener: Listener | None = None
        if signer is not None:
            listener = Listener(inbox, silence)
            socket = await stack.enter_async_context(_socket(settings, signer))
            outer = SideTasks(runtime)
            stack.push_async_callback(outer.stop)
            outer.start("listener", listener.run(runtime, socket))
            outer.start("silence-watch", watch.run(silence, listener.on_silence))
        else:
            log.warning(
                "no exchange key is configured: no messages come, markets open and close by the "
                "clock and are read over REST; set KALSHI_API_KEY and KALSHI_PRIVATE_KEY_PATH"
            )
        leadership = await stack.enter_async_context(
            lead(runtime, url, LOCK, budget_seconds=budget_seconds)
        )
        if leadership is not None:
            await telling(
                _lead(runtime, settings, pool, sessions, rest, inbox, listener, filter_file)
            )


async def _lead(
    runtime: Runtime,
    settings: LifecycleSettings,
    pool: Pool,
    sessions: Sessions,
    rest: KalshiRest,
    inbox: Inbox,
    listener: Listener | None,
    filter_file: FilterFile,
) -> None:
    scheduler = Scheduler(Turns(pool))
    store, mirror, gap_store = Store(pool), Mirror(sessions, rest), GapStore(pool)
    resolver = Resolver(store, rest, mirror)
    recorder = Recorder(
        inbox,
        store,
        resolver,
        filter_file,
        batch_messages=settings.lifecycle_batch_messages,
    )
    bookkeeper = Bookkeeper(pool, filter_file, recorder.is_behind)
    repairer = Repairer(gap_store, rest, mirror, bookkeeper)
    side = SideTasks(runtime)
    try:
        began_at = datetime.now(UTC)
        known_until = vouched(await gap_store.last_heard(), began_at)
        if listener is None:
            side.start(
                "poller", repairer.poll(runtime, known_until, settings.lifecycle_poll_seconds)
            )
        else:

            async def on_gap(reason: str, since: datetime | None, until: datetime) -> None:
                await repairer.add(runtime, reason, since or known_until, until)

            for interval in await gap_store.unrepaired():
                repairer.resume(interval)
            listener.on_gap = on_gap
            if listener.began:
                await repairer.add(runtime, "start", known_until, began_at)
            await recorder.recall(inbox.lead())
            side.start("repairer", repairer.run(runtime))
            side.start("gap-closer", repairer.close(runtime))
        side.start("clock", scheduler.run(runtime))
        side.start(
            "due-listener",
            scheduler.listen(settings.database_url, budget_seconds=settings.startup_budget_seconds),
        )
        side.start("resolver", resolver.run(runtime))
        side.start("retention", retention.run(runtime, pool, settings.lifecycle_retention_days))
        side.start("liveness", liveness.run(runtime, scheduler, recorder))
        side.start("filter", refresh_filter(filter_file))
        runtime.health.set("postgres", None)
        await recorder.run(runtime)
    finally:
        await side.stop()


def vouched(last_heard: datetime | None, now: datetime) -> datetime:
    """Up to when nothing can have been missed, by the newest stamp of what was heard.

    One that is ahead of us comes from a clock that was wrong, nobody knows since when.
    """
    if last_heard is None:
        return now
    ahead = last_heard - now
    return last_heard if ahead <= _TOLERATED else now - max(_READ_AGAIN, 2 * ahead)


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
