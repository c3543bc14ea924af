"""So many at once, and fair to who asks: one key that floods does not starve the others."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

caller: ContextVar[str] = ContextVar("caller", default="")
"""Whose request this is: its turns are counted together."""


class NoTurn(Exception):
    """It did not come to one's turn in time, or too many wait."""


class Turns:
    """Turns of short work, `at_once` at a time. Who waits is served round by round: of each caller
    the one that has waited longest.

    Of more than `waiting` the youngest of the caller that has the most is turned away.
    """

    def __init__(self, at_once: int, *, waiting: int = 2000) -> None:
        self._free = at_once
        self._most = waiting
        self._waiting = 0
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, patience_seconds: float) -> AsyncIterator[None]:
        """One turn, as `take` has it."""
        await self.take(patience_seconds)
        try:
            yield
        finally:
            self.give_back()

    async def take(self, patience_seconds: float) -> None:
        """Have one turn for the `caller`; whoever has it gives it back.

        Raises:
            NoTurn: it did not come within `patience_seconds`, or too many wait.
        """
        if self._free and not self._waiting:
            self._free -= 1
        else:
            await self._wait(caller.get(), patience_seconds)

    def give_back(self) -> None:
        self._free += 1
        self._call_next()

    async def _wait(self, name: str, patience_seconds: float) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(name, deque()).append(mine)
        self._waiting += 1
        if self._waiting > self._most:
            self._turn_one_away()
        try:
            async with asyncio.timeout(patience_seconds):
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                # It came at the same moment.
                self._free += 1
                self._call_next()
            else:
                self._forget(name, mine)
            if isinstance(error, TimeoutError):
                raise NoTurn from None
            raise

    def _call_next(self) -> None:
        while self._free and self._queues:
            name, queue = self._queues.popitem(last=False)
            mine = queue.popleft()
            if queue:
                self._queues[name] = queue
            self._waiting -= 1
            if not mine.done():
                self._free -= 1
                mine.set_result(None)

    def _turn_one_away(self) -> None:
        queue = max(self._queues.values(), key=len)
        queue[-1].set_exception(NoTurn())
        self._forget(next(name for name, q in self._queues.items() if q is queue), queue[-1])

    def _forget(self, name: str, mine: asyncio.Future[None]) -> None:
        queue = self._queues.get(name)
        if queue is not None and mine in queue:
            queue.remove(mine)
            self._waiting -= 1
            if not queue:
                del self._queues[name]
