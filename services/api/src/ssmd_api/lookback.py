"""The latest changes, read backwards: what a page shows before anything new comes.

A stream is read forwards only. So its end is read in growing pieces until there is enough; what the
hub still has in memory costs nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from ssmd_api.changefilter import ChangeFilter
from ssmd_api.feed import ChangeFeed
from ssmd_api.ring import Channel
from ssmd_api.serversent import Event

if TYPE_CHECKING:
    from ssmd_stream.delivery import Delivery
    from ssmd_stream.stream import Stream

_FIRST_PIECE: Final = 500
_GROWS: Final = 8
_FURTHEST: Final = 10_000
"""Messages back, at most: of a filter that lets little through there may be less than is asked."""
_BATCH: Final = 500
_WAIT_SECONDS: Final = 2.0
_HEARTBEAT_SECONDS: Final = 2.0
_EXPIRES_SECONDS: Final = 5.0


async def latest(
    feed: ChangeFeed, wanted: ChangeFilter, count: int, before: int | None = None
) -> tuple[list[Event], int]:
    """The last `count` events that the filter takes, of sequences below `before`, the last first;
    and the first sequence that was looked at.

    Raises:
        UpstreamUnavailable: NATS does not answer.
        StreamGap, ReaderBroken, NATS errors: the stream lost its beginning meanwhile, or broke off.
    """
    await feed.hub.ready()
    ring, channel = feed.hub.ring, Channel(wanted)
    stream = await feed.stream()
    info = await stream.info()
    end = min(before or info.last_sequence + 1, info.last_sequence + 1)
    piece = _FIRST_PIECE
    while True:
        start = max(info.first_sequence, end - piece)
        if ring.holds(start) and ring.next_sequence >= end:
            numbers = range(ring.batch_of(start), ring.next_batch)
            events = [event for number in numbers for event in ring.events_of(number)]
            found = [e for e in events if start <= e.id.sequence < end and channel.takes(e)]
        else:
            found = await _between(feed, stream, channel, start, end)
        if len(found) >= count or start <= info.first_sequence or piece >= _FURTHEST:
            return found[::-1][:count], start
        piece = min(piece * _GROWS, _FURTHEST)


def remembered(feed: ChangeFeed, wanted: ChangeFilter, count: int) -> list[Event]:
    """The last `count` of those that the hub has in memory, the last first: NATS is not asked."""
    ring, channel = feed.hub.ring, Channel(wanted)
    found: list[Event] = []
    for number in reversed(range(ring.first_batch, ring.next_batch)):
        found += [event for event in reversed(ring.events_of(number)) if channel.takes(event)]
        if len(found) >= count:
            break
    return found[:count]


async def sequence_at(feed: ChangeFeed, at: datetime) -> int:
    """The first sequence that was stored at a time or later.

    Raises:
        UpstreamUnavailable: NATS does not answer.
    """
    stream = await feed.stream()
    return await stream.first_where(lambda message: message.stored_at >= at)


async def _between(
    feed: ChangeFeed, stream: Stream, channel: Channel, start: int, end: int
) -> list[Event]:
    from ssmd_stream.reader import Expectations, reading

    if start >= end:
        return []
    expected = Expectations(_BATCH, _HEARTBEAT_SECONDS, _EXPIRES_SECONDS)
    found: list[Event] = []
    async with reading(stream, start, subjects=channel.subjects, expectations=expected) as messages:
        while not messages.is_current and messages.next_sequence < end:
            batch = await messages.batch(_BATCH, _WAIT_SECONDS)
            # To judge whether it can be read takes longer than all else.
            fitting = (m for m in batch if m.sequence < end and _may_fit(channel, m))
            found += [Event.of(message, feed.unreadable) for message in fitting]
    return found


def _may_fit(channel: Channel, message: Delivery) -> bool:
    types = channel.wanted.types
    return not types or message.headers.get("Ssmd-Type", "change") in types
