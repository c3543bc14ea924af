"""Between two sessions: what the end of one means for the next one, and for the process.

A session that ended by an error is followed by another after a pause. The process ends once no
session has lasted for `CDC_OUTAGE_BUDGET_SECONDS`, or another publisher lives that writes to the
same stream. A server that is only read-only is waited for as long as it takes.
"""

import asyncio
import math
from typing import Final

import structlog

from ssmd_cdc import metrics
from ssmd_cdc.epoch import NewEpoch
from ssmd_cdc.errors import (
    MalformedMessage,
    ServerReadOnly,
    SessionEnded,
    SlotUnreadable,
    WalDiverged,
)
from ssmd_common.errors import ConfigurationError, SsmdError, UpstreamUnavailable
from ssmd_common.metrics import LAG_SECONDS
from ssmd_common.runtime import Runtime
from ssmd_common.states import STANDBY
from ssmd_stream.errors import Fenced, MayNot, PublishingEnded, StreamUnavailable

log = structlog.get_logger(__name__)

SESSION_ENDS: Final = (SessionEnded, PublishingEnded, StreamUnavailable, MalformedMessage)
"""What ends a session and not the process."""

_STANDBY_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 0.5
_RIVALRY: Final = 3
"""So often someone else was faster: someone lives."""

FORGIVEN_SECONDS: Final = 600.0
"""After so long in a ready session, whoever was faster is gone."""

_OF_LEADER: Final = (
    LAG_SECONDS,
    metrics.SLOT_LAG_BYTES,
    metrics.SLOT_RETAINED_BYTES,
    metrics.SLOT_SAFE_BYTES,
    metrics.HEARTBEAT_SECONDS,
    metrics.IN_FLIGHT,
    metrics.IN_FLIGHT_BYTES,
)


class Recovery:
    """What is known of the sessions before."""

    def __init__(self, runtime: Runtime, budget_seconds: float) -> None:
        self._runtime = runtime
        self._health = runtime.health
        self._budget_seconds = budget_seconds
        self._failing_since: float | None = None
        self._fenced = 0
        self._flowed = False
        self.unusable: tuple[str, str] | None = None
        """What a session found out against the slot that is there: a word and a sentence."""

    def lasted(self, seconds: float, *, flowed: bool) -> None:
        """A session did; `flowed` is whether it was ready."""
        self._flowed = self._flowed or flowed
        if flowed or seconds > self._budget_seconds:
            self._failing_since = None
        if flowed and seconds > FORGIVEN_SECONDS:
            self._fenced = 0

    async def stand_by(self) -> None:
        """Another process streams from the slot: wait a moment."""
        if self._health.state != STANDBY:
            log.info("standing by, another process streams from the slot")
            # What it knew as the leader is not so any more.
            self._health.position, self._health.lag_seconds = {}, None
            self._health.degrade("stream", None)
            for gauge in _OF_LEADER:
                gauge.set(math.nan)
            for name in "nats", "lag", "postgres", "dead_letters":
                self._health.conditions.pop(name, None)
        self._health.stand_by("slot", "another process streams from the slot; this one stands by")
        self._health.progress()
        self._failing_since = None
        await self._runtime.stopped_within(_STANDBY_SECONDS)

    async def recover(self, error: Exception) -> None:
        """Note why the session ended, and wait a moment.

        Raises:
            ConfigurationError: a right was never there, or is missing for longer than the budget.
            UpstreamUnavailable: no session has lasted for that long.
        """
        if isinstance(error, MayNot) and not self._flowed:
            # It never worked: nobody took the right away meanwhile.
            raise ConfigurationError(str(error)) from error
        if isinstance(error, ServerReadOnly):
            await self._wait_for_writes(error)
            return
        if self._health.state == STANDBY:
            self._health.state = "waiting"
        cause = getattr(error, "cause", type(error).__name__.lower())
        metrics.RESTARTS.labels(cause).inc()
        self._health.failed("session", error)
        self._health.progress()
        self._health.set("slot", f"the session ended: {error}")
        self._fenced += isinstance(error, Fenced)
        self.unusable = _unusable(error) or self.unusable
        log.error("session ended", cause=cause, error=str(error))
        now = asyncio.get_running_loop().time()
        self._failing_since = self._failing_since or now
        if now - self._failing_since > self._budget_seconds:
            if isinstance(error, MayNot):
                raise ConfigurationError(str(error)) from error
            raise UpstreamUnavailable(
                f"no session lasted for {self._budget_seconds:g} s ({error}): check DATABASE_URL, "
                "NATS_URL and that both servers run"
            ) from error
        await self._runtime.stopped_within(_PAUSE_SECONDS)

    async def _wait_for_writes(self, error: ServerReadOnly) -> None:
        """A server that answers is waited for as long as it takes, and told of once."""
        if self._health.conditions.get("slot") != str(error):
            metrics.RESTARTS.labels(error.cause).inc()
            self._health.failed("session", error)
            self._health.set("slot", str(error))
            log.warning("waiting for writes", reason=str(error))
        self._health.progress()
        self._failing_since = None
        await self._runtime.stopped_within(_PAUSE_SECONDS)

    def refuse_rivalry(self, decision: NewEpoch) -> None:
        """Raises SsmdError if it is another publisher that makes a new epoch necessary.

        Beginning anew each time would make two publishers fence each other for ever. Late writes
        of one that was killed come only once.
        """
        if (decision.cause == "foreign_epoch" and self._fenced) or (
            decision.cause == "unfinished" and self._fenced >= _RIVALRY
        ):
            raise SsmdError(
                "another publisher writes to the stream, from another slot or database: stop it, "
                "or give one of them its own NATS server or account"
            )


def _unusable(error: Exception) -> tuple[str, str] | None:
    match error:
        case WalDiverged():
            why = "the WAL is not what was published: the database was restored"
        case SlotUnreadable():
            why = f"PostgreSQL cannot decode the WAL that the slot keeps ({error})"
        case _:
            return None
    return error.cause, why
