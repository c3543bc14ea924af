"""A stream as a whole: its bounds, single messages of it, what is known of its consumers."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Final, NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import api

from ssmd_common.connections.nats_rights import Denied
from ssmd_common.deadlines import answered_within
from ssmd_common.errors import UpstreamUnavailable
from ssmd_stream.change import Position, decode_head
from ssmd_stream.errors import StreamMissing, StreamUnavailable, UnreadableMessage
from ssmd_stream.subjects import STREAM

_ANSWER_SECONDS: Final = 5.0
_PATIENCE_SECONDS: Final = 120.0
"""nats-py's own limit, which goes by the clock: never the first to end a request."""


class StreamInfo(NamedTuple):
    """`created` tells a stream from one of the same name that is made later.

    An empty stream has a first sequence one above its last.
    """

    created: str
    first_sequence: int
    last_sequence: int


class StoredMessage(NamedTuple):
    """A message that was asked for alone."""

    sequence: int
    subject: str
    headers: dict[str, str]
    payload: bytes
    stored_at: datetime

    @property
    def position(self) -> Position | None:
        """Its identity, from its header or else from its envelope; None if it has none."""
        with suppress(ValueError):
            told = Position.parse(self.headers.get("Nats-Msg-Id", ""))
            if told.is_possible:
                return told
        with suppress(UnreadableMessage):
            return decode_head(self.payload).position
        return None


class Stream:
    """One stream, over a client that reconnects by itself."""

    def __init__(
        self, client: Client, name: str = STREAM, *, answer_seconds: float = _ANSWER_SECONDS
    ) -> None:
        self.client = client
        self.name = name
        self.js = client.jetstream(timeout=_PATIENCE_SECONDS)
        self._answer_seconds = answer_seconds
        self.bounds: StreamInfo | None = None
        """What `info` said last."""

    async def info(self) -> StreamInfo:
        """Its bounds now.

        Raises:
            StreamMissing: there is no such stream.
            StreamUnavailable: NATS does not tell about it now.
            UpstreamUnavailable: the client is closed for good.
        """
        subject = f"$JS.API.STREAM.INFO.{self.name}"
        async with self._asking():
            reply = await self.client.request(subject, b"", timeout=_PATIENCE_SECONDS)
        answer = json.loads(reply.data)
        if error := answer.get("error"):
            if error.get("code") == 404:
                raise StreamMissing(
                    f"the stream {self.name} does not exist yet: cdc creates it when it starts"
                )
            raise StreamUnavailable(
                f"NATS does not tell about the stream {self.name} ({error.get('description')}): "
                "check that JetStream is enabled and healthy"
            )
        state = answer["state"]
        self.bounds = StreamInfo(answer["created"], state["first_seq"], state["last_seq"])
        return self.bounds

    async def message(self, sequence: int, *, or_next: bool = False) -> StoredMessage | None:
        """The message with this sequence, or the first one after it; None where there is none.

        Raises:
            StreamUnavailable, UpstreamUnavailable: as `info`.
        """
        if sequence < 1 and not or_next:
            return None
        wanted = {"subject": ">", "next": True} if or_next else {}
        try:
            async with self._asking():
                found = await self.js.get_msg(self.name, max(1, sequence), **wanted)  # type: ignore[arg-type]
        except nats.js.errors.NotFoundError:
            return None
        assert found.seq is not None
        assert found.time is not None
        return StoredMessage(
            found.seq, found.subject or "", found.headers or {}, found.data or b"", found.time
        )

    async def position_at(self, sequence: int) -> Position | None:
        """The position of one message; None where there is none, or none that can be read."""
        found = await self.message(sequence)
        return found and found.position

    async def first_where(self, reached: Callable[[StoredMessage], bool | None]) -> int:
        """The first sequence whose message has reached something that all later ones have, too.

        One after the last where none has. None from `reached`: it cannot be told from this message,
        the next one decides.
        """
        info = await self.info()
        low, high = info.first_sequence, info.last_sequence + 1
        while low < high:
            middle = (low + high) // 2
            found = await self.message(middle, or_next=True)
            while found is not None and (verdict := reached(found)) is None:
                found = await self.message(found.sequence + 1, or_next=True)
            if found is None or verdict:
                high = middle
            else:
                low = found.sequence + 1
        return low

    async def consumer(self, name: str) -> api.ConsumerInfo:
        """What the server says of a consumer.

        Raises:
            StreamUnavailable, UpstreamUnavailable: as `info`.
        """
        async with self._asking():
            info: api.ConsumerInfo = await self.js.consumer_info(self.name, name)
        return info

    async def make_consumer(self, wanted: api.ConsumerConfig) -> api.ConsumerInfo:
        """Make it, in place of one of its name.

        Raises:
            StreamUnavailable, UpstreamUnavailable: as `info`.
        """
        async with self._asking():
            if wanted.durable_name:
                with suppress(nats.js.errors.NotFoundError):
                    await self.js.delete_consumer(self.name, wanted.durable_name)
            return await self.js.add_consumer(self.name, wanted)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        if self.client.is_closed:
            raise UpstreamUnavailable(
                f"NATS closed the connection ({self.client.last_error}): "
                "check NATS_URL and the user's permissions"
            )
        try:
            async with answered_within(self._answer_seconds):
                yield
        except nats.js.errors.NotFoundError:
            raise
        except Denied as error:
            raise StreamUnavailable(str(error)) from error
        except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
            detail = str(error) or type(error).__name__
            raise StreamUnavailable(
                f"NATS does not tell about the stream {self.name} ({detail}): "
                "check that it runs, with JetStream"
            ) from error
