"""What a WebSocket consumer sees: typed events, in order. See `ssmd_kalshi.socket`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec


class GapReason(StrEnum):
    """Why an interval of a channel is unknown."""

    START = "start"
    """The first subscription of this process: all before it is unknown."""
    CLOSED = "closed"
    """The connection was closed or lost."""
    SILENCE = "silence"
    """Neither a ping nor a message came for too long; the connection was given up."""
    SEQUENCE = "sequence"
    """A sequence number is missing."""
    TERMINAL_ERROR = "terminal_error"
    """The exchange ended the subscription (code 10, 17 or 25, or an unasked unsubscribe)."""
    UNREADABLE = "unreadable"
    """A frame came that could not be read."""


class Connected(msgspec.Struct, frozen=True):
    """The connection is open; nothing is subscribed yet."""

    at: datetime


class Disconnected(msgspec.Struct, frozen=True):
    """The connection was lost (`attempt` 0), or could not be opened again (`attempt` ≥ 1)."""

    at: datetime
    reason: GapReason
    detail: str
    attempt: int = 0


class Subscribed(msgspec.Struct, frozen=True):
    """The exchange confirmed a channel."""

    channel: str
    sid: int | None
    at: datetime


class Gap(msgspec.Struct, frozen=True):
    """Messages of `channel` sent between `since` and `until` may be missing; nothing replays them.

    `since` is None where nothing at all is known before `until` (START). After a lost connection it
    is when the last frame, pings included, arrived; `until` is when the new subscription was
    confirmed. `since` is a time of arrival: allow for delivery when comparing with the exchange's.
    """

    channel: str
    since: datetime | None
    until: datetime
    reason: GapReason
    detail: str = ""


class Message(msgspec.Struct, frozen=True):
    """One message of a subscription: `msg` is its body, `raw` the frame as received.

    `document` is the whole frame where `raw` is not JSON that every reader takes: a number out of
    range, half of a surrogate pair, too deep a value. What of the envelope cannot be read is None.
    `seq` is contiguous per `sid` where the exchange sends it; `sent_at` is its `sending_ts_ms`. A
    message may come twice, or late (a lower `seq` than the one before).
    """

    type: str
    sid: int | None
    seq: int | None
    sent_at: datetime | None
    msg: dict[str, Any]
    raw: bytes
    received_at: datetime
    document: dict[str, Any] | None = None


class Unreadable(msgspec.Struct, frozen=True):
    """A frame that is none of the exchange's, as received; a `Gap` of each channel follows it."""

    raw: bytes
    reason: str
    received_at: datetime


FeedEvent = Connected | Disconnected | Subscribed | Gap | Message | Unreadable
