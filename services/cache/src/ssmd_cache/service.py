"""Whether what Redis holds can be continued: warm up if not, then follow the stream.

claim Redis with this leader's token → warm up, if there is a reason to → follow from the position
on, until something breaks → what broke says with which of these it goes on
"""

from dataclasses import dataclass, field
from typing import Final

import msgspec
import nats.errors
import psycopg
import structlog

from ssmd_cache.database.snapshot import join
from ssmd_cache.errors import ContentsLost, KeyTypeConflict, SequenceGap, WarmUpDue
from ssmd_cache.follower.follower import Follower
from ssmd_cache.follower.journey import Journey
from ssmd_cache.follower.lag import Lag
from ssmd_cache.housekeeping import Housekeeping
from ssmd_cache.settings import CacheSettings
from ssmd_cache.unreadable import Unreadable
from ssmd_cache.warmup.warmup import warm_up
from ssmd_cache.writer.position import CachePosition
from ssmd_cache.writer.redis_retry import RedisRetry, Stopped
from ssmd_cache.writer.redis_writer import RedisWriter
from ssmd_cache.writer.type_conflicts import TypeConflicts
from ssmd_common.connections.retry import first_line
from ssmd_common.health import Health
from ssmd_common.runtime import Runtime
from ssmd_stream.errors import ReaderBroken, StreamGap, StreamUnavailable
from ssmd_stream.reader import Reader, reading
from ssmd_stream.stream import Stream

log = structlog.get_logger(__name__)

_PAUSE_SECONDS: Final = 0.5


@dataclass(slots=True, kw_only=True)
class Cache:
    """PostgreSQL's rows in Redis, kept by the leader alone."""

    runtime: Runtime
    settings: CacheSettings
    stream: Stream
    writer: RedisWriter
    retry: RedisRetry
    unreadable: Unreadable
    conflicts: TypeConflicts
    housekeeping: Housekeeping
    follower: Follower
    journey: Journey
    lag: Lag
    _position: CachePosition | None = field(init=False, default=None)

    async def run(self) -> None:
        """Until the service is asked to stop."""
        try:
            await self._run()
        finally:
            await self.housekeeping.close()

    async def _run(self) -> None:
        self._health.set("lag", None)
        reason: str | None = None
        blocked: KeyTypeConflict | None = None
        claimed = False
        while not self.runtime.stop.is_set():
            try:
                if blocked is not None:
                    await self._until_free(blocked)
                    reason, blocked = "keys that were not ours are gone", None
                    continue
                if not claimed:
                    self._position = await self.retry.call(self.writer.claim)
                    claimed = True
                    await self.unreadable.load()
                    if self._position is None or not self._position.warm:
                        reason = reason or "Redis does not hold everything"
                if reason is not None:
                    await self._warm(reason)
                    reason = None
                await self._follow()
            except Stopped:
                return
            except WarmUpDue as error:
                reason = str(error)
            except (ContentsLost, StreamGap) as error:
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
                await self.runtime.stopped_within(_PAUSE_SECONDS)
            except (nats.errors.Error, StreamUnavailable, TimeoutError, OSError) as error:
                self._survived("nats", error)
                self._health.set("nats", f"NATS does not serve the stream ({first_line(error)})")
                await self.runtime.stopped_within(_PAUSE_SECONDS)
            self._health.progress()

    async def _warm(self, reason: str) -> None:
        log.info("warming up", reason=reason)
        health, settings = self._health, self.settings
        health.state = "warming"
        health.set("warm", f"Redis is being warmed: {reason}")
        # How far behind is not known before the stream is followed again.
        health.lag_seconds = None
        await self.housekeeping.look_for_requests()
        rebuilds = self._position.rebuilds if self._position else 0
        self.conflicts.forget()
        async with join(
            settings.database_url,
            self.stream,
            wait_seconds=settings.cache_snapshot_wait_seconds,
            budget_seconds=settings.startup_budget_seconds,
            progress=health.progress,
        ) as joined:
            health.set("nats", None)
            warm = await warm_up(
                self.writer,
                joined,
                self.retry,
                rebuilds=max(rebuilds, self.housekeeping.requested),
                batch_rows=settings.cache_warm_batch_rows,
            )
        self._position = warm.position
        await self.conflicts.add(warm.foreign)
        self.unreadable.replace(warm.unreadable)
        await self.unreadable.save()

    async def _follow(self) -> None:
        """Apply the stream from the recorded position on, until something breaks or the stop."""
        assert self._position is not None
        info = await self.stream.info()
        if info.created != self._position.stream_created:
            raise StreamGap("the stream was deleted and made anew")
        at = await self.stream.position_at(self._position.sequence)
        if at is not None and at.epoch > self._position.epoch:
            raise StreamGap("the stream went back, and a new epoch was written from there on")
        start = self._position.sequence + 1
        async with reading(self.stream, start, durable=self.settings.consumer) as reader:
            log.info("following the stream", after_sequence=self._position.sequence)
            self._health.state = "following"
            self._health.set("nats", None)
            position = msgspec.structs.replace(self._position, token=self.writer.token)
            self.follower.begin(position, reader)
            try:
                await self._apply(reader)
            except Exception:
                # Only once it is known what arrived, it is known where to go on.
                await self.follower.settle()
                raise
            finally:
                await self.follower.abandon()
                self._position = self.follower.position

    async def _apply(self, reader: Reader) -> None:
        settings, follower, housekeeping = self.settings, self.follower, self.housekeeping
        while not self.runtime.stop.is_set():
            batch = await reader.batch(
                settings.cache_batch_changes,
                settings.cache_check_seconds,
                settings.cache_batch_seconds,
            )
            if batch:
                self.journey.saw(batch)
                await follower.take(batch)
            if housekeeping.is_due or not reader.buffered:
                await follower.drain()
                self.lag.report(batch, reader, follower.position)
                self._health.set("warm", None)
            if housekeeping.is_due:
                wish = await housekeeping.work(follower.position)
                if wish is None and self.conflicts.keys and not await self.conflicts.remain():
                    wish = "keys that were not ours are gone"
                if wish is not None:
                    raise WarmUpDue(wish)
            self._health.progress()
        await follower.drain()

    async def _until_free(self, error: KeyTypeConflict) -> None:
        """Wait until keys that nothing can be done without are gone."""
        await self.conflicts.add(frozenset(error.keys))
        while not self.runtime.stop.is_set() and await self.conflicts.remain():
            self._health.progress()
            await self.runtime.stopped_within(self.settings.cache_check_seconds)

    @property
    def _health(self) -> Health:
        return self.runtime.health

    def _survived(self, kind: str, error: BaseException) -> None:
        self._health.failed(kind, error)
        log.warning("survived an error, going on", kind=kind, error=first_line(error))
