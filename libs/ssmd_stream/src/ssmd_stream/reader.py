"""A stream's messages from a sequence on: in order, once, and none missing unnoticed."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

import nats.errors
import structlog
from nats.aio.msg import Msg

from ssmd_common.connections.nats_rights import NatsClient
from ssmd_stream.consumer import make_consumer
from ssmd_stream.delivery import Delivery, delivered, is_delivery
from ssmd_stream.errors import ReaderBroken, StreamGap
from ssmd_stream.stream import Stream, StreamInfo

log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 1.0
_LATE_SECONDS: Final = 0.25


class Expectations(NamedTuple):
    """What a reader asks of the server, and when it counts as gone."""

    pull: int = 1000
    """Messages asked for at once; up to twice as many wait in memory."""
    heartbeat_seconds: float = 1.0
    """After four that are missing the consumer, the stream or the connection is gone."""
    expires_seconds: float = 30.0
    """How long messages are waited for before they are asked for anew: what we may no longer ask
    for is noticed then. At least twice the heartbeat."""
    pull_bytes: int | None = None
    """Of messages asked for at once, where their number alone bounds too little memory. More than
    the largest message that the server takes, or that one would never come."""


EXPECTATIONS: Final = Expectations()


@asynccontextmanager
async def reading(
    stream: Stream,
    start: int,
    *,
    subjects: Sequence[str] = (),
    durable: str | None = None,
    headers_only: bool = False,
    expectations: Expectations = EXPECTATIONS,
) -> "AsyncIterator[Reader]":
    """Messages from sequence `start` on, through a consumer that is made anew.

    Where to start is the reader's own record, never the consumer's. With `subjects` only messages
    of these come, with `headers_only` without their payloads. A `durable` consumer can be watched
    by others while its reader is away; what the reader acknowledges is for them.

    Raises:
        StreamGap: the stream no longer holds `start`, or ends before it.
        ReaderBroken: the consumer is not the one that was asked for.
        StreamUnavailable, UpstreamUnavailable: it cannot be made now.
        NATS errors: the connection broke while it was asked for.
    """
    info = await stream.info()
    if info.last_sequence + 1 < start:
        raise StreamGap(
            f"the stream ends at {info.last_sequence}, before what was already read ({start})"
        )
    if info.first_sequence > start:
        raise StreamGap(
            f"the stream begins at {info.first_sequence}, after what comes next ({start})",
            range(start, info.first_sequence),
        )
    name, pending = await make_consumer(stream, start, subjects, durable, headers_only)
    if not pending and not subjects and info.last_sequence >= start:
        raise StreamGap(
            f"the stream ends at {info.last_sequence}, and holds nothing from {start} on",
            range(start, info.last_sequence + 1),
        )
    reader = Reader(stream, name, start, filtered=bool(subjects), expectations=expectations)
    reader.is_current = not pending
    await reader.open()
    try:
        yield reader
    finally:
        await reader.close()


class Reader:
    """A pull consumer's messages. Duplicates are dropped.

    A hole, silence, or an end of the stream that does not come breaks the reader. Of all subjects
    the stream's sequences prove that nothing is missing. Of some, the consumer's do, and that the
    stream did not lose its beginning while messages were on their way.
    """

    def __init__(
        self,
        stream: Stream,
        consumer: str,
        start: int,
        *,
        filtered: bool,
        expectations: Expectations,
    ) -> None:
        self._stream = stream
        self._client = stream.client
        self.consumer = consumer
        self._next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream.name}.{consumer}"
        self._pulled = expectations.pull
        self._heartbeat_seconds = expectations.heartbeat_seconds
        self._expires_seconds = expectations.expires_seconds
        self._pulled_bytes = expectations.pull_bytes
        self._filtered = filtered
        self._start = start
        self._expected = start
        """The sequence that comes next; with a filter, or one after it."""
        self._delivery = 1
        """The consumer's own number of the message that comes next."""
        self.next_sequence = start
        """Everything wanted before it has been handed over."""
        self.is_current = False
        """Whether, when it was last looked, nothing was left to hand over."""
        self._buffer: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._credit = 0
        # How long nothing came while this process waited: what it was not there for does not count.
        self._silent_seconds = 0.0
        self._waited_seconds = 0.0
        self._broken: str | None = None
        self._lost: range | None = None
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

    async def batch(
        self, most: int, wait_seconds: float, fill_seconds: float = 0.0
    ) -> list[Delivery]:
        """What is there, up to `most`; waits for the first message up to `wait_seconds`.

        Raises:
            ReaderBroken: there is a hole in what came, or what is there does not come.
            StreamGap: the stream does not hold what comes next.
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
        if taken:
            if self._filtered:
                await self._still_held()
            self.next_sequence = taken[-1].sequence + 1
            self.is_current = not taken[-1].pending
        await self._pull()
        return taken

    async def acknowledge(self, delivery: Delivery) -> None:
        """This message and all before it are dealt with."""
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
        if self._broken is None and isinstance(self._client, NatsClient):
            self._broken = self._client.denied
        if self._broken is None and self._silent_seconds > 4 * self._heartbeat_seconds:
            self._broken = f"the consumer has been silent for {self._silent_seconds:.0f} s"
        if self._broken is not None:
            if self._lost is not None:
                raise StreamGap(self._broken, self._lost)
            raise ReaderBroken(self._broken)

    async def _look(self) -> None:
        """What the stream held a while ago must have come by now, or something before it.

        What was purged before it was delivered never comes, and leaves a hole that is not seen
        before there is a later message.
        """
        if self._waited_seconds < _LOOK_SECONDS:
            return
        self._waited_seconds = 0.0
        if self._filtered:
            await self._look_at_consumer()
            return
        if self._expected == self._expected_then <= self._end_then:
            raise ReaderBroken(
                f"message {self._expected} does not come, and the stream reaches to"
                f" {self._end_then}"
            )
        self._expected_then = self._expected
        self._end_then = (await self._stream.info()).last_sequence

    async def _look_at_consumer(self) -> None:
        """Of some subjects the consumer knows how many there are, and which it has sent."""
        info = await self._still_held()
        consumer = await self._stream.consumer(self.consumer)
        sent = consumer.delivered.consumer_seq if consumer.delivered else 0
        if sent >= self._delivery == self._expected_then:
            raise ReaderBroken(f"message {self._delivery} of the consumer does not come")
        self._expected_then = self._delivery
        if sent < self._delivery and not consumer.num_pending and not self._buffer:
            # Everything wanted up to there has been handed over.
            self.next_sequence = max(self.next_sequence, info.last_sequence + 1)
            self.is_current = True

    async def _still_held(self) -> StreamInfo:
        """What was not handed over yet may have been deleted before it was sent."""
        info = await self._stream.info()
        if info.first_sequence > self.next_sequence:
            raise StreamGap(
                f"the stream begins at {info.first_sequence}, after what comes next "
                f"({self.next_sequence})",
                range(self.next_sequence, info.first_sequence),
            )
        return info

    async def _pull(self) -> None:
        if (
            self._broken is None
            and self._credit <= self._pulled // 2
            and len(self._buffer) <= self._pulled
        ):
            request = {
                "batch": self._pulled,
                "expires": int(self._expires_seconds * 1e9),
                "idle_heartbeat": int(self._heartbeat_seconds * 1e9),
            }
            if self._pulled_bytes is not None:
                request["max_bytes"] = self._pulled_bytes
            if self._credit == 0:
                self._silent_seconds = 0.0
            self._credit += self._pulled
            await self._client.publish(
                self._next_subject, json.dumps(request).encode(), reply=self._inbox
            )

    async def _on_message(self, message: Msg) -> None:
        if self._was_cut:
            self._arrived.set()
            return
        self._silent_seconds = 0.0
        if not is_delivery(message):
            await self._on_status(message)
            return
        self._credit = max(self._credit - 1, 0)
        delivery, number = delivered(message)
        if self._filtered:
            came, expected = number, self._delivery
        else:
            came, expected = delivery.sequence, self._expected
        if came != expected:
            if came > expected and self._broken is None:
                self._broken = f"message {came} came where {expected} was expected"
                if not self._filtered and self._expected == self._start:
                    # What a new consumer does not get first is not there.
                    self._lost = range(expected, came)
                self._arrived.set()
            return
        self._expected = delivery.sequence + 1
        self._delivery = number + 1
        self._buffer.append(delivery)
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
