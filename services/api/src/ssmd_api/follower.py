"""Who follows /v1/changes: a connection that is written to, and why it no longer is.

A follower is no task and has no timer: the hub writes to it while its connection has room, and
remembers where in the ring it goes on once it has room again.
"""

import asyncio
from enum import StrEnum
from typing import Final

from ssmd_api.metrics import READERS_CUT_OFF
from ssmd_api.ring import Channel, unframed

_UNSENT_BYTES: Final = 1 << 18
"""A connection that has not sent so much yet is given no more."""


class Ended(StrEnum):
    """Why a reader's stream ends."""

    STOPPING = "stopping"
    BROKEN = "broken"
    GONE = "gone"
    LEFT = "left"
    SLOW = "slow"
    KEY = "key"


class Follower:
    """A connection that is written to; `ended` says why it no longer is."""

    __slots__ = ("batch", "channel", "chunked", "ended", "since", "start", "told_at", "transport")

    def __init__(self, transport: asyncio.WriteTransport, *, chunked: bool) -> None:
        self.transport = transport
        self.chunked = chunked
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self.channel: Channel
        self.batch: int | None = None
        """The batch that it gets next; None while it has had all."""
        self.start = 0
        """Of that batch, from this sequence on."""
        self.told_at = self.since = 0.0
        """When it was written to last; when it last had room."""

    def end(self, why: Ended) -> None:
        if not self.ended.done():
            self.ended.set_result(why)

    def write(self, chunk: bytes, now: float) -> None:
        if self.transport.is_closing():
            # uvloop refuses to write then.
            self.end(Ended.LEFT)
            return
        self.transport.write(chunk if self.chunked else unframed(chunk))
        self.told_at = now

    @property
    def has_room(self) -> bool:
        return self.transport.is_closing() or self.transport.get_write_buffer_size() < _UNSENT_BYTES


def cut_off(follower: Follower) -> None:
    """End a connection that takes no more: what is not sent yet, it gets when it comes again."""
    READERS_CUT_OFF.inc()
    follower.transport.abort()
