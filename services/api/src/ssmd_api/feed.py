"""SECMASTER_CDC for /v1/changes and /v1/snapshot. NATS is connected to when it is first needed.

So is its library imported then: most starts, and many APIs, never need it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from ssmd_common.errors import ConfigurationError, UpstreamUnavailable
from ssmd_common.settings import NatsSettings

if TYPE_CHECKING:
    from ssmd_stream.delivery import Delivery
    from ssmd_stream.stream import Stream

log = structlog.get_logger(__name__)

_BATCH: Final = 200
_WAIT_SECONDS: Final = 2.0
_CONNECT_SECONDS: Final = 2.0
_HEARTBEAT_SECONDS: Final = 2.0
_EXPIRES_SECONDS: Final = 5.0
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
    def of(cls, headers: Mapping[str, str], sequence: int) -> EventId:
        """The id of a message; one that was not published by us may have no identity."""
        identity = headers.get("Nats-Msg-Id", "")
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
        self._stream: Stream | None = None
        self._connecting = asyncio.Lock()
        self._readers: set[_Reader] = set()
        self.refusal: str | None = None
        """Why NATS does not let us read it, in words for an operator; None where it does."""

    @property
    def first_sequence(self) -> int:
        """The stream's first sequence, when it was last asked for."""
        bounds = self._stream and self._stream.bounds
        return bounds.first_sequence if bounds else 0

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
        if self._stream is not None:
            from ssmd_common.connections import nats as connections

            await connections.close(self._stream.client)

    async def start_after(self, last: EventId | int | None) -> int:
        """The sequence that a reader begins with: after the last it has, or with what is new.

        Raises:
            Gone: the stream no longer holds that, or is another one.
        """
        stream = await self.stream()
        info = await stream.info()
        if last is None:
            return info.last_sequence + 1
        sequence = last.sequence if isinstance(last, EventId) else last
        if not info.first_sequence <= sequence + 1 <= info.last_sequence + 1:
            raise Gone
        if isinstance(last, EventId):
            message = await stream.message(sequence)
            if message is None or EventId.of(message.headers, sequence) != last:
                raise Gone
        return sequence + 1

    async def messages(
        self, subjects: Sequence[str], start: int
    ) -> AsyncGenerator[list[Delivery], None]:
        """Messages from a sequence on, in order; an empty list now and then when there are none.

        Ends when the server, the stream or the consumer goes: the reader comes again with its id.

        Raises:
            Gone: the reader was so slow that messages which it had not read are gone.
        """
        import nats.errors

        from ssmd_stream.errors import ReaderBroken, StreamGap
        from ssmd_stream.reader import Expectations, reading

        stream = await self.stream()
        expected = Expectations(_BATCH, _HEARTBEAT_SECONDS, _EXPIRES_SECONDS)
        reader = _Reader(start - 1)
        self._readers.add(reader)
        try:
            async with reading(stream, start, subjects=subjects, expectations=expected) as feed:
                while True:
                    batch = await feed.batch(_BATCH, _WAIT_SECONDS)
                    if batch:
                        reader.behind_seconds = max(0.0, time.time() - batch[-1].stored_at)
                    elif feed.is_current:
                        reader.behind_seconds = 0.0
                    reader.sequence = feed.next_sequence - 1
                    yield batch
        except StreamGap:
            raise Gone from None
        except (ReaderBroken, UpstreamUnavailable, nats.errors.Error, OSError):
            return
        finally:
            self._readers.discard(reader)

    async def stream(self) -> Stream:
        """The stream, over a connection that is made when it is first needed.

        Raises:
            UpstreamUnavailable: NATS does not answer.
        """
        from ssmd_common.connections import nats as connections
        from ssmd_stream.stream import Stream

        async with self._connecting:
            if self._stream is None or self._stream.client.is_closed:
                try:
                    client = await connections.connect(
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
                self._stream = Stream(client, answer_seconds=_CONNECT_SECONDS)
        if not self._stream.client.is_connected:
            raise UpstreamUnavailable("NATS does not answer")
        return self._stream

    def _refused(self, reason: str | None) -> None:
        if reason is not None and reason != self.refusal:
            log.error("nats refuses the api", error=reason)
        self.refusal = reason
