"""Notices when PostgreSQL does not answer, be it closed or frozen: the service is then not ready.

What a service does itself may wait for minutes before it finds out; its reporter asks every few
seconds. The condition is the one that the service sets itself, `postgres`: what the service says of
it goes first, and what is told here is taken back here.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from ssmd_common.health import Health

log = structlog.get_logger(__name__)

SILENT_SECONDS: Final = 8.0
"""So long without any answer, and PostgreSQL does not answer."""

LOST_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.5
_CONDITION: Final = "postgres"


class PostgresWatch:
    """Told of each answer; `on_lost` is called when a connection has been silent for too long.

    `error` is what the last attempt failed with, if it was no answer.
    """

    def __init__(self, health: Health, on_lost: Callable[[], None]) -> None:
        self.error: str | None = None
        self._health = health
        self._on_lost = on_lost
        self._answered = False
        self._told: str | None = None
        self._was_set = False

    def answered(self) -> None:
        """PostgreSQL said something, if only that it refuses."""
        self._answered = True
        self.error = None

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        silent = lost = 0.0
        while True:
            before = loop.time()
            await asyncio.sleep(_LOOK_SECONDS)
            # By what we are late ourselves, because others have the processor or our loop is busy,
            # nobody waited for the server.
            waited = min(loop.time() - before, 2 * _LOOK_SECONDS)
            silent, lost = silent + waited, lost + waited
            if self._answered:
                self._answered, silent, lost = False, 0.0, 0.0
                self._heard()
            elif silent >= SILENT_SECONDS:
                self._tell()
            if lost >= LOST_SECONDS:
                # One that was lost without a word is made anew.
                lost = 0.0
                self._on_lost()

    def _tell(self) -> None:
        health = self._health
        if health.conditions.get(_CONDITION) is not None:
            # The service knows it itself, or has been told.
            return
        if self._told is None:
            self._was_set = _CONDITION in health.conditions
            log.warning("PostgreSQL does not answer", seconds=SILENT_SECONDS, error=self.error)
        why = self.error or f"nothing came within {SILENT_SECONDS:g} s"
        self._told = f"PostgreSQL does not answer: {why}"
        health.set(_CONDITION, self._told)

    def _heard(self) -> None:
        told, self._told = self._told, None
        if told is None:
            return
        log.info("PostgreSQL answers again")
        if self._health.conditions.get(_CONDITION) != told:
            return
        if self._was_set:
            self._health.set(_CONDITION, None)
        else:
            # The service has not come so far as to say that it is fine.
            self._health.conditions.pop(_CONDITION)
