"""One reader of SECMASTER_CDC serves everybody who follows /v1/changes.

Each message is read, judged and put into its wire form once, and filters are compiled once. What
readers of the same filter get of a batch is one buffer, written to the connection of each as it is:
a reader costs a connection and a place in a set, no task that wakes up, no timer, no copy. A reader
that takes less than it is sent falls behind in the ring of what came last. Who falls out of it is
cut off and comes again with the id of the last event that it has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import structlog

from ssmd_api.changefilter import ChangeFilter
from ssmd_api.follower import Ended, Follower
from ssmd_api.ring import Channel, Ring, framed
from ssmd_api.serversent import BEGINNING, Event, EventId, keep_alive
from ssmd_api.subjects import SubjectIndex
from ssmd_api.unreadable import Unreadable
from ssmd_common import tasks
from ssmd_common.errors import UpstreamUnavailable
from ssmd_common.metrics import ERRORS
from ssmd_common.sparing import give_back_memory

if TYPE_CHECKING:
    from ssmd_stream.stream import Stream

log = structlog.get_logger(__name__)

RING_BYTES: Final = 16 << 20
_BATCH: Final = 500
_WAIT_SECONDS: Final = 2.0
_HEARTBEAT_SECONDS: Final = 2.0
_EXPIRES_SECONDS: Final = 5.0
_PAUSE_PER_WRITE_SECONDS: Final = 25e-6
"""After a batch: what comes meanwhile is written together. 2,000 writes are followed by 50 ms."""
_TURN_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 1.0
_KEEP_ALIVE_SECONDS: Final = 15.0
_STUCK_SECONDS: Final = 30.0
LINGER_SECONDS: Final = 30.0
MANY: Final = 50


class Hub:
    """The one reader, its ring, and who follows."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Stream]],
        unreadable: Unreadable,
        stopping: asyncio.Event,
    ) -> None:
        self._connect = connect
        self._unreadable = unreadable
        self._stopping = stopping
        self.ring = Ring(RING_BYTES)
        self.behind_seconds = 0.0
        """How old the newest message was when it was handed over; 0 while there is none to come."""
        self._index: SubjectIndex[Channel] = SubjectIndex()
        self._channels: dict[ChangeFilter, Channel] = {}
        self._members: dict[Channel, set[Follower]] = {}
        self._late: set[Follower] = set()
        """Those of the members that have not had everything yet."""
        self._starting = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self._caring: asyncio.Task[None] | None = None
        self._most = 0

    async def ready(self) -> None:
        """Have it read.

        Raises:
            UpstreamUnavailable: NATS does not answer.
        """
        async with self._starting:
            stream = await self._connect()
            if self._reading is None or self._reading.done():
                if not await self._goes_on(stream):
                    last = (await stream.info()).last_sequence
                    self.ring.begin(last + 1, await _id_at(stream, last))
                self._reading = asyncio.create_task(self._read(stream), name="changes")
            if self._caring is None or self._caring.done():
                self._caring = asyncio.create_task(self._care(), name="readers of changes")

    async def close(self) -> None:
        running = [task for task in (self._reading, self._caring) if task is not None]
        await tasks.end(*running)

    def join(self, follower: Follower, wanted: ChangeFilter, start: int) -> None:
        """Write to it everything from `start` on, which the ring holds."""
        channel = self._channels.get(wanted)
        if channel is None:
            channel = self._channels[wanted] = Channel(wanted)
            self._members[channel] = set()
            self._index.add(channel, channel.subjects)
        follower.channel = channel
        follower.told_at = follower.since = time.monotonic()
        self._members[channel].add(follower)
        if start < self.ring.next_sequence:
            follower.batch, follower.start = self.ring.batch_of(start), start
            self._late.add(follower)
            self._write_more(follower, follower.since)

    def leave(self, follower: Follower) -> None:
        channel = follower.channel
        members = self._members[channel]
        members.discard(follower)
        self._late.discard(follower)
        if not members:
            self._index.remove(channel, channel.subjects)
            del self._members[channel], self._channels[channel.wanted]

    @property
    def has_followers(self) -> bool:
        return bool(self._members)

    def sequences(self) -> list[int]:
        """The last sequence that each follower has."""
        return [
            (self.ring.next_sequence if f.batch is None else self.ring.sequence_of(f.batch)) - 1
            for f in self._followers()
        ]

    def _followers(self) -> list[Follower]:
        return [follower for members in self._members.values() for follower in members]

    async def _goes_on(self, stream: Stream) -> bool:
        """Whether what comes after the ring's last event is what comes next in the stream."""
        known = self.ring.last_id
        if known is None or known == BEGINNING or known.sequence + 1 != self.ring.next_sequence:
            return False
        return await _id_at(stream, known.sequence) == known

    async def _read(self, stream: Stream) -> None:
        import nats.errors

        from ssmd_stream.errors import ReaderBroken, StreamGap
        from ssmd_stream.reader import Expectations, reading

        expected = Expectations(_BATCH, _HEARTBEAT_SECONDS, _EXPIRES_SECONDS)
        why = Ended.BROKEN
        try:
            async with reading(stream, self.ring.next_sequence, expectations=expected) as feed:
                while True:
                    messages = await feed.batch(_BATCH, _WAIT_SECONDS)
                    if messages:
                        self.behind_seconds = max(0.0, time.time() - messages[-1].stored_at)
                        written = self._hand_over([Event.of(m, self._unreadable) for m in messages])
                        await asyncio.sleep(written * _PAUSE_PER_WRITE_SECONDS)
                    elif feed.is_current:
                        self.behind_seconds = 0.0
        except StreamGap:
            why = Ended.GONE
        except (ReaderBroken, UpstreamUnavailable, nats.errors.Error, OSError) as error:
            log.info("the change stream broke off", error=str(error))
        except Exception as error:
            ERRORS.labels("crash").inc()
            log.exception("reading the change stream failed", kind=type(error).__name__)
        finally:
            for follower in self._followers():
                follower.end(why)

    def _hand_over(self, events: list[Event]) -> int:
        """Write a batch to those who wait for it; to how many."""
        number, now = self.ring.next_batch, time.monotonic()
        batch = self.ring.add(events)
        parts: dict[Channel, list[bytes]] = {}
        for event in events:
            for channel in self._index.matching(event.subject):
                if channel.takes_kind(event):
                    parts.setdefault(channel, []).append(channel.data(event))
        written = 0
        for channel, data in parts.items():
            part = self.ring.keep(batch, channel, framed(b"".join(data)))
            for follower in self._members[channel]:
                if follower.batch is not None:
                    continue
                if follower.has_room:
                    follower.write(part, now)
                    written += 1
                else:
                    follower.batch, follower.start, follower.since = number, 0, now
                    self._late.add(follower)
        return written

    def _write_more(self, follower: Follower, now: float) -> None:
        """What a late one has not had yet, as far as there is room."""
        ring = self.ring
        assert follower.batch is not None
        while follower.batch < ring.next_batch:
            if follower.batch < ring.first_batch:
                follower.end(Ended.SLOW)
                return
            if not follower.has_room:
                if now - follower.since > _STUCK_SECONDS:
                    follower.end(Ended.SLOW)
                return
            follower.since = now
            if follower.start:
                events = ring.events_of(follower.batch)
                part = follower.channel.joined(events, follower.start)
                follower.start = 0
            else:
                part = ring.part(follower.batch, follower.channel)
            if part:
                follower.write(part, now)
            follower.batch += 1
        follower.batch = None
        self._late.discard(follower)

    async def _care(self) -> None:
        """Until nobody has followed for a while, or the service stops."""
        looked_at = followed_at = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(_TURN_SECONDS):
                    await self._stopping.wait()
                for follower in self._followers():
                    follower.end(Ended.STOPPING)
                return
            except TimeoutError:
                pass
            now = time.monotonic()
            for follower in list(self._late):
                self._write_more(follower, now)
            if now - looked_at < LOOK_SECONDS:
                continue
            looked_at = now
            self._look(now)
            if self._members:
                followed_at = now
            elif now - followed_at > LINGER_SECONDS:
                await self._rest()
                return

    def _look(self, now: float) -> None:
        """Let go of those who left, give a sign of life to those who were told nothing for long."""
        followers = self._followers()
        sign = framed(keep_alive(self.ring.last_id))
        for follower in followers:
            if follower.transport.is_closing():
                follower.end(Ended.LEFT)
            elif follower.batch is None and now - follower.told_at > _KEEP_ALIVE_SECONDS:
                follower.write(sign, now)
        self._most = max(self._most, len(followers))
        if self._most >= MANY and len(followers) <= self._most // 2:
            self._most = len(followers)
            give_back_memory()

    async def _rest(self) -> None:
        """Nobody follows: keep no connection busy and no memory."""
        async with self._starting:
            if self._members:
                return
            if self._reading is not None:
                await tasks.end(self._reading)
            self.ring.begin(self.ring.next_sequence, None)
            self._most = 0
            give_back_memory()


async def _id_at(stream: Stream, sequence: int) -> EventId | None:
    """The id of a message; None where there is none any more."""
    if sequence == 0:
        return BEGINNING
    message = await stream.message(sequence)
    return None if message is None else EventId.of(message.headers, sequence)
