"""From the stream to Redis: a batch is on its way while the next one is read and prepared."""

import asyncio
from collections import Counter
from typing import Final, NamedTuple, get_args

import msgspec
import structlog

from ssmd_cache import apply
from ssmd_cache.apply import Announcement, Effect, EndOfEpoch, Refetch, Rewarm
from ssmd_cache.commands import Command, sortable_epoch
from ssmd_cache.errors import NewPictureDue
from ssmd_cache.foreign import Foreign
from ssmd_cache.lookup import Lookup
from ssmd_cache.metrics import CHANGES, PRUNED, STALE
from ssmd_cache.picture import ticker_of
from ssmd_cache.position import CachePosition
from ssmd_cache.redis_retry import RedisRetry
from ssmd_cache.redis_sink import RedisSink, Written
from ssmd_cache.refetch import Refetcher
from ssmd_cache.unreadable import Unreadable
from ssmd_common.metrics import WORK
from ssmd_common.tasks import end
from ssmd_stream.change import KEY_COLUMN, Head, Op, Position, decode_head, format_lsn, salvage
from ssmd_stream.delivery import Delivery
from ssmd_stream.errors import UnreadableMessage
from ssmd_stream.reader import Reader
from ssmd_stream.visibility import Snapshot

log = structlog.get_logger(__name__)

_OTHER_SUBJECTS: Final = ("cdc.fees.", "cdc.market_lifecycle_events.")
"""Of tables that have no keys."""
_OPS: Final = frozenset(get_args(Op))
_LABELS: Final = frozenset(
    {"series", "events", "markets", "series_fees", "fees", "market_lifecycle_events"}
)


class _UnderWay(NamedTuple):
    """A batch that was sent to Redis and not yet confirmed."""

    task: "asyncio.Task[Written]"
    commands: int
    last: Delivery


class Follower:
    """Applies one feed's messages in order; acknowledges what Redis has taken.

    `position` is what was sent to Redis, and what Redis holds after `drained` or `settled`; if
    these raise, it must be read back.
    """

    def __init__(
        self,
        position: CachePosition,
        feed: Reader,
        sink: RedisSink,
        lookup: Lookup,
        foreign: Foreign,
        retry: RedisRetry,
        untold: set[str],
        unreadable: Unreadable,
    ) -> None:
        self.position = position
        self._feed = feed
        self._sink = sink
        self._lookup = lookup
        self._foreign = foreign
        self._retry = retry
        self._under_way: _UnderWay | None = None
        # Events whose category a market in Redis still lacks; it outlives this feed.
        self._untold = untold
        self._unreadable = unreadable
        self._refetch = Refetcher(lookup, sink.keys, unreadable)

    async def take(self, batch: list[Delivery]) -> None:
        """Prepare a batch, and send it once the one before is written.

        Raises:
            NewPictureDue: a message asks for more than single rows.
        """
        first = batch[0].sequence
        pending: list[Command | Refetch] = []
        kinds: Counter[tuple[str, str]] = Counter()
        before: Delivery | None = None
        reached, visible = self.position.reached, self.position.visible
        for delivery in batch:
            message: Head | None
            try:
                message = decode_head(delivery.payload)
                position = message.position
                effect = apply.effect(message, position, reached.epoch, visible, self._sink.keys)
            except UnreadableMessage as error:
                message, effect = self._pass_over(delivery, error, reached, visible)
                position = reached if message is None else message.position
            if message is not None:
                kinds[message.table, message.op] += 1
            match effect:
                case None:
                    pass
                case Command():
                    pending.append(effect)
                case Refetch():
                    pending.append(effect._replace(sequence=delivery.sequence))
                case Announcement():
                    # It replaces what the snapshot showed, so from here on every change counts.
                    visible = None
                    self.position = msgspec.structs.replace(self.position, snapshot=None)
                case Rewarm(reason):
                    raise NewPictureDue(reason)
                case EndOfEpoch(epoch):
                    # What came before must be there before what is older goes.
                    if before is not None:
                        await self._send(
                            first, before, reached, await self._refetch.resolve(pending)
                        )
                        first, pending = delivery.sequence, []
                    await self.drained()
                    await self._drop_before(epoch)
            reached = max(reached, position)
            before = delivery
        assert before is not None
        await self._send(first, before, reached, await self._refetch.resolve(pending))
        WORK.inc(len(batch))
        for (table, op), count in kinds.items():
            # A label comes from a closed set.
            known = table in _LABELS and op in _OPS
            table, op = (table, op) if known else ("other", "other")
            CHANGES.labels(table=table, op=op).inc(count)

    async def drained(self) -> None:
        """Wait until all that was taken is written, and acknowledge it."""
        if self._under_way is not None:
            (task, commands, last), self._under_way = self._under_way, None
            written = await task
            STALE.inc(max(commands - written.changed - len(written.foreign), 0))
            self._untold |= written.missing
            await self._feed.acknowledge(last)
            await self._foreign.add(written.foreign)
        if self._untold:
            await self._tell_events()

    async def settled(self) -> None:
        """Wait until what was sent is written, whatever else is wrong."""
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            written = await under_way.task
            self._untold |= written.missing
            await self._foreign.add(written.foreign)

    async def abandon(self) -> None:
        """Stop at once; what is under way may or may not arrive."""
        if self._under_way is not None:
            await end(self._under_way.task)
            self._under_way = None

    async def _send(
        self, first: int, last: Delivery, reached: Position, commands: list[Command]
    ) -> None:
        position = msgspec.structs.replace(
            self.position,
            sequence=last.sequence,
            epoch=reached.epoch,
            lsn=format_lsn(reached.lsn),
            seq=reached.seq,
        )
        coalesced = apply.coalesce(commands)
        await self.drained()
        self.position = position
        sent = asyncio.Event()
        task = asyncio.create_task(
            self._retry.call(lambda: self._sink.apply(first, position, coalesced, sent.set)),
            name="cache-batch",
        )
        task.add_done_callback(lambda _: sent.set())
        self._under_way = _UnderWay(task, len(coalesced), last)
        # From here on Redis works on it, while the next batch is prepared.
        await sent.wait()

    async def _tell_events(self) -> None:
        """Events that have no key and no trace, but whose category a market needs."""
        tickers = sorted(self._untold)
        rows = await self._lookup.rows("events", tickers)
        # Read later than the messages at hand: whatever they still say about these events counts.
        # Of this epoch, or the end of its announcement would take them for leftovers.
        at = Position(self.position.epoch, 0, 0)
        commands: list[Command] = []
        for row in rows:
            commands += self._refetch.effects("events", ticker_of("events", row), [row], at)
        await self._unreadable.save()
        generation = self.position.generation
        await self._retry.call(lambda: self._sink.repair(generation, commands))
        self._untold.clear()

    def _pass_over(
        self,
        delivery: Delivery,
        error: UnreadableMessage,
        reached: Position,
        visible: Snapshot | None,
    ) -> tuple[Head | None, Effect]:
        """An unreadable message counts as a marker: its row is read from PostgreSQL."""
        if delivery.subject.startswith(_OTHER_SUBJECTS):
            self._unreadable.other(error.reason)
            return None, None
        message = salvage(delivery.payload, delivery.subject, reached)
        effect: Effect = None
        if message is not None:
            at = message.position
            effect = apply.effect(message, at, reached.epoch, visible, self._sink.keys)
        row = None
        if message is not None and message.key is not None:
            row = (message.table, str(message.key.get(KEY_COLUMN[message.table])))
        sequence, reason = delivery.sequence, error.reason
        is_news = self._unreadable.message(sequence, delivery.subject, reason, row, str(error))
        if isinstance(effect, Rewarm) and not is_news:
            # The picture was made anew for it, and then joined the stream before it again.
            effect = None
        return message, effect

    async def _drop_before(self, epoch: int) -> None:
        bound = sortable_epoch(epoch)
        removed = (await self._retry.call(lambda: self._sink.prune("epoch", bound))).dropped
        PRUNED.inc(removed)
        log.info("a new epoch is announced, older rows are gone", epoch=epoch, removed=removed)
