"""Looking at every row's keys and index entries all the time, beside the work, and mending them.

What somebody else took out of Redis is back within a round. A look changes nothing that is right,
and costs Redis some microseconds for a row.
"""

from typing import Final

import psycopg
import redis.exceptions
import structlog

from ssmd_cache.commands import TABLES, Command, standing_at
from ssmd_cache.errors import KeyTypeConflict, PictureLost
from ssmd_cache.lookup import Lookup
from ssmd_cache.metrics import MENDED
from ssmd_cache.picture import ticker_of
from ssmd_cache.position import decode
from ssmd_cache.redis_retry import Stopped
from ssmd_cache.redis_sink import RedisSink
from ssmd_cache.refetch import Refetcher
from ssmd_cache.unreadable import Unreadable
from ssmd_common.connections.retry import first_line
from ssmd_common.errors import UpstreamUnavailable
from ssmd_common.runtime import Runtime
from ssmd_stream.change import Position

log = structlog.get_logger(__name__)

_PAGE: Final = 250
_KINDS: Final = ("s", "e", "m", "f")


class Patrol:
    """Only the leader's; it does nothing while there is no picture."""

    def __init__(
        self,
        runtime: Runtime,
        sink: RedisSink,
        lookup: Lookup,
        unreadable: Unreadable,
        round_seconds: float,
    ) -> None:
        self._runtime = runtime
        self._sink = sink
        self._lookup = lookup
        self._refetch = Refetcher(lookup, sink.keys, unreadable)
        self._unreadable = unreadable
        self._round_seconds = round_seconds

    async def run(self) -> None:
        """Until the stop."""
        while not self._runtime.stop.is_set():
            try:
                await self._round()
            except Stopped:
                return
            except (PictureLost, KeyTypeConflict):
                # The main loop finds out, and makes a new picture.
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
        client, keys = self._sink.client, self._sink.keys
        names = ("series", "events", "markets", "fees")
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.hlen(keys.own(name))
        sizes = dict(zip(_KINDS, await pipeline.execute(), strict=True))
        pages = sum(size // _PAGE + 1 for size in sizes.values())
        rest = self._round_seconds / pages
        for kind in _KINDS:
            cursor = b"0"
            while True:
                seen = await self._sink.patrol(kind, cursor, _PAGE)
                if seen.mended:
                    MENDED.labels(kind=TABLES[kind]).inc(seen.mended)
                    log.warning(
                        "entries were missing in redis and are back",
                        of=TABLES[kind],
                        count=seen.mended,
                    )
                if seen.valueless:
                    await self._restore(TABLES[kind], seen.valueless)
                cursor = seen.cursor
                if await self._runtime.stopped_within(rest):
                    return
                if cursor == b"0":
                    break

    async def _restore(self, table: str, rows: list[tuple[str, str]]) -> None:
        """Rows whose values are gone are read again."""
        text = await self._sink.client.get(self._sink.keys.position)
        position = None if text is None else decode(text)
        if position is None or not position.warm:
            return
        found: dict[str, list[bytes]] = {ticker: [] for ticker, _ in rows}
        for row in await self._lookup.rows(table, list(found)):
            found.setdefault(ticker_of(table, row), []).append(row)
        commands: list[Command] = []
        for ticker, at in rows:
            effects = self._refetch.effects(table, ticker, found[ticker], _position(at))
            # Whatever the stream says later counts.
            commands += [standing_at(command, at) for command in effects]
        await self._sink.restore(position.generation, commands)
        await self._unreadable.save()
        MENDED.labels(kind=table).inc(len(rows))
        log.warning("keys were missing in redis and are back", of=table, count=len(rows))


def _position(text: str) -> Position:
    """The position that a record has."""
    return Position(
        int(text[:8] or "0", 16), int(text[8:24] or "0", 16), int(text[24:32] or "0", 16)
    )
