"""The cache's loop: warm up if the picture in Redis cannot be continued, then follow the stream."""

import time
from collections import Counter
from typing import Final

import msgspec
import nats.errors
import psycopg
import structlog
from nats.aio.client import Client

from ssmd_cache import apply
from ssmd_cache.apply import Announcement, EndOfEpoch, Refetch, Rewarm
from ssmd_cache.commands import Command, gone, picture_of, put, sortable_epoch
from ssmd_cache.errors import FeedBroken, ForeignKeys, PictureLost, SequenceGap, StreamGap
from ssmd_cache.foreign import Foreign
from ssmd_cache.housekeeping import Housekeeping
from ssmd_cache.join import join
from ssmd_cache.lookup import Lookup
from ssmd_cache.metrics import CHANGES, LAG_MESSAGES, PRUNED, STALE
from ssmd_cache.patience import Patience, Stopped
from ssmd_cache.picture import facts_of
from ssmd_cache.position import CachePosition
from ssmd_cache.reconcile import reconcile
from ssmd_cache.redis_sink import RedisSink
from ssmd_cache.settings import CacheSettings
from ssmd_cache.stream import Delivery, Feed, Stream, StreamMissing
from ssmd_cache.warmup import warm_up
from ssmd_common.change import Position, format_lsn
from ssmd_common.connections.retry import first_line
from ssmd_common.leader import Leadership
from ssmd_common.metrics import ERRORS, LAG_SECONDS, WORK
from ssmd_common.runtime import Runtime

log = structlog.get_logger(__name__)

_PAUSE_SECONDS: Final = 0.5
_UNKNOWN: Final = Position(0, 0, 0)


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
        self._patience = Patience(runtime.health, runtime.stop)
        self._foreign = Foreign(sink.client, runtime.health, self._patience)
        self._housekeeping = Housekeeping(settings, sink, lookup, runtime.health, self._patience)
        self._position: CachePosition | None = None

    async def run(self) -> None:
        """Until the service is asked to stop."""
        self._health.set("lag", None)
        self._position = await self._claim()
        reason = await self._why_not_continue()
        if self._settings.cache_reconcile_seconds:
            self._runtime.spawn(
                "cache-reconcile",
                reconcile(self._runtime, self._settings, self._sink, self._housekeeping),
            )
        while not self._runtime.stop.is_set():
            try:
                if reason is not None:
                    await self._warm(reason)
                    reason = None
                await self._follow()
            except Stopped:
                return
            except Rewarmed as error:
                reason = str(error)
            except (PictureLost, StreamGap) as error:
                reason = str(error)
                self._position = await self._claim()
            except SequenceGap as error:
                log.warning("redis went back in time, reading on from there", sequence=error.at)
                self._position = await self._claim()
                reason = await self._why_not_continue()
            except ForeignKeys as error:
                reason = await self._until_free(error)
            except FeedBroken as error:
                self._survived("feed", error)
            except psycopg.OperationalError as error:
                # Whether this replica still leads, the lock's own connection tells.
                self._survived("postgres", error)
                await self._runtime.stopped_within(_PAUSE_SECONDS)
            except (nats.errors.Error, StreamMissing, TimeoutError, OSError) as error:
                self._survived("nats", error)
                self._health.set("nats", f"NATS does not serve the stream ({first_line(error)})")
                await self._runtime.stopped_within(_PAUSE_SECONDS)
            self._health.progress()

    async def _claim(self) -> CachePosition | None:
        return await self._patience.call(self._sink.claim)

    async def _why_not_continue(self) -> str | None:
        """Why the picture in Redis must be made anew; None if the stream continues it."""
        position = self._position
        if position is None or not position.warm:
            return "Redis holds no complete picture"
        while not self._runtime.stop.is_set():
            try:
                info = await self._stream.info()
            except psycopg.OperationalError as error:
                # Whether this replica still leads, the lock's own connection tells.
                self._survived("postgres", error)
                await self._runtime.stopped_within(_PAUSE_SECONDS)
            except (nats.errors.Error, StreamMissing, OSError) as error:
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
        await self._housekeeping.look_for_requests()
        rebuilds = self._position.rebuilds if self._position else 0
        self._foreign.forget()
        async with join(
            self._settings.database_url,
            self._stream,
            wait_seconds=self._settings.cache_snapshot_wait_seconds,
            budget_seconds=self._settings.startup_budget_seconds,
        ) as joined:
            self._health.set("nats", None)
            self._position, foreign = await warm_up(
                self._sink,
                joined,
                self._patience,
                token=self._token,
                rebuilds=max(rebuilds, self._housekeeping.requested),
                batch_rows=self._settings.cache_warm_batch_rows,
            )
        await self._foreign.add(foreign)

    async def _follow(self) -> None:
        """Apply the stream from the recorded position on, until something breaks or the stop."""
        assert self._position is not None
        settings = self._settings
        info = await self._stream.info()
        if info.created != self._position.stream_created:
            raise StreamGap("the stream was deleted and made anew")
        async with self._stream.feed(settings.cache_consumer, self._position.sequence + 1) as feed:
            log.info("following the stream", after_sequence=self._position.sequence)
            self._health.state = "following"
            self._health.set("nats", None)
            while not self._runtime.stop.is_set():
                batch = await feed.batch(
                    settings.cache_batch_changes,
                    settings.cache_check_seconds,
                    settings.cache_batch_seconds,
                )
                if batch:
                    await self._apply(batch)
                    await feed.acknowledge(batch[-1])
                self._report_lag(batch, feed)
                self._health.set("warm", None)
                wish = await self._housekeeping.when_due(self._position)
                if wish is not None:
                    raise Rewarmed(wish)
                if self._foreign.keys and not await self._foreign.remain():
                    raise Rewarmed("keys that were not ours are gone")
                self._health.progress()

    async def _apply(self, batch: list[Delivery]) -> None:
        """Write a batch; what is no single row's business divides it."""
        first = batch[0].sequence
        commands: list[Command] = []
        kinds: Counter[tuple[str, str]] = Counter()
        last: tuple[int, Position] | None = None
        assert self._position is not None
        before = self._position.reached
        epoch, visible = self._position.epoch, self._position.visible
        for delivery in batch:
            message = apply.decode(delivery.payload)
            position = apply.position_of(message)
            effect = apply.effect(message, position, epoch, visible, self._sink.keys)
            epoch = max(epoch, message.epoch)
            kinds[message.table, message.op] += 1
            match effect:
                case None:
                    pass
                case Command():
                    commands.append(effect)
                case Announcement():
                    # It replaces what the snapshot showed, so from here on every change counts.
                    visible = None
                    self._position = msgspec.structs.replace(self._position, snapshot=None)
                case Refetch():
                    commands.extend(await self._refetch(effect))
                case Rewarm(reason):
                    raise Rewarmed(reason)
                case EndOfEpoch(epoch):
                    # What came before must be there before what is older goes.
                    if last is not None:
                        await self._write(first, last, commands)
                        first, commands = delivery.sequence, []
                    await self._drop_before(epoch)
            last = (delivery.sequence, max(position, last[1] if last else before))
        assert last is not None
        await self._write(first, last, commands)
        WORK.inc(len(batch))
        for (table, op), count in kinds.items():
            CHANGES.labels(table=_known(table), op=op).inc(count)

    async def _write(self, first: int, last: tuple[int, Position], commands: list[Command]) -> None:
        assert self._position is not None
        sequence, at = last
        position = msgspec.structs.replace(
            self._position,
            sequence=sequence,
            epoch=at.epoch,
            lsn=format_lsn(at.lsn),
            seq=at.seq,
            token=self._token,
        )
        coalesced = apply.coalesce(commands)
        written = await self._patience.call(lambda: self._sink.apply(first, position, coalesced))
        self._position = position
        await self._foreign.add(written.foreign)
        STALE.inc(max(len(coalesced) - written.changed - len(written.foreign), 0))
        if written.missing:
            await self._tell_events(written.missing)

    async def _tell_events(self, tickers: frozenset[str]) -> None:
        """Events that have no key and no trace, but whose category a market needs."""
        assert self._position is not None
        generation = self._position.generation
        rows = await self._lookup.rows("events", sorted(tickers))
        # Read later than the messages at hand: whatever they still say about these events counts.
        commands = [
            put(picture_of(facts_of("events", row), self._sink.keys), row, _UNKNOWN) for row in rows
        ]
        await self._patience.call(lambda: self._sink.repair(generation, commands))

    async def _refetch(self, effect: Refetch) -> list[Command]:
        rows = await self._lookup.rows(effect.table, [effect.ticker])
        if not rows and effect.table != "series_fees":
            return [gone(effect.table, effect.ticker, effect.position)]
        return [
            put(picture_of(facts_of(effect.table, row), self._sink.keys), row, effect.position)
            for row in rows
        ]

    async def _drop_before(self, epoch: int) -> None:
        bound = sortable_epoch(epoch)
        pruned = await self._patience.call(lambda: self._sink.prune("epoch", bound))
        PRUNED.inc(pruned.dropped)
        log.info(
            "a new epoch is announced, older rows are gone", epoch=epoch, removed=pruned.dropped
        )

    async def _until_free(self, error: ForeignKeys) -> str:
        """Wait until keys that nothing can be done without are gone; then a new picture is due."""
        await self._foreign.add(frozenset(error.keys))
        while not self._runtime.stop.is_set() and await self._foreign.remain():
            self._health.progress()
            await self._runtime.stopped_within(self._settings.cache_check_seconds)
        return "keys that were not ours are gone"

    def _report_lag(self, batch: list[Delivery], feed: Feed) -> None:
        if batch:
            pending = batch[-1].pending
            behind = max(time.time() - batch[-1].stored_at, 0.0) if pending else 0.0
        elif feed.buffered == 0:
            pending, behind = 0, 0.0
        else:
            return
        LAG_MESSAGES.set(pending)
        LAG_SECONDS.set(behind)
        limit = self._settings.cache_ready_lag_seconds
        self._health.set(
            "lag",
            f"{behind:.0f} s ({pending} messages) behind the stream" if behind > limit else None,
        )

    def _survived(self, kind: str, error: BaseException) -> None:
        ERRORS.labels(kind=kind).inc()
        self._health.failed(error)
        log.warning("survived an error, going on", kind=kind, error=first_line(error))


class Rewarmed(Exception):
    """Something asks for a new picture; its text says what."""


_TABLES: Final = frozenset(
    {"series", "events", "markets", "series_fees", "fees", "market_lifecycle_events"}
)


def _known(table: str) -> str:
    # A label comes from a closed set.
    return table if table in _TABLES else "other"
