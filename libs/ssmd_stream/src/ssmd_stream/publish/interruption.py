"""Publishing that is interrupted: how it is told, how long to wait, when it is over."""

import asyncio
from typing import Final

import structlog
from prometheus_client import Gauge

from ssmd_common.health import Health
from ssmd_stream.errors import NOT_STORING

log = structlog.get_logger(__name__)

_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 1.0
_STEADY_SECONDS: Final = 5.0
"""A connection that broke sooner is not made again at once."""


class Interruption:
    """Not ready from the first failure on until all that was in flight is stored.

    `condition` is the name under which `health` has it; `not_storing` is 1 meanwhile where NATS
    answers and does not store.
    """

    def __init__(self, health: Health, condition: str, not_storing: Gauge) -> None:
        self._health = health
        self._condition = condition
        self._not_storing = not_storing
        self._told = ""
        self._pause = _PAUSE_SECONDS
        self._until: int | None = None

    def because(self, reason: str, in_flight: int) -> None:
        """Tell it; each reason is logged and counted once."""
        self._health.set(self._condition, f"publishing is interrupted: {reason}")
        self._not_storing.set(reason.startswith(NOT_STORING))
        if reason != self._told:
            self._told = reason
            self._health.failed("publish", reason)
            log.warning("publishing interrupted", reason=reason, in_flight=in_flight)

    async def rest(self) -> None:
        """Wait before the next try, each time longer, up to a second."""
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)

    async def rest_unless_steady(self, lasted_seconds: float) -> None:
        """The same after a connection that lasted so long, unless that was long."""
        if lasted_seconds < _STEADY_SECONDS:
            await self.rest()
        else:
            self._pause = _PAUSE_SECONDS

    def lasts_until(self, number: int) -> None:
        """It is over once all messages before this number of the window are stored."""
        self._until = number

    def stored(self, number: int) -> None:
        """All before this number are."""
        if self._until is not None and number >= self._until:
            self._until = None
            self._told = ""
            self._health.set(self._condition, None)
            self._not_storing.set(0)
