"""A whole picture from a snapshot of PostgreSQL, beside what readers see meanwhile."""

import asyncio
import time
from collections import deque
from contextlib import aclosing
from typing import Final, NamedTuple

import structlog

from ssmd_cache.census import count
from ssmd_cache.entries import clock
from ssmd_cache.fill import Fill, Words
from ssmd_cache.join import Join
from ssmd_cache.metrics import PRUNED, WARMUP_SECONDS, WARMUPS
from ssmd_cache.picture import TABLES, stamps
from ssmd_cache.position import CachePosition
from ssmd_cache.redis_retry import RedisRetry
from ssmd_cache.redis_sink import RedisSink
from ssmd_common.tasks import end
from ssmd_stream.change import format_lsn

log = structlog.get_logger(__name__)

_UNDER_WAY: Final = 2


class Warm(NamedTuple):
    """What a warm-up came to.

    `foreign` keys hold someone else's type and were left alone; `unreadable` rows, by table and
    ticker, cannot be given to readers: they have no key.
    """

    position: CachePosition
    foreign: frozenset[str]
    unreadable: dict[tuple[str, str], str]


async def warm_up(
    sink: RedisSink,
    join: Join,
    retry: RedisRetry,
    *,
    token: int,
    rebuilds: int,
    batch_rows: int,
) -> Warm:
    """Write every row that has a key, then remove what no longer belongs.

    Old values stay until their rows are written again, old rows until the end: a reader never sees
    an empty picture. Killed half-way, the position says so and the next warm-up begins anew.

    Raises:
        PictureLost: Redis did not keep what was written.
    """
    started = time.monotonic()
    generation = f"{token}.{time.time_ns():x}"
    await retry.call(lambda: sink.set_position(CachePosition(token=token, rebuilds=rebuilds)))
    was_empty, foreign = await retry.call(sink.look)
    now = await retry.call(lambda: clock(sink.client))
    fill = Fill(sink.keys, join.position, generation, now, foreign)
    close = stamps(join.position)
    writer = _Writer(sink, retry)
    rows = removed = 0
    try:
        for table in TABLES:
            async with aclosing(join.rows.all(table, now, batch_rows, close)) as pages:
                async for page in pages:
                    await writer.write(fill.commands(table, page))
                    rows += len(page)
                    retry.health.progress()
        await writer.finish()
    finally:
        await writer.close()
    # Nothing can be left over where nothing was.
    if not was_empty:
        pruned = await retry.call(lambda: sink.prune("generation", generation))
        removed = pruned.dropped
        # Every row was just written: where the counts agree there is nothing else.
        if await retry.call(lambda: count(sink.client, sink.keys)) != pruned.kept:
            removed += await retry.call(sink.scrub)
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
    await retry.call(lambda: sink.complete(position, fill.written))
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


class _Writer:
    """Two pages are on their way while the next one is read and prepared."""

    def __init__(self, sink: RedisSink, retry: RedisRetry) -> None:
        self._sink = sink
        self._retry = retry
        self._under_way: deque[asyncio.Task[None]] = deque()

    async def write(self, commands: list[Words]) -> None:
        """Returns once there is room for one more."""
        await self.finish(leave=_UNDER_WAY - 1)
        self._under_way.append(
            asyncio.create_task(
                self._retry.call(lambda: self._sink.fill(commands)), name="cache-warm-page"
            )
        )

    async def finish(self, leave: int = 0) -> None:
        while len(self._under_way) > leave:
            await self._under_way.popleft()

    async def close(self) -> None:
        await end(*self._under_way)
