"""SECMASTER_DLQ: the bytes of changes that SECMASTER_CDC cannot carry."""

import asyncio
from typing import Final

import nats.errors
import structlog
from nats.aio.client import Client

from ssmd_cdc import metrics
from ssmd_cdc.encode.envelope import Outgoing, as_marker
from ssmd_common.connections.nats_rights import Denied
from ssmd_common.errors import ConfigurationError, UpstreamUnavailable
from ssmd_common.health import Health
from ssmd_common.tasks import raise_if_cancelled
from ssmd_stream import subjects
from ssmd_stream.errors import does_not_store

log = structlog.get_logger(__name__)

_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 1.0
_CONDITION: Final = "dead_letters"


class DeadLetters:
    """Writes to the stream of dead letters, one acknowledged chunk after the other."""

    def __init__(self, client: Client, budget_seconds: float, health: Health) -> None:
        self._client = client
        self._health = health
        self._budget_seconds = budget_seconds

    async def replace(self, message: Outgoing, max_payload: int) -> Outgoing:
        """Store a message that is larger than the server takes; the marker in its place.

        Raises:
            As `keep`.
        """
        error = f"the message has {len(message.payload)} bytes, the server takes {max_payload}"
        await self.keep(message, message.payload, max_payload)
        return as_marker(message, error)

    async def keep(self, message: Outgoing, raw: bytes, max_payload: int) -> None:
        """Store `raw`, before the marker that takes the message's place is published.

        Raises:
            UpstreamUnavailable: it could not be stored within the budget.
            ConfigurationError: the user may not publish it.
        """
        # The client goes by what it heard when it connected.
        step = max(1, min(max_payload, self._client.max_payload) // 2)
        chunks = [raw[at : at + step] for at in range(0, len(raw), step)] or [b""]
        identity = message.id
        subject = f"dlq.{subjects.table_subject(message.table, message.op)}"
        log.error(
            "change is a dead letter",
            position=identity,
            table=message.table,
            bytes=len(raw),
        )
        for number, chunk in enumerate(chunks, 1):
            headers = {
                "Nats-Msg-Id": f"{identity}:{number}",
                "Ssmd-Position": identity,
                "Ssmd-Chunk": f"{number}/{len(chunks)}",
            }
            await self._store(subject, chunk, headers)
        metrics.DEAD_LETTERS.inc()

    async def _store(self, subject: str, chunk: bytes, headers: dict[str, str]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._budget_seconds
        pause = _PAUSE_SECONDS
        while True:
            try:
                await self._client.jetstream().publish(
                    subject, chunk, stream=subjects.DEAD_LETTER_STREAM, headers=headers, timeout=5
                )
            except (nats.errors.Error, OSError, TimeoutError) as error:
                raise_if_cancelled()
                denied = isinstance(error, Denied)
                reason = f"a dead letter is not taken ({error})"
                reason = str(error) if denied else does_not_store(reason)
                if self._health.conditions.get(_CONDITION) != reason:
                    self._health.failed("dead_letter", reason)
                    log.warning("dead letter not stored", reason=reason)
                self._health.set(_CONDITION, reason)
                if loop.time() > deadline and denied:
                    raise ConfigurationError(reason) from error
                if loop.time() > deadline:
                    raise UpstreamUnavailable(
                        f"the dead letter of a change could not be stored ({error}): check the "
                        f"stream {subjects.DEAD_LETTER_STREAM}"
                    ) from error
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                self._health.conditions.pop(_CONDITION, None)
                return
