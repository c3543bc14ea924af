"""What runs beside the stream, on the ordinary connection: it may be slow while changes flow."""

import asyncio
from collections.abc import Awaitable
from typing import Final

import structlog

from ssmd_cdc.errors import ReplicationEnded
from ssmd_common.health import Health

log = structlog.get_logger(__name__)

_STILL_SECONDS: Final = 5.0
"""Of hearing nothing from the slot, who does not answer beside it does not answer."""

_CONDITION: Final = "postgres"


class Beside:
    """Statements of side tasks; `still_seconds` is how long nothing flows, in turns of ours."""

    def __init__(self, health: Health, budget_seconds: float) -> None:
        self._health = health
        self._budget_seconds = budget_seconds
        self._failing_since: dict[str, float] = {}
        self._seen: tuple[int, int] = (-1, -1)
        self.still_seconds = 0.0

    def watch(self, acknowledged: int, heard: int, seconds: float, *, interrupted: bool) -> bool:
        """Note how far publishing and reading are, `seconds` after the last note of it.

        Not by the clock: a server that we had no time to hear is not silent. While publishing is
        interrupted nothing is read, so that nothing can be told. Returns whether publishing makes
        progress, or knows that it does not and tries.
        """
        publishes = acknowledged != self._seen[0] or interrupted
        flows = publishes or heard != self._seen[1]
        self.still_seconds = 0.0 if flows else self.still_seconds + seconds
        self._seen = acknowledged, heard
        return publishes

    async def do(self, name: str, work: Awaitable[None]) -> None:
        """Do the work of a side task. Its failure is no reason to end a session that flows.

        Raises:
            ReplicationEnded: it failed, and nothing comes from the slot either; or it fails for
                longer than a server may be away.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        try:
            await work
        except ReplicationEnded as error:
            since = self._failing_since.setdefault(name, now)
            away = loop.time() - since > self._budget_seconds
            if away or self.still_seconds >= _STILL_SECONDS:
                raise
            if since == now:
                log.warning("beside the stream", task=name, error=str(error))
            self._health.failed(name, error)
            self._health.set(_CONDITION, f"{error}, although changes flow from it")
            return
        if self._failing_since.pop(name, None) is not None and not self._failing_since:
            self._health.set(_CONDITION, None)

    def end(self) -> None:
        """The session is over, and with it what failed beside it."""
        self._health.conditions.pop(_CONDITION, None)
