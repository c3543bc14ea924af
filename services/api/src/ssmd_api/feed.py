"""SECMASTER_CDC for /v1/changes and /v1/snapshot. NATS is connected to when it is first needed.

So is its library imported then: most starts, and many APIs, never need it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog

from ssmd_common.errors import ConfigurationError, UpstreamUnavailable
from ssmd_common.settings import NatsSettings
from ssmd_common.subjects import STREAM
from ssmd_common.visibility import early

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js.api import RawStreamMsg, StreamState
    from nats.js.client import JetStreamContext

log = structlog.get_logger(__name__)

_BATCH: Final = 200
_WAIT_SECONDS: Final = 2.0
_CONNECT_SECONDS: Final = 2.0
_LINGER_SECONDS: Final = 30.0
_IDENTITY = re.compile(r"[0-9A-Za-z:/_.-]{1,64}", re.ASCII)
_NO_IDENTITY: Final = "-"


class Gone(Exception):
    """The stream does not hold what comes next: the reader needs a new snapshot."""


@dataclass(frozen=True, slots=True)
class EventId:
    """The id of a server-sent event: a stream sequence, and the identity of the message there."""

    sequence: int
    position: str

    def __str__(self) -> str:
        return f"{self.sequence}@{self.position}"

    @classmethod
    def parse(cls, text: str) -> EventId:
        """ValueError if it is none."""
        sequence, at, position = text.partition("@")
        if not at or not position or not sequence.isascii() or not sequence.isdigit():
            raise ValueError("is not the id of an event of this stream")
        return cls(int(sequence), position)

    @classmethod
    def of(cls, message: Msg | RawStreamMsg, sequence: int) -> EventId:
        """The id of a message; one that was not published by us may have no identity."""
        identity = (message.headers or {}).get("Nats-Msg-Id", "")
        return cls(sequence, identity if _IDENTITY.fullmatch(identity) else _NO_IDENTITY)


@dataclass(slots=True, eq=False)
class _Reader:
    """How far a reader is; `behind_seconds` is how old a message was when it was handed over."""

    sequence: int
    behind_seconds: float = 0.0


class ChangeFeed:
    """Readers of the stream, each with a consumer of its own that dies with it."""

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._readers: set[_Reader] = set()
        self.first_sequence = 0
        """The stream's first sequence, when it was last asked for."""
        self.refusal: str | None = None
        """Why NATS does not let us read it, in words for an operator; None where it does."""

    def position(self) -> dict[str, object]:
        """How many readers there are, and the sequences that the first and the last one have."""
        sequences = [reader.sequence for reader in self._readers]
        if not sequences:
            return {"readers": 0}
        return {
            "readers": len(sequences),
            "sequence": max(sequences),
            "slowest_sequence": min(sequences),
        }

    def lag_seconds(self) -> float | None:
        """From a message's being stored to its reader, of the reader that is least behind.

        One that catches up from long ago says nothing of us. None without readers.
        """
        return min((reader.behind_seconds for reader in self._readers), default=None)

    async def close(self) -> None:
        if self._client is not None:
            from ssmd_common.connections import nats as connections

            await connections.close(self._client)

    async def last_sequence(self) -> int:
        """The stream's last sequence now; 0 before the first message."""
        return (await self._state(await self._jetstream())).last_seq

    async def early_sequence(self) -> int:
        """The one after which a reader begins who must read as much as there is."""
        state = await self._state(await self._jetstream())
        return early(state.first_seq, state.last_seq)

    async def start_after(self, last: EventId | int | None) -> int:
        """The sequence that a reader begins with: after the last it has, or with what is new.

        Raises:
            Gone: the stream no longer holds that, or is another one.
        """
        import nats.js.errors

        js = await self._jetstream()
        state = await self._state(js)
        if last is None:
            return state.last_seq + 1
        sequence = last.sequence if isinstance(last, EventId) else last
        if sequence > state.last_seq or sequence + 1 < state.first_seq:
            raise Gone
        if isinstance(last, EventId):
            try:
                message = await js.get_msg(STREAM, sequence)
            except nats.js.errors.NotFoundError:
                raise Gone from None
            if EventId.of(message, sequence) != last:
                raise Gone
        return sequence + 1

    async def messages(
        self, subjects: Sequence[str], start: int
    ) -> AsyncGenerator[list[Msg], None]:
        """Messages from a sequence on, in order; an empty list now and then when there are none.

        Ends when the server, the stream or the consumer goes: the reader comes again with its id.

        Raises:
            Gone: the reader was so slow that messages which it had not read are gone.
        """
        import nats.errors
        import nats.js.errors
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

        js = await self._jetstream()
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start,
            ack_policy=AckPolicy.NONE,
            filter_subjects=list(subjects),
            mem_storage=True,
            inactive_threshold=_LINGER_SECONDS,
        )
        reader = _Reader(start - 1)
        self._readers.add(reader)
        try:
            consumer = await js.add_consumer(STREAM, config)
            subscription = await js.pull_subscribe_bind(consumer.name, STREAM)
            while True:
                try:
                    batch = await subscription.fetch(_BATCH, timeout=_WAIT_SECONDS)
                except TimeoutError:
                    if self.refusal is not None:
                        return
                    batch = []
                    seen = (await self._state(js)).last_seq
                    # Fails, and so ends the feed, if the consumer is gone.
                    if (await subscription.consumer_info()).num_pending == 0:
                        start = max(start, seen + 1)
                        reader.behind_seconds = 0.0
                if (await self._state(js)).first_seq > start and batch:
                    raise Gone
                if batch:
                    start = batch[-1].metadata.sequence.stream + 1
                    age = datetime.now(UTC) - batch[-1].metadata.timestamp
                    reader.behind_seconds = max(0.0, age.total_seconds())
                reader.sequence = start - 1
                yield batch
        except (nats.errors.Error, nats.js.errors.Error, OSError):
            return
        finally:
            self._readers.discard(reader)

    async def _state(self, js: JetStreamContext) -> StreamState:
        import nats.errors
        import nats.js.errors

        try:
            state = (await js.stream_info(STREAM)).state
            self.first_sequence = state.first_seq
            return state
        except nats.js.errors.NotFoundError as error:
            raise UpstreamUnavailable(f"the stream {STREAM} is not there yet") from error
        except (nats.errors.Error, OSError) as error:
            raise UpstreamUnavailable("NATS does not answer") from error

    def _refused(self, reason: str | None) -> None:
        if reason is not None and reason != self.refusal:
            log.error("nats refuses the api", error=reason)
        self.refusal = reason

    async def _jetstream(self) -> JetStreamContext:
        from ssmd_common.connections import nats as connections

        async with self._connecting:
            if self._client is None or self._client.is_closed:
                try:
                    self._client = await connections.connect(
                        self._settings,
                        "ssmd-api",
                        budget_seconds=_CONNECT_SECONDS,
                        service="api",
                        tell=self._refused,
                    )
                except ConfigurationError as error:
                    # Whoever asks over HTTP can do nothing about it.
                    self._refused(str(error))
                    raise UpstreamUnavailable("NATS refuses the API") from error
                self._refused(None)
        if not self._client.is_connected:
            raise UpstreamUnavailable("NATS does not answer")
        return self._client.jetstream(timeout=_CONNECT_SECONDS)
