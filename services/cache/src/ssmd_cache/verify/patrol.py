"""Looking at every row's keys and index entries all the time, beside the work, and mending them.

What somebody else took out of Redis is back within a round. A look changes nothing that is right,
and costs Redis some microseconds for a row.
"""

from typing import Final

import psycopg
import redis.exceptions
import structlog

from ssmd_cache.database.lookup import Lookup
from ssmd_cache.errors import ContentsLost, KeyTypeConflict
from ssmd_cache.follower.refetch import Refetcher
from ssmd_cache.metrics import MENDED
from ssmd_cache.projection.records import TABLES_BY_KIND, position_of
from ssmd_cache.unreadable import Unreadable
from ssmd_cache.writer.position import decode
from ssmd_cache.writer.redis_retry import Stopped
from ssmd_cache.writer.redis_writer import RedisWriter
from ssmd_common.connections.retry import first_line
from ssmd_common.errors import UpstreamUnavailable
from ssmd_common.runtime import Runtime

log = structlog.get_logger(__name__)

_PAGE: Final = 250
_KINDS: Final = ("s", "e", "m", "f")


class Patrol:
    """Only the leader's; it does nothing while Redis is being warmed."""

    def __init__(
        self,
        runtime: Runtime,
        writer: RedisWriter,
        lookup: Lookup,
        unreadable: Unreadable,
        round_seconds: float,
    ) -> None:
        self._runtime = runtime
        self._writer = writer
        self._lookup = lookup
        self._refetch = Refetcher(lookup, writer.keys, unreadable)
        self._round_seconds = round_seconds

    async def run(self) -> None:
        """Until the stop."""
        try:
            await self._run()
        finally:
            await self._lookup.close()

    async def _run(self) -> None:
        while not self._runtime.stop.is_set():
            try:
                await self._round()
            except Stopped:
                return
            except (ContentsLost, KeyTypeConflict):
                # The main loop finds out, and warms up.
                await self._runtime.stopped_within(self._round_seconds / 10)
            except (
                psycopg.Error,
                redis.exceptions.RedisError,
                UpstreamUnavailable,
                OSError,
            ) as error:
                log.info("looking at all keys was cut short", error=first_line(error))
                await self._lookup.close()
                await self._runtime.stopped_within(1.0)

    async def _round(self) -> None:
        client, keys = self._writer.client, self._writer.keys
        names = ("series", "events", "markets", "fees")
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.hlen(keys.own(name))
        sizes = dict(zip(_KINDS, await pipeline.execute(), strict=True))
        pages = sum(size // _PAGE + 1 for size in sizes.values())
        rest = self._round_seconds / pages
        for kind in _KINDS:
            table = TABLES_BY_KIND[kind]
            cursor = None
            while cursor != b"0":
                seen = await self._writer.patrol(kind, cursor or b"0", _PAGE)
                cursor = seen.cursor
                if seen.mended:
                    MENDED.labels(kind=table).inc(seen.mended)
                    log.warning(
                        "entries were missing in redis and are back", of=table, count=seen.mended
                    )
                if seen.valueless:
                    await self._restore(table, seen.valueless)
                if await self._runtime.stopped_within(rest):
                    return

    async def _restore(self, table: str, rows: list[tuple[str, str]]) -> None:
        """Rows whose values are gone are read again."""
        text = await self._writer.client.get(self._writer.keys.position)
        position = None if text is None else decode(text)
        if position is None or not position.warm:
            return
        read = await self._refetch.read(table, {ticker: position_of(at) for ticker, at in rows})
        # Whatever the stream says later counts.
        commands = [command.standing_at(at) for ticker, at in rows for command in read[ticker]]
        await self._writer.restore(position.generation, commands)
        MENDED.labels(kind=table).inc(len(rows))
        log.warning("keys were missing in redis and are back", of=table, count=len(rows))
