"""A stream as a whole: its bounds, single messages of it, what is known of its consumers.

All requests of ours about a stream are here; `administration` makes and changes one with them.
"""

import base64
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final, NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import api

from ssmd_common.connections.nats_rights import Denied
from ssmd_common.deadlines import answered_within
from ssmd_common.errors import UpstreamUnavailable
from ssmd_stream.change import Position, decode_head
from ssmd_stream.errors import (
    ApiError,
    MayNot,
    StreamMissing,
    StreamUnavailable,
    UnreadableMessage,
    without_jetstream,
)
from ssmd_stream.subjects import STREAM

_ANSWER_SECONDS: Final = 5.0
_PATIENCE_SECONDS: Final = 120.0
"""nats-py's own limit, which goes by the clock: never the first to end a request."""

_NO_MESSAGE: Final = 10037
_NO_STREAM: Final = 10059
_OFF: Final = 503

_HEADER: Final = re.compile(r"^([^:\r\n]+):[ \t]*([^\r\n]*?)[ \t\r]*$", re.MULTILINE)


class StreamInfo(NamedTuple):
    """`created` tells a stream from one of the same name that is made later.

    An empty stream has a first sequence one above its last. `configuration` is what the server
    keeps, by the names of its JSON.
    """

    created: str
    first_sequence: int
    last_sequence: int
    messages: int
    bytes: int
    configuration: Mapping[str, Any]
    first_at: datetime | None = None
    """When its first message was stored, `last_at` its last; None where it holds none."""
    last_at: datetime | None = None


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
        self,
        client: Client,
        name: str = STREAM,
        *,
        publisher: str = "cdc",
        answer_seconds: float = _ANSWER_SECONDS,
    ) -> None:
        """`publisher` is the service that makes it, for the sentence where it is missing."""
        self.client = client
        self.name = name
        self.js = client.jetstream(timeout=_PATIENCE_SECONDS)
        self._publisher = publisher
        self.answer_seconds = answer_seconds
        """How long NATS may take to answer what is asked of the stream."""
        self.bounds: StreamInfo | None = None
        """What `info` said last."""

    async def info(self) -> StreamInfo:
        """What it is now.

        Raises:
            StreamMissing: there is no such stream.
            ApiError: NATS refuses to tell.
            StreamUnavailable: NATS does not tell about it now, or may not.
            UpstreamUnavailable: the client is closed for good.
        """
        answer = await self.request("STREAM.INFO", {})
        state = answer["state"]
        self.bounds = StreamInfo(
            answer["created"],
            # Of a stream that never held a message the server says 0: its first will be 1.
            max(state["first_seq"], 1),
            state["last_seq"],
            state["messages"],
            state["bytes"],
            answer["config"],
            _time(state.get("first_ts") if state["messages"] else None),
            _time(state.get("last_ts") if state["messages"] else None),
        )
        return self.bounds

    async def request(self, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request of JetStream's API about this stream, such as STREAM.INFO; the answer.

        Raises:
            As `info`.
        """
        payload = json.dumps(body).encode() if body else b""
        async with self._asking():
            reply = await self.client.request(
                f"$JS.API.{what}.{self.name}", payload, timeout=_PATIENCE_SECONDS
            )
        answer: dict[str, Any] = json.loads(reply.data)
        if (error := answer.get("error")) is None:
            return answer
        status, code = int(error.get("code", 0)), int(error.get("err_code", 0))
        description = str(error.get("description", error))
        if status == _OFF:
            raise StreamUnavailable(without_jetstream(description))
        kind: type[ApiError] = ApiError
        text = (
            f"NATS does not tell about the stream {self.name} ({description}): check that "
            "JetStream is enabled and healthy"
        )
        if code == _NO_STREAM:
            kind = StreamMissing
            text = (
                f"the stream {self.name} does not exist yet: {self._publisher} creates it when it "
                "starts"
            )
        raise kind(text, status=status, code=code, description=description)

    async def last(self, subject: str = ">") -> StoredMessage | None:
        """The last message that it holds of a subject, which may have wildcards; None where it
        holds none.

        Raises:
            As `info`.
        """
        try:
            answer = await self.request("STREAM.MSG.GET", {"last_by_subj": subject})
        except ApiError as error:
            if error.code == _NO_MESSAGE:
                return None
            raise
        found = answer["message"]
        headers = base64.b64decode(found.get("hdrs", "")).decode(errors="replace")
        return StoredMessage(
            int(found["seq"]),
            str(found["subject"]),
            dict(_HEADER.findall(headers)),
            base64.b64decode(found.get("data", "")),
            datetime.fromisoformat(found["time"]),
        )

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
            async with answered_within(self.answer_seconds):
                yield
        except nats.js.errors.NotFoundError:
            raise
        except Denied as error:
            raise MayNot(str(error)) from error
        except nats.errors.NoRespondersError as error:
            raise StreamUnavailable(without_jetstream(str(error))) from error
        except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
            detail = str(error) or type(error).__name__
            raise StreamUnavailable(
                f"NATS does not tell about the stream {self.name} ({detail}): "
                "check that it runs, with JetStream"
            ) from error


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
