"""What a WebSocket consumer sees: typed events, in order. See `ssmd_kalshi.socket`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from ssmd_kalshi.marketdata import Said
from ssmd_kalshi.times import moment


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
    is when the last frame, pings included, arrived, less what the last message took to arrive: as
    much may have waited behind it. `until` is when the new subscription was confirmed.
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
    frame: int = 0


class MarketData(msgspec.Struct, frozen=True, gc=False):
    """One message of the channels trade, ticker or orderbook_delta: `said` is what it means, `body`
    its `msg` as it came.

    `frame` counts the frames of a connection from 1, acknowledgements included. A message may come
    twice, or late (a lower `seq` than the one before).
    """

    channel: str
    type: str
    sid: int | None
    seq: int | None
    frame: int
    received_at: datetime
    body: bytes
    said: Said
    sending_ts_ms: int | float | None = None

    @property
    def sent_at(self) -> datetime | None:
        return moment(self.sending_ts_ms)


class Unreadable(msgspec.Struct, frozen=True):
    """A frame that is none of the exchange's, as received; a `Gap` of each channel follows it.

    `channel` where it is known: the gap is that channel's alone.
    """

    raw: bytes
    reason: str
    received_at: datetime
    frame: int = 0
    sid: int | None = None
    seq: int | None = None
    channel: str = ""


# --- what became of commands ------------------------------------------------------------------


class MarketsAdded(msgspec.Struct, frozen=True):
    """The exchange confirmed these markets of a channel that has a list."""

    channel: str
    sid: int | None
    tickers: tuple[str, ...]
    at: datetime


class MarketsRemoved(msgspec.Struct, frozen=True):
    """The exchange confirmed that it says nothing of these markets any more."""

    channel: str
    sid: int | None
    tickers: tuple[str, ...]
    at: datetime


class SnapshotsAsked(msgspec.Struct, frozen=True):
    """The books of these markets were asked for again; until each snapshot they are not known."""

    channel: str
    sid: int | None
    tickers: tuple[str, ...]
    at: datetime


class Refused(msgspec.Struct, frozen=True):
    """The exchange refused these markets, or with none the channel; the rest goes on.

    With code 26 the subscription is full: these belong into another connection's. What was refused
    is not asked for again until the next connection, or until it is wanted anew; a full
    subscription takes more as soon as some of its markets are removed.
    """

    channel: str
    code: int
    said: str
    tickers: tuple[str, ...]
    at: datetime


class Ended(msgspec.Struct, frozen=True):
    """The exchange ended a subscription (code 10, 17, 25, or unasked); it is asked for again.

    Also after an unsubscribe that was asked for (`wanted` false).
    """

    channel: str
    sid: int | None
    detail: str
    at: datetime
    code: int | None = None
    wanted: bool = True


FeedEvent = (
    Connected
    | Disconnected
    | Subscribed
    | Gap
    | Message
    | MarketData
    | Unreadable
    | MarketsAdded
    | MarketsRemoved
    | SnapshotsAsked
    | Refused
    | Ended
)
