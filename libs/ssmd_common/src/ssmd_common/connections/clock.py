"""This process's clock beside PostgreSQL's: compared every few seconds, and before writing.

What a writer stamps (when something was observed, heard, turned) is compared with what others
stamped, and decides what is newer. Whoever writes by the clock asks here first, on the connection
that it writes with. Between two comparisons a jump of the clock (a step of NTP, a machine that was
paused) shows as soon as anybody asks: the monotonic clock makes none.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import psycopg
import structlog
from psycopg.rows import tuple_row

from ssmd_common.errors import ClockDiffers
from ssmd_common.health import Health
from ssmd_common.metrics import CLOCK_OFFSET
from ssmd_common.skew import HELD_SECONDS, WARNED_SECONDS, Offset
from ssmd_common.tasks import end

log = structlog.get_logger(__name__)

T = TypeVar("T")

FRESH_SECONDS: Final = 5.0
"""So long a comparison is good enough to write by, unless the clock has jumped."""
JUMP_SECONDS: Final = 1.0

_LOOK_SECONDS: Final = 0.1
_NAME: Final = "clock"
_HELD: Final = f"nothing is stamped by it until they agree within {HELD_SECONDS:g} s"
_THEIRS: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"


class Clock:
    """What is known of the offset. `wall` and `monotonic` are in seconds."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset: Offset | None = None
        self._compared_at = float("-inf")
        self._base = 0.0
        self._warned = False
        self._held = False
        self._times_held = 0

    @property
    def held(self) -> str | None:
        """Why nothing may be written by our clock, as last compared; None if it may."""
        if not self._held or self._offset is None:
            return None
        return f"{self._offset.sentence}; {_HELD}"

    @property
    def warned(self) -> str | None:
        """The difference as last compared, where an operator should look at it."""
        if not self._warned or self._offset is None:
            return None
        return self._offset.sentence

    @property
    def jumped(self) -> bool:
        """Whether our clock was set since it was last compared; then nothing is known of it."""
        return abs(self._wall() - self._monotonic() - self._base) > JUMP_SECONDS

    async def compare(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Ask PostgreSQL for its time."""
        began, asked_at = self._monotonic(), self._wall()
        cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
        row = await (await cursor.execute(_THEIRS)).fetchone()
        assert row is not None
        self._take(Offset.measured(asked_at, row[0], self._monotonic() - began))
        self._compared_at, self._base = began, asked_at - began

    async def differs(self, connection: psycopg.AsyncConnection[Any]) -> str | None:
        """Why nothing may be written by our clock now; None if it may."""
        if self.jumped or self._monotonic() - self._compared_at > FRESH_SECONDS:
            await self.compare(connection)
        return self.held

    async def require(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """To be asked before what was stamped by our clock is written.

        Raises:
            ClockDiffers: it may not be.
        """
        if (why := await self.differs(connection)) is not None:
            raise ClockDiffers(why)

    async def while_it_agrees(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of `work`; None once the clocks differ, and `work` has been ended."""
        before = self._times_held
        task = asyncio.create_task(work)
        try:
            while not (task.done() or self._held or self._times_held > before):
                await asyncio.wait({task}, timeout=_LOOK_SECONDS)
            return task.result() if task.done() else None
        except ClockDiffers:
            return None
        finally:
            await end(task)

    def tell(self, health: Health) -> None:
        """Say in a service's health how far the clocks are apart.

        Never a condition that is fine: it is told before a service knows whether it is ready.
        """
        held = self.held if health.stamps else None
        if held is None:
            health.conditions.pop(_NAME, None)
        else:
            health.set(_NAME, held)
        health.degrade(_NAME, None if held else self.warned)

    def _take(self, offset: Offset) -> None:
        warned = offset.exceeds(WARNED_SECONDS)
        if warned is None:
            # The reply was too slow to tell: what is known stays.
            return
        known, self._offset = (self._warned, self._held), offset
        CLOCK_OFFSET.set(offset.certain)
        self._warned, self._held = warned, abs(offset.certain) > HELD_SECONDS
        self._times_held += self._held and not known[1]
        if (self._warned, self._held) == known:
            return
        seconds = round(offset.certain, 3)
        if self._held:
            log.error("clocks differ", offset_seconds=seconds, reason=self.held)
        elif self._warned:
            log.warning("clocks differ", offset_seconds=seconds, reason=self.warned)
        else:
            log.info("clocks agree again", offset_seconds=seconds)


CLOCK: Final = Clock()
"""A process has one clock, and all its connections lead to one server."""
