"""Every row of a snapshot written to Redis, then what no row accounts for taken out.

position without `warm` → pages of rows (fill.py), two under way → prune, and scrub where counts
differ → position with `warm`, from which the stream is followed
"""

import asyncio
import time
from collections import deque
from contextlib import aclosing
from typing import Final, NamedTuple

import structlog

from ssmd_cache.database.snapshot import Join
from ssmd_cache.metrics import PRUNED, WARMUP_SECONDS, WARMUPS
from ssmd_cache.projection.commands import Words
from ssmd_cache.projection.facts import TABLES
from ssmd_cache.projection.project import stamps
from ssmd_cache.warmup.fill import Fill
from ssmd_cache.writer.census import count
from ssmd_cache.writer.names import clock
from ssmd_cache.writer.position import CachePosition
from ssmd_cache.writer.redis_retry import RedisRetry
from ssmd_cache.writer.redis_writer import RedisWriter
from ssmd_common.tasks import end
from ssmd_stream.change import format_lsn

log = structlog.get_logger(__name__)

_MOST_UNDER_WAY: Final = 2


class Warm(NamedTuple):
    """What a warm-up came to.

    `foreign` keys hold someone else's type and were left alone; `unreadable` rows, by table and
    ticker, cannot be given to readers: they have no key.
    """

    position: CachePosition
    foreign: frozenset[str]
    unreadable: dict[tuple[str, str], str]


async def warm_up(
    writer: RedisWriter,
    join: Join,
    retry: RedisRetry,
    *,
    rebuilds: int,
    batch_rows: int,
) -> Warm:
    """Write every row that has a key, then remove what no longer belongs.

    Old values stay until their rows are written again, old rows until the end: a reader never sees
    an empty cache. Killed half-way, the position says so and the next warm-up begins anew.

    Raises:
        ContentsLost: Redis did not keep what was written.
    """
    started = time.monotonic()
    generation = f"{writer.token}.{time.time_ns():x}"
    await retry.call(
        lambda: writer.set_position(CachePosition(token=writer.token, rebuilds=rebuilds))
    )
    was_empty, foreign = await retry.call(writer.look)
    now = await retry.call(lambda: clock(writer.client))
    fill = Fill(writer.keys, join.position, generation, now, foreign)
    close = stamps(join.position)
    under_way = _UnderWay(writer, retry)
    rows = removed = 0
    try:
        for table in TABLES:
            async with aclosing(join.rows.all(table, now, batch_rows, close)) as pages:
                async for page in pages:
                    await under_way.write(fill.commands(table, page))
                    rows += len(page)
                    retry.health.progress()
        await under_way.finish()
    finally:
        await under_way.close()
    # Nothing can be left over where nothing was.
    if not was_empty:
        pruned = await retry.call(lambda: writer.prune("generation", generation))
        removed = pruned.dropped
        # Every row was just written: where the counts agree there is nothing else.
        if await retry.call(lambda: count(writer.client, writer.keys)) != pruned.kept:
            removed += await retry.call(writer.scrub)
    position = CachePosition(
        token=writer.token,
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
    await retry.call(lambda: writer.complete(position, fill.written))
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
    return Warm(position, foreign, fill.unreadable)


class _UnderWay:
    """Two pages are on their way while the next one is read and prepared."""

    def __init__(self, writer: RedisWriter, retry: RedisRetry) -> None:
        self._writer = writer
        self._retry = retry
        self._pages: deque[asyncio.Task[None]] = deque()

    async def write(self, commands: list[Words]) -> None:
        """Returns once there is room for one more."""
        await self.finish(leave=_MOST_UNDER_WAY - 1)
        self._pages.append(
            asyncio.create_task(
                self._retry.call(lambda: self._writer.fill(commands)), name="cache-warm-page"
            )
        )

    async def finish(self, leave: int = 0) -> None:
        while len(self._pages) > leave:
            await self._pages.popleft()

    async def close(self) -> None:
        await end(*self._pages)
