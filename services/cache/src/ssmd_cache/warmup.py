"""A whole picture from a snapshot of PostgreSQL, beside what readers see meanwhile."""

import asyncio
import time
from contextlib import aclosing

import structlog

from ssmd_cache.census import count
from ssmd_cache.commands import Command, picture_of, put
from ssmd_cache.entries import clock
from ssmd_cache.join import Join
from ssmd_cache.metrics import PRUNED, WARMUP_SECONDS, WARMUPS
from ssmd_cache.patience import Patience
from ssmd_cache.picture import TABLES, EventPicture, facts_of
from ssmd_cache.position import CachePosition
from ssmd_cache.redis_sink import RedisSink, Written
from ssmd_common.change import format_lsn
from ssmd_common.tasks import end

log = structlog.get_logger(__name__)


async def warm_up(
    sink: RedisSink,
    join: Join,
    patience: Patience,
    *,
    token: int,
    rebuilds: int,
    batch_rows: int,
) -> tuple[CachePosition, frozenset[str]]:
    """Write every row that has a key, then remove what no longer belongs.

    Returns the position reached, and keys that hold someone else's type and were left alone.
    Old values stay until their rows are written again, old rows until the end: a reader never sees
    an empty picture. Killed half-way, the position says so and the next warm-up begins anew.
    """
    started = time.monotonic()
    now = await patience.call(lambda: clock(sink.client))
    generation = f"{token}.{time.time_ns():x}"
    await patience.call(lambda: sink.set_position(CachePosition(token=token, rebuilds=rebuilds)))
    # Nothing can be left over where nothing was.
    was_empty = await patience.call(sink.is_empty)
    writer = _Writer(sink, patience, generation)
    rows = 0
    try:
        for table in TABLES:
            async with aclosing(join.rows.all(table, now, batch_rows)) as pages:
                async for page in pages:
                    await writer.write(_commands(table, page, join, sink))
                    rows += len(page)
                    patience.health.progress()
        await writer.finish()
    finally:
        await writer.close()
    foreign, removed = writer.foreign, 0
    if not was_empty:
        pruned = await patience.call(lambda: sink.prune("generation", generation))
        removed = pruned.dropped
        # Every row was just written: where the counts agree there is nothing else.
        if await patience.call(lambda: count(sink.client, sink.keys)) != pruned.kept:
            scrubbed = await patience.call(sink.scrub)
            removed += scrubbed.changed
            foreign |= scrubbed.foreign
    position = CachePosition(
        token=token,
        warm=True,
        sequence=join.sequence,
        epoch=join.position.epoch,
        lsn=format_lsn(join.position.lsn),
        seq=join.position.seq,
        snapshot=str(join.snapshot),
        stream_created=join.stream_created,
        generation=generation,
        warmed_at=now.isoformat().replace("+00:00", "Z"),
        rebuilds=rebuilds,
    )
    await patience.call(lambda: sink.set_position(position))
    seconds = time.monotonic() - started
    WARMUPS.inc()
    WARMUP_SECONDS.set(seconds)
    PRUNED.inc(removed)
    log.info(
        "warm",
        rows=rows,
        removed=removed,
        seconds=round(seconds, 3),
        stream_sequence=join.sequence,
    )
    return position, frozenset(foreign)


class _Writer:
    """One batch is on its way while the next one is read and prepared."""

    def __init__(self, sink: RedisSink, patience: Patience, generation: str) -> None:
        self._sink = sink
        self._patience = patience
        self._generation = generation
        self._under_way: asyncio.Task[Written] | None = None
        self.foreign: set[str] = set()

    async def write(self, commands: list[Command]) -> None:
        """Returns once the batch before this one is written."""
        await self.finish()
        self._under_way = asyncio.create_task(
            self._patience.call(lambda: self._sink.warm(self._generation, commands)),
            name="cache-warm-batch",
        )

    async def finish(self) -> None:
        if self._under_way is not None:
            written, self._under_way = await self._under_way, None
            self.foreign |= written.foreign

    async def close(self) -> None:
        if self._under_way is not None:
            await end(self._under_way)


def _commands(table: str, page: list[bytes], join: Join, sink: RedisSink) -> list[Command]:
    commands = []
    for row in page:
        picture = picture_of(facts_of(table, row), sink.keys)
        # An event without a key is still remembered, for its markets' category.
        if isinstance(picture, EventPicture) or getattr(picture, "key", None) is not None:
            commands.append(put(picture, row, join.position))
    return commands
