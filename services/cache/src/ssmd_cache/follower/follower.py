"""From the stream to Redis: a step is on its way while the next batch is read and prepared.

    batch → steps.py (what messages do) → refetch.py (rows that they lack) → one call of the writer
    → the position in Redis moves → what was written is acknowledged

At most one step is under way. The position moves in the same atomic call as the rows, so after a
crash the stream is read on from where Redis stands, not from where the consumer does. Who fails
between sending and the reply does not know where Redis stands: `settle` finds out, or it is read.
"""

import asyncio
from collections import Counter
from typing import Final, NamedTuple, get_args

import msgspec
import structlog

from ssmd_cache.follower.refetch import Refetcher
from ssmd_cache.follower.steps import Step, steps
from ssmd_cache.metrics import CHANGES, PRUNED, STALE
from ssmd_cache.projection.commands import Command, coalesce
from ssmd_cache.projection.records import sortable_epoch
from ssmd_cache.unreadable import Unreadable
from ssmd_cache.writer.position import CachePosition
from ssmd_cache.writer.redis_retry import RedisRetry
from ssmd_cache.writer.redis_writer import RedisWriter, Written
from ssmd_cache.writer.type_conflicts import TypeConflicts
from ssmd_common.metrics import WORK
from ssmd_common.tasks import end
from ssmd_stream.change import Op, Position, format_lsn
from ssmd_stream.delivery import Delivery
from ssmd_stream.reader import Reader

log = structlog.get_logger(__name__)

_OPS: Final = frozenset(get_args(Op))
_LABELS: Final = frozenset(
    {"series", "events", "markets", "series_fees", "fees", "market_lifecycle_events"}
)


class _UnderWay(NamedTuple):
    """A step that was sent to Redis and not yet confirmed."""

    task: "asyncio.Task[Written]"
    commands: int
    last: Delivery


class Follower:
    """Applies messages in order; acknowledges what Redis has taken.

    `position` is what was sent to Redis, and what Redis holds after `drain` or `settle`; if these
    raise, it must be read back.
    """

    position: CachePosition
    _reader: Reader

    def __init__(
        self,
        writer: RedisWriter,
        refetcher: Refetcher,
        unreadable: Unreadable,
        conflicts: TypeConflicts,
        retry: RedisRetry,
    ) -> None:
        self._writer = writer
        self._refetcher = refetcher
        self._unreadable = unreadable
        self._conflicts = conflicts
        self._retry = retry
        self._under_way: _UnderWay | None = None
        self._missing: set[str] = set()
        """Events whose category a market in Redis still lacks."""

    def begin(self, position: CachePosition, reader: Reader) -> None:
        """What `take` is given comes from this reader, after this position."""
        self.position, self._reader = position, reader

    async def take(self, batch: list[Delivery]) -> None:
        """Prepare a batch, and send it once the one before is written.

        Raises:
            WarmUpDue: a message asks for more than single rows.
        """
        before = self.position
        for step in steps(
            batch, before.reached, before.visible, self._writer.keys, self._unreadable
        ):
            if step.drop_before is not None:
                await self.drain()
                await self._drop_before(step.drop_before)
            commands = coalesce(await self._refetcher.resolve(step.pending))
            await self.drain()
            await self._send(step, commands)
            _count(step.seen)
        WORK.inc(len(batch))

    async def drain(self) -> None:
        """Wait until all that was taken is written, and acknowledge it."""
        if self._under_way is not None:
            last = self._under_way.last
            await self.settle()
            await self._reader.acknowledge(last)
        if self._missing:
            await self._write_missing()

    async def settle(self) -> None:
        """Wait until what was sent is written, whatever else is wrong."""
        if self._under_way is not None:
            (task, commands, _), self._under_way = self._under_way, None
            written = await task
            STALE.inc(max(commands - written.changed - len(written.foreign), 0))
            self._missing |= written.missing
            await self._conflicts.add(written.foreign)

    async def abandon(self) -> None:
        """Stop at once; what is under way may or may not arrive."""
        if self._under_way is not None:
            await end(self._under_way.task)
            self._under_way = None

    async def _send(self, step: Step, commands: list[Command]) -> None:
        assert step.last is not None
        position = self.position = msgspec.structs.replace(
            self.position,
            sequence=step.last.sequence,
            epoch=step.reached.epoch,
            lsn=format_lsn(step.reached.lsn),
            seq=step.reached.seq,
            snapshot=None if step.snapshot is None else self.position.snapshot,
        )
        sent = asyncio.Event()
        task = asyncio.create_task(
            self._retry.call(lambda: self._writer.apply(step.first, position, commands, sent)),
            name="cache-batch",
        )
        task.add_done_callback(lambda _: sent.set())
        self._under_way = _UnderWay(task, len(commands), step.last)
        # From here on Redis works on it, while the next batch is prepared.
        await sent.wait()

    async def _write_missing(self) -> None:
        """Events that have no key and no trace, but whose category a market needs."""
        # Read later than the messages at hand: whatever they still say about these events counts.
        # Of this epoch, or the end of its announcement would take them for leftovers.
        at = Position(self.position.epoch, 0, 0)
        wanted = dict.fromkeys(sorted(self._missing), at)
        found = await self._refetcher.read("events", wanted, if_there=True)
        commands = [command for some in found.values() for command in some]
        generation = self.position.generation
        await self._retry.call(lambda: self._writer.repair(generation, commands))
        self._missing.clear()

    async def _drop_before(self, epoch: int) -> None:
        bound = sortable_epoch(epoch)
        removed = (await self._retry.call(lambda: self._writer.prune("epoch", bound))).dropped
        PRUNED.inc(removed)
        log.info("a new epoch is announced, older rows are gone", epoch=epoch, removed=removed)


def _count(seen: Counter[tuple[str, str]]) -> None:
    for (table, op), count in seen.items():
        # A label comes from a closed set.
        known = table in _LABELS and op in _OPS
        table, op = (table, op) if known else ("other", "other")
        CHANGES.labels(table=table, op=op).inc(count)
