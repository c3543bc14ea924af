"""SECMASTER_CDC as the cache reads it: from a sequence on, in order, without gaps."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import api

from ssmd_cache.apply import decode, position_of, salvage
from ssmd_cache.errors import FeedBroken, StreamGap
from ssmd_common.change import Position
from ssmd_common.connections.nats_rights import NatsClient
from ssmd_common.errors import MalformedChange, UpstreamUnavailable
from ssmd_common.subjects import STREAM

log = structlog.get_logger(__name__)

_PULL: Final = 1000
_HEARTBEAT_SECONDS: Final = 1.0
_EXPIRES_SECONDS: Final = 30.0
# Several heartbeats missed: the consumer, the stream or the connection is gone.
_SILENCE_SECONDS: Final = 4.0
_LOOK_SECONDS: Final = 1.0
_LATE_SECONDS: Final = 0.25
_ACK_WAIT_SECONDS: Final = 30.0
_REQUEST_SECONDS: Final = 5.0


class StreamInfo(NamedTuple):
    created: str
    first_sequence: int
    last_sequence: int


class Delivery(NamedTuple):
    """One message; `pending` is how many the stream holds after it."""

    sequence: int
    subject: str
    payload: bytes
    stored_at: float
    """Seconds since 1970, by the server's clock."""
    pending: int
    reply: str


class Stream:
    """The stream as a whole."""

    def __init__(self, client: Client, name: str = STREAM) -> None:
        self.client = client
        self.name = name
        self._js = client.jetstream()

    async def info(self) -> StreamInfo:
        """Its bounds now.

        Raises:
            StreamMissing: there is no such stream, or JetStream does not tell about it now.
            UpstreamUnavailable: the client is closed for good.
            NATS errors: the server does not answer.
        """
        if self.client.is_closed:
            raise UpstreamUnavailable(
                f"NATS closed the connection ({self.client.last_error}): "
                "check NATS_URL and the user's permissions"
            )
        subject = f"$JS.API.STREAM.INFO.{self.name}"
        reply = await self.client.request(subject, b"", timeout=_REQUEST_SECONDS)
        answer = json.loads(reply.data)
        if error := answer.get("error"):
            if error.get("code") == 404:
                raise StreamMissing(
                    f"the stream {self.name} does not exist yet: cdc creates it when it starts"
                )
            raise StreamMissing(
                f"NATS does not tell about the stream {self.name} ({error.get('description')}): "
                "check that JetStream is enabled and healthy"
            )
        state = answer["state"]
        return StreamInfo(answer["created"], state["first_seq"], state["last_seq"])

    async def position_at(self, sequence: int) -> Position | None:
        """The position of one message; None where there is none, or none that can be read."""
        if sequence < 1:
            return None
        try:
            message = await self._js.get_msg(self.name, sequence)
        except nats.js.errors.NotFoundError:
            return None
        payload = message.data or b""
        try:
            return position_of(decode(payload))
        except MalformedChange:
            nowhere = Position(0, 0, 0)
            found = salvage(payload, message.subject or "", nowhere)
            position = None if found is None else position_of(found)
            return None if position == nowhere else position

    @asynccontextmanager
    async def feed(self, consumer: str, start: int) -> AsyncIterator["Feed"]:
        """Messages from sequence `start` on, through a consumer that is made anew.

        Where to start is the reader's own record, not the consumer's.

        Raises:
            StreamGap: the stream no longer holds `start`, or nothing after it.
            FeedBroken: the consumer is not the one that was asked for.
        """
        info = await self.info()
        if info.last_sequence + 1 < start:
            raise StreamGap(
                f"the stream ends at {info.last_sequence}, before what was already read ({start})"
            )
        if info.first_sequence > start:
            raise StreamGap(
                f"the stream begins at {info.first_sequence}, after what comes next ({start})"
            )
        pending = await self._make_consumer(consumer, start)
        if not pending and info.last_sequence >= start:
            raise StreamGap(
                f"the stream ends at {info.last_sequence}, and holds nothing from {start} on"
            )
        feed = Feed(self, consumer, start)
        await feed.open()
        try:
            yield feed
        finally:
            await feed.close()

    async def _make_consumer(self, consumer: str, start: int) -> int:
        """Make it; how many messages it has to deliver."""
        wanted = api.ConsumerConfig(
            durable_name=consumer,
            description="ssmd cache: PostgreSQL's picture in Redis",
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start,
            ack_policy=api.AckPolicy.ALL,
            ack_wait=_ACK_WAIT_SECONDS,
            max_ack_pending=20 * _PULL,
            replay_policy=api.ReplayPolicy.INSTANT,
            inactive_threshold=24 * 3600.0,
        )
        with suppress(nats.js.errors.NotFoundError):
            await self._js.delete_consumer(self.name, consumer)
        info = await self._js.add_consumer(self.name, wanted)
        # Some servers ignore what they do not know: what counts is what they say they do.
        for field in ("deliver_policy", "opt_start_seq", "ack_policy"):
            made = getattr(info.config, field)
            if made != getattr(wanted, field):
                raise FeedBroken(f"NATS made the consumer {consumer} with {field} {made!r}")
        return info.num_pending or 0


class StreamMissing(UpstreamUnavailable):
    """The stream does not exist, or cannot be asked for."""


class Feed:
    """A pull consumer's messages. Duplicates are dropped.

    A hole, silence, or an end of the stream that does not come breaks the feed.
    """

    def __init__(self, stream: Stream, consumer: str, start: int) -> None:
        self._stream = stream
        self._client = stream.client
        self._next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream.name}.{consumer}"
        self._start = start
        self._expected = start
        self._buffer: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._credit = 0
        # How long nothing came while this process waited: what it was not there for does not count.
        self._silent_seconds = 0.0
        self._waited_seconds = 0.0
        self._broken: str | None = None
        self._gap = False
        self._reconnects = self._client.stats["reconnects"]
        self._expected_then = self._end_then = 0
        self._inbox = self._client.new_inbox()
        self._subscription: Any = None

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    async def open(self) -> None:
        self._subscription = await self._client.subscribe(self._inbox, cb=self._on_message)
        await self._pull()

    async def close(self) -> None:
        try:
            await self._subscription.unsubscribe()
        except (nats.errors.Error, OSError) as error:
            log.debug("consumer's subscription was gone already", error=str(error))

    async def batch(self, most: int, wait_seconds: float, fill_seconds: float) -> list[Delivery]:
        """What is there, up to `most`; waits for the first message up to `wait_seconds`.

        Raises:
            FeedBroken: there is a hole in what came, or what is there does not come.
            StreamGap: the stream does not hold the first message.
        """
        if not self._buffer:
            await self._wait(wait_seconds)
        if fill_seconds and 0 < len(self._buffer) < most:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + fill_seconds
            while len(self._buffer) < most and (left := deadline - loop.time()) > 0:
                await self._wait(left)
        if not self._buffer:
            self._check()
            await self._look()
        taken = [self._buffer.popleft() for _ in range(min(most, len(self._buffer)))]
        await self._pull()
        return taken

    async def acknowledge(self, delivery: Delivery) -> None:
        """This message and all before it are written."""
        await self._client.publish(delivery.reply, b"+ACK")

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._arrived.clear()
        left = seconds
        while left > 0 and not self._arrived.is_set():
            began = loop.time()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            passed = loop.time() - began
            self._silent_seconds += min(passed, left)
            self._waited_seconds += min(passed, left)
            # Stopped or starved meanwhile: what came is yet to be read, after the timers.
            left = _LATE_SECONDS if passed > left + _LATE_SECONDS else 0.0

    @property
    def _was_cut(self) -> bool:
        # The server may have come back with less than it had, and what is written anew there has
        # sequences that were read already.
        return bool(self._client.stats["reconnects"] != self._reconnects)

    def _check(self) -> None:
        if self._broken is None and self._was_cut:
            self._broken = "the connection to NATS was made anew"
        if self._broken is None and self._silent_seconds > _SILENCE_SECONDS:
            client = self._client
            denied = client.denied if isinstance(client, NatsClient) else None
            silent = f"the consumer has been silent for {self._silent_seconds:.0f} s"
            self._broken = denied or silent
        if self._broken is not None:
            if self._gap:
                raise StreamGap(self._broken)
            raise FeedBroken(self._broken)

    async def _look(self) -> None:
        """What the stream held a while ago must have come by now, or something before it.

        What was purged before it was delivered never comes, and leaves a hole that is not seen
        before there is a later message.
        """
        if self._waited_seconds < _LOOK_SECONDS:
            return
        if self._expected == self._expected_then <= self._end_then:
            raise FeedBroken(
                f"message {self._expected} does not come, and the stream reaches to"
                f" {self._end_then}"
            )
        self._waited_seconds = 0.0
        self._expected_then = self._expected
        self._end_then = (await self._stream.info()).last_sequence

    async def _pull(self) -> None:
        if self._broken is None and self._credit <= _PULL // 2 and len(self._buffer) <= _PULL:
            request = {
                "batch": _PULL,
                "expires": int(_EXPIRES_SECONDS * 1e9),
                "idle_heartbeat": int(_HEARTBEAT_SECONDS * 1e9),
            }
            if self._credit == 0:
                self._silent_seconds = 0.0
            self._credit += _PULL
            await self._client.publish(
                self._next_subject, json.dumps(request).encode(), reply=self._inbox
            )

    async def _on_message(self, message: Msg) -> None:
        if self._was_cut:
            self._arrived.set()
            return
        self._silent_seconds = 0.0
        if not message.reply.startswith("$JS.ACK."):
            await self._on_status(message)
            return
        self._credit = max(self._credit - 1, 0)
        tokens = message.reply.split(".")
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<…>.<time>.<pending>, with
        # domain and account before the stream on newer servers.
        sequence_at = 5 if len(tokens) < 11 else 7
        sequence = int(tokens[sequence_at])
        if sequence != self._expected:
            if sequence > self._expected and self._broken is None:
                self._broken = f"message {sequence} came where {self._expected} was expected"
                # What a new consumer does not get first is not there.
                self._gap = self._expected == self._start
                self._arrived.set()
            return
        self._expected += 1
        self._buffer.append(
            Delivery(
                sequence,
                message.subject,
                message.data,
                int(tokens[sequence_at + 2]) / 1e9,
                int(tokens[sequence_at + 3]),
                message.reply,
            )
        )
        self._arrived.set()

    async def _on_status(self, message: Msg) -> None:
        headers = message.headers or {}
        status = headers.get("Status", "")
        if status == "100":
            return
        if status in ("404", "408") or (
            status == "409" and "Consumer Deleted" not in headers.get("Description", "")
        ):
            # A pull request ended; what it did not deliver, the next one will.
            unused = int(headers.get("Nats-Pending-Messages", self._credit))
            self._credit = max(self._credit - unused, 0)
            await self._pull()
            return
        self._broken = f"the consumer ended ({status} {headers.get('Description', '')})".strip()
        self._arrived.set()
