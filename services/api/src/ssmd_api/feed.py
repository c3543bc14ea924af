"""SECMASTER_CDC for /v1/changes and /v1/snapshot. NATS is connected to when it is first needed.

So is its library imported then: most starts, and many APIs, never need it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import structlog

from ssmd_api.changefilter import ChangeFilter
from ssmd_api.hub import Hub
from ssmd_api.ring import Channel
from ssmd_api.serversent import BEGINNING, Event, EventId
from ssmd_api.unreadable import Unreadable
from ssmd_common.errors import ConfigurationError, UpstreamUnavailable
from ssmd_common.settings import NatsSettings

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ssmd_stream.stream import Stream

log = structlog.get_logger(__name__)

_CATCHING_UP: Final = 16
"""Readers at once that have a consumer of their own."""
_LONGEST_SECONDS: Final = 15.0
"""How long one of those may take while others wait."""
_PATIENCE_SECONDS: Final = 10.0
_SOON_SECONDS: Final = 0.02
_BATCH: Final = 100
_WAIT_SECONDS: Final = 2.0
CONNECT_SECONDS: Final = 2.0
_HEARTBEAT_SECONDS: Final = 2.0
_EXPIRES_SECONDS: Final = 5.0


class Gone(Exception):
    """The stream does not hold what comes next: the reader needs a new snapshot."""


class ChangeFeed:
    """What follows the stream, and what it is reached by.

    All who have what came last are written to by the `Hub`. Who has not is brought there first, by
    a consumer of its own, a few at a time.
    """

    def __init__(
        self, settings: NatsSettings, unreadable: Unreadable, stopping: asyncio.Event
    ) -> None:
        self._settings = settings
        self.unreadable = unreadable
        self._stream: Stream | None = None
        self._connecting = asyncio.Lock()
        self.hub = Hub(self.stream, unreadable, stopping)
        self._catching_up = asyncio.Semaphore(_CATCHING_UP)
        self._behind: dict[object, int] = {}
        self.refusal: str | None = None
        """Why NATS does not let us read it, in words for an operator; None where it does."""

    @property
    def first_sequence(self) -> int:
        """The stream's first sequence, when it was last asked for."""
        bounds = self._stream and self._stream.bounds
        return bounds.first_sequence if bounds else 0

    def position(self) -> dict[str, object]:
        """How many readers there are, and the sequences that the first and the last one have."""
        sequences = [*self.hub.sequences(), *self._behind.values()]
        if not sequences:
            return {"readers": 0}
        return {
            "readers": len(sequences),
            "sequence": max(sequences),
            "slowest_sequence": min(sequences),
        }

    def lag_seconds(self) -> float | None:
        """From a message's being stored to its being handed to those who had all before it.

        One that catches up from long ago says nothing of us. None without readers.
        """
        return self.hub.behind_seconds if self.hub.has_followers else None

    async def close(self) -> None:
        await self.hub.close()
        if self._stream is not None:
            from ssmd_common.connections import nats as connections

            await connections.close(self._stream.client)

    async def start_after(self, last: EventId | int | None) -> int:
        """The sequence that a reader begins with: after the last it has, or with what is new.

        Raises:
            Gone: the stream no longer holds that, or is another one.
            UpstreamUnavailable: NATS does not answer.
        """
        await self.hub.ready()
        if last is None:
            return self.hub.ring.next_sequence
        sequence = last.sequence if isinstance(last, EventId) else last
        known = self.hub.ring.after(last)
        if known is False:
            raise Gone
        if known is None:
            stream = await self.stream()
            info = await stream.info()
            if not info.first_sequence <= sequence + 1 <= info.last_sequence + 1:
                raise Gone
            if isinstance(last, EventId) and last != BEGINNING:
                message = await stream.message(sequence)
                if message is None or EventId.of(message.headers, sequence) != last:
                    raise Gone
        return sequence + 1

    async def catch_up(
        self, wanted: ChangeFilter, start: int
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """What the hub's ring does not hold any more of what is wanted from `start` on.

        (the sequence that comes next, events) until the ring holds what comes next; no events now
        and then. Ends early when the server, the stream or the consumer goes, and when others wait
        and this has taken long: the reader comes again with its id.

        Raises:
            Gone: the reader was so slow that messages which it had not read are gone.
        """
        import nats.errors

        from ssmd_stream.errors import ReaderBroken, StreamGap

        me = object()
        self._behind[me] = start - 1
        try:
            while not self.hub.ring.holds(start):
                if start > self.hub.ring.next_sequence:
                    # The hub has yet to read what this reader has already.
                    await asyncio.sleep(_SOON_SECONDS)
                    await self.hub.ready()
                    continue
                while True:
                    try:
                        async with asyncio.timeout(_PATIENCE_SECONDS):
                            await self._catching_up.acquire()
                        break
                    except TimeoutError:
                        yield start, b""
                try:
                    async with aclosing(self._catch_up_once(wanted, start)) as found:
                        async for start, events in found:
                            self._behind[me] = start - 1
                            yield start, events
                finally:
                    self._catching_up.release()
                await self.hub.ready()
        except StreamGap:
            raise Gone from None
        except (ReaderBroken, UpstreamUnavailable, nats.errors.Error, OSError):
            return
        finally:
            del self._behind[me]

    async def _catch_up_once(
        self, wanted: ChangeFilter, start: int
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """Up to where the hub is now."""
        from ssmd_stream.errors import ReaderBroken
        from ssmd_stream.reader import Expectations, reading

        stream, end = await self.stream(), self.hub.ring.next_sequence
        channel = Channel(wanted)
        expected = Expectations(_BATCH, _HEARTBEAT_SECONDS, _EXPIRES_SECONDS)
        began = time.monotonic()
        async with reading(
            stream, start, subjects=wanted.subjects(), expectations=expected
        ) as feed:
            while not feed.is_current and feed.next_sequence < end:
                messages = await feed.batch(_BATCH, _WAIT_SECONDS)
                events = (Event.of(message, self.unreadable) for message in messages)
                data = b"".join(channel.data(e) for e in events if channel.takes_kind(e))
                yield feed.next_sequence, data
                if self._catching_up.locked() and time.monotonic() - began > _LONGEST_SECONDS:
                    raise ReaderBroken("others wait to catch up")
            # It was asked for after the hub had got there: all that is wanted before it has come.
            yield max(feed.next_sequence, end), b""

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
                        budget_seconds=CONNECT_SECONDS,
                        service="api",
                        tell=self._refused,
                    )
                except ConfigurationError as error:
                    # Whoever asks over HTTP can do nothing about it.
                    self._refused(str(error))
                    raise UpstreamUnavailable("NATS refuses the API") from error
                self._refused(None)
                self._stream = Stream(client, answer_seconds=CONNECT_SECONDS)
        if not self._stream.client.is_connected:
            raise UpstreamUnavailable("NATS does not answer")
        return self._stream

    async def client(self) -> Client:
        """The connection to NATS, for whoever reads another stream; errors as `stream`."""
        return (await self.stream()).client

    def _refused(self, reason: str | None) -> None:
        if reason is not None and reason != self.refusal:
            log.error("nats refuses the api", error=reason)
        self.refusal = reason
