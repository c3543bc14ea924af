"""The cache's loop: warm up if the picture in Redis cannot be continued, then follow the stream."""

import time
from typing import Final

import msgspec
import nats.errors
import psycopg
import structlog
from nats.aio.client import Client

from ssmd_cache.errors import (
    KeyTypeConflict,
    NewPictureDue,
    PictureLost,
    SequenceGap,
)
from ssmd_cache.follower import Follower
from ssmd_cache.foreign import Foreign
from ssmd_cache.housekeeping import Housekeeping
from ssmd_cache.join import join
from ssmd_cache.journey import Journey
from ssmd_cache.lookup import Lookup, lookup
from ssmd_cache.metrics import LAG_MESSAGES
from ssmd_cache.patrol import Patrol
from ssmd_cache.position import CachePosition
from ssmd_cache.reconcile import reconcile
from ssmd_cache.redis_retry import RedisRetry, Stopped
from ssmd_cache.redis_sink import RedisSink
from ssmd_cache.settings import CacheSettings
from ssmd_cache.unreadable import Unreadable
from ssmd_cache.warmup import warm_up
from ssmd_common.connections.retry import first_line
from ssmd_common.leader import Leadership
from ssmd_common.metrics import LAG_SECONDS
from ssmd_common.runtime import Runtime
from ssmd_stream.delivery import Delivery
from ssmd_stream.errors import ReaderBroken, StreamGap, StreamUnavailable
from ssmd_stream.reader import Reader, reading
from ssmd_stream.stream import Stream

log = structlog.get_logger(__name__)

_PAUSE_SECONDS: Final = 0.5


class Cache:
    """PostgreSQL's picture in Redis, kept by the leader alone."""

    def __init__(
        self,
        runtime: Runtime,
        settings: CacheSettings,
        leadership: Leadership,
        nats: Client,
        sink: RedisSink,
        lookup: Lookup,
    ) -> None:
        self._runtime = runtime
        self._health = runtime.health
        self._settings = settings
        self._token = leadership.token
        self._stream = Stream(nats)
        self._sink = sink
        self._lookup = lookup
        self._retry = RedisRetry(runtime.health, runtime.stop)
        self._foreign = Foreign(sink.client, runtime.health, self._retry)
        self._unreadable = Unreadable(sink, runtime.health, self._retry)
        self._housekeeping = Housekeeping(settings, sink, runtime.health, self._retry)
        self._journey = Journey(runtime.health)
        self._position: CachePosition | None = None
        self._untold: set[str] = set()

    async def run(self) -> None:
        """Until the service is asked to stop."""
        try:
            await self._run()
        finally:
            await self._housekeeping.close()

    async def _run(self) -> None:
        self._health.set("lag", None)
        if self._settings.cache_reconcile_seconds:
            self._runtime.spawn(
                "cache-reconcile",
                reconcile(
                    self._runtime,
                    self._settings,
                    self._sink,
                    self._housekeeping,
                    self._unreadable,
                ),
            )
        if self._settings.cache_patrol_seconds:
            self._runtime.spawn("cache-patrol", self._patrol())
        reason: str | None = None
        blocked: KeyTypeConflict | None = None
        claimed = False
        while not self._runtime.stop.is_set():
            try:
                if blocked is not None:
                    await self._until_free(blocked)
                    reason, blocked = "keys that were not ours are gone", None
                    continue
                if not claimed:
                    self._position = await self._retry.call(self._sink.claim)
                    claimed = True
                    await self._unreadable.load()
                    reason = reason or await self._why_not_continue()
                    continue
                if reason is not None:
                    await self._warm(reason)
                    reason = None
                await self._follow()
            except Stopped:
                return
            except NewPictureDue as error:
                reason = str(error)
            except (PictureLost, StreamGap) as error:
                reason, claimed = str(error), False
            except SequenceGap as error:
                log.warning("redis went back in time, reading on from there", sequence=error.at)
                claimed = False
            except KeyTypeConflict as error:
                blocked, claimed = error, False
            except ReaderBroken as error:
                self._survived("feed", error)
            except psycopg.OperationalError as error:
                # Whether this replica still leads, the lock's own connection tells.
                self._survived("postgres", error)
                await self._runtime.stopped_within(_PAUSE_SECONDS)
            except (nats.errors.Error, StreamUnavailable, TimeoutError, OSError) as error:
                self._survived("nats", error)
                self._health.set("nats", f"NATS does not serve the stream ({first_line(error)})")
                await self._runtime.stopped_within(_PAUSE_SECONDS)
            self._health.progress()

    async def _patrol(self) -> None:
        settings = self._settings
        async with lookup(
            settings.database_url, budget_seconds=settings.startup_budget_seconds
        ) as rows:
            await Patrol(
                self._runtime, self._sink, rows, self._unreadable, settings.cache_patrol_seconds
            ).run()

    async def _why_not_continue(self) -> str | None:
        """Why the picture in Redis must be made anew; None if the stream continues it."""
        position = self._position
        if position is None or not position.warm:
            return "Redis holds no complete picture"
        while not self._runtime.stop.is_set():
            try:
                info = await self._stream.info()
            except (nats.errors.Error, StreamUnavailable, OSError) as error:
                self._health.set("nats", f"NATS does not serve the stream ({first_line(error)})")
                self._health.progress()
                await self._runtime.stopped_within(_PAUSE_SECONDS)
                continue
            if info.created != position.stream_created:
                return "the stream is another one than the picture was made from"
            return None
        return None

    async def _warm(self, reason: str) -> None:
        log.info("warming up", reason=reason)
        self._health.state = "warming"
        self._health.set("warm", f"a new picture is being made: {reason}")
        # How far behind is not known before the stream is followed again.
        self._health.lag_seconds = None
        await self._housekeeping.look_for_requests()
        rebuilds = self._position.rebuilds if self._position else 0
        self._foreign.forget()
        async with join(
            self._settings.database_url,
            self._stream,
            wait_seconds=self._settings.cache_snapshot_wait_seconds,
            budget_seconds=self._settings.startup_budget_seconds,
            progress=self._health.progress,
        ) as joined:
            self._health.set("nats", None)
            warm = await warm_up(
                self._sink,
                joined,
                self._retry,
                token=self._token,
                rebuilds=max(rebuilds, self._housekeeping.requested),
                batch_rows=self._settings.cache_warm_batch_rows,
            )
        self._position = warm.position
        await self._foreign.add(warm.foreign)
        self._unreadable.replace(warm.unreadable)
        await self._unreadable.save()

    async def _follow(self) -> None:
        """Apply the stream from the recorded position on, until something breaks or the stop."""
        assert self._position is not None
        info = await self._stream.info()
        if info.created != self._position.stream_created:
            raise StreamGap("the stream was deleted and made anew")
        at = await self._stream.position_at(self._position.sequence)
        if at is not None and at.epoch > self._position.epoch:
            raise StreamGap("the stream went back, and a new epoch was written from there on")
        start = self._position.sequence + 1
        async with reading(self._stream, start, durable=self._settings.consumer) as feed:
            log.info("following the stream", after_sequence=self._position.sequence)
            self._health.state = "following"
            self._health.set("nats", None)
            position = msgspec.structs.replace(self._position, token=self._token)
            follower = Follower(
                position,
                feed,
                self._sink,
                self._lookup,
                self._foreign,
                self._retry,
                self._untold,
                self._unreadable,
            )
            try:
                await self._apply(feed, follower)
            except Exception:
                # Only once it is known what arrived, it is known where to go on.
                await follower.settled()
                raise
            finally:
                await follower.abandon()
                self._position = follower.position

    async def _apply(self, feed: Reader, follower: Follower) -> None:
        settings = self._settings
        while not self._runtime.stop.is_set():
            batch = await feed.batch(
                settings.cache_batch_changes,
                settings.cache_check_seconds,
                settings.cache_batch_seconds,
            )
            if batch:
                self._journey.saw(batch)
                await follower.take(batch)
            if self._housekeeping.is_due or not feed.buffered:
                await follower.drained()
                self._report_lag(batch, feed)
                self._report_position(follower.position)
                self._health.set("warm", None)
            if self._housekeeping.is_due:
                wish = await self._housekeeping.work(follower.position)
                if wish is None and self._foreign.keys and not await self._foreign.remain():
                    wish = "keys that were not ours are gone"
                if wish is not None:
                    raise NewPictureDue(wish)
            self._health.progress()
        await follower.drained()

    async def _until_free(self, error: KeyTypeConflict) -> None:
        """Wait until keys that nothing can be done without are gone."""
        await self._foreign.add(frozenset(error.keys))
        while not self._runtime.stop.is_set() and await self._foreign.remain():
            self._health.progress()
            await self._runtime.stopped_within(self._settings.cache_check_seconds)

    def _report_position(self, position: CachePosition) -> None:
        """What Redis reflects."""
        self._health.position |= {
            "sequence": position.sequence,
            "epoch": position.epoch,
            "lsn": position.lsn,
        }

    def _report_lag(self, batch: list[Delivery], feed: Reader) -> None:
        if batch:
            pending = batch[-1].pending
            behind = max(time.time() - batch[-1].stored_at, 0.0) if pending else 0.0
        elif feed.buffered == 0:
            pending, behind = 0, 0.0
        else:
            return
        LAG_MESSAGES.set(pending)
        LAG_SECONDS.set(behind)
        self._health.lag_seconds = behind
        limit = self._settings.cache_ready_lag_seconds
        self._health.set(
            "lag",
            f"{behind:.0f} s ({pending} messages) behind the stream" if behind > limit else None,
        )

    def _survived(self, kind: str, error: BaseException) -> None:
        self._health.failed(kind, error)
        log.warning("survived an error, going on", kind=kind, error=first_line(error))
