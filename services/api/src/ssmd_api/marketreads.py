"""Reads of markets from Redis: those that are asked for at the same moment go together.

A key is found by the market's entry in an index. Which key that was before is remembered, and read
along with the index: mostly one question to Redis does.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import islice
from typing import Any, Final

from ssmd_common import tasks
from ssmd_common.keys import Keys

Values = tuple[bytes | None, bytes | None, bytes | None]
"""What is under the keys of a market, its event and its series."""

Found = tuple[Values | None, bytes | None]
"""The values, None where the index has no such market; and the end of the last sync."""

_REMEMBERED: Final = 10_000
_MOST: Final = 100
_AT_ONCE: Final = 4


class MarketReads:
    """`turn` is taken for all that are read together. What it and Redis raise, all of them get."""

    def __init__(
        self, client: Any, keys: Keys, turn: Callable[[], AbstractAsyncContextManager[None]]
    ) -> None:
        self._turn = turn
        self._client = client
        self._keys = keys
        self._waiting: dict[str, asyncio.Future[Found]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._keys_before: OrderedDict[str, bytes] = OrderedDict()

    async def close(self) -> None:
        await tasks.end(*self._running)

    async def get(self, ticker: str) -> Found:
        """A market's values as they are now."""
        waiting = self._waiting.get(ticker)
        if waiting is None:
            loop = asyncio.get_running_loop()
            waiting = self._waiting[ticker] = loop.create_future()
            if len(self._waiting) == 1:
                # What else comes in this turn of the loop goes along.
                loop.call_soon(self._start)
        # Others may wait for it, too.
        return await asyncio.shield(waiting)

    def _start(self) -> None:
        """Read what waits, unless so much is being read that more had better go together."""
        while self._waiting and len(self._running) < _AT_ONCE:
            together = {ticker: self._waiting[ticker] for ticker in islice(self._waiting, _MOST)}
            for ticker in together:
                del self._waiting[ticker]
            task = asyncio.create_task(self._answer(together), name="reads from redis")
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            self._start()

    async def _answer(self, together: dict[str, asyncio.Future[Found]]) -> None:
        try:
            async with self._turn():
                found, synced = await self._read(list(together))
        except Exception as error:
            for waiting in together.values():
                waiting.set_exception(error)
                waiting.exception()  # Whoever asked may be gone.
            return
        except BaseException:
            for waiting in together.values():
                waiting.cancel()
            raise
        for ticker, waiting in together.items():
            waiting.set_result((found.get(ticker), synced))

    async def _read(self, tickers: list[str]) -> tuple[dict[str, Values], bytes | None]:
        before = {t: key for t in tickers if (key := self._keys_before.get(t)) is not None}
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hmget(self._keys.markets, tickers)
            pipeline.mget([self._keys.last_sync, *_with_parents(before)])
            keys, (synced, *values) = await pipeline.execute()
        known = {t: key for t, key in zip(tickers, keys, strict=True) if key is not None}
        found = dict(zip(before, _threes(values), strict=True))
        moved = {t: key for t, key in known.items() if before.get(t) != key}
        if moved:
            values = await self._client.mget(_with_parents(moved))
            found.update(zip(moved, _threes(values), strict=True))
            self._keys_before.update(moved)
            while len(self._keys_before) > _REMEMBERED:
                self._keys_before.popitem(last=False)
        return {ticker: found[ticker] for ticker in known}, synced


def _with_parents(keys: dict[str, bytes]) -> list[bytes]:
    """Each key with its event's and its series'; a key begins with its parent's."""
    names = []
    for key in keys.values():
        event = key.rpartition(b":")[0]
        names += [key, event, event.rpartition(b":")[0]]
    return names


def _threes(values: list[bytes | None]) -> list[Values]:
    return list(zip(values[::3], values[1::3], values[2::3], strict=True))
