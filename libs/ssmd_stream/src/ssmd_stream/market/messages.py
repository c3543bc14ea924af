"""The messages of MARKET_DATA and MARKET_BOOKS_<shard>: one JSON object each. Pure.

What stands beside `msg` is the contract; `msg` is the exchange's own object, the evidence. Prices
are exact texts of dollars with at least four decimals, counts of contracts with at least two, times
RFC 3339 in UTC with microseconds. A field without a value is absent.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from ssmd_common.book import Level

VERSION: Final = 1

Source = Literal["ws", "rest"]


class Captured(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="channel", gc=False):
    """What every message has.

    `session` is one life of one WebSocket connection, `frame` counts its frames from 1: together
    they order and identify. `source` is `rest` for what a repair fetched; its `frame` then counts
    what the repair published, and `session` is the repair's own.
    """

    v: int
    connector: str
    session: str
    frame: int
    received_at: str

    @property
    def id(self) -> str:
        """What tells it from every other message of its stream (`Nats-Msg-Id`)."""
        return f"{self.session}.{self.frame}"


class _FromTheExchange(Captured, kw_only=True, omit_defaults=True, gc=False):
    source: Source
    series: str | None = None
    event: str | None = None
    ticker: str
    sid: int | None = None
    seq: int | None = None
    exchange_time: str | None = None
    msg: msgspec.Raw


class TradeMessage(_FromTheExchange, kw_only=True, omit_defaults=True, tag="trade", gc=False):
    """A trade; `price` is what YES cost, `taker_side` the outcome that the taker bet on."""

    trade_id: str
    price: str
    count: str
    taker_side: Literal["yes", "no"] | None = None
    block: bool = False


class TickerMessage(_FromTheExchange, kw_only=True, omit_defaults=True, tag="ticker", gc=False):
    """A quote."""

    price: str | None = None
    yes_bid: str | None = None
    yes_ask: str | None = None
    yes_bid_size: str | None = None
    yes_ask_size: str | None = None
    last_size: str | None = None
    volume: str | None = None
    open_interest: str | None = None


class BookMessage(_FromTheExchange, kw_only=True, omit_defaults=True, tag="book", gc=False):
    """A snapshot (`yes` and `no`, the levels of each side) or a change of one level (`side`,
    `price`, `delta`). `yes_price`: NO's prices are what YES costs there."""

    yes_price: bool
    yes: tuple[Level, ...] | None = None
    no: tuple[Level, ...] | None = None
    side: Literal["yes", "no"] | None = None
    price: str | None = None
    delta: str | None = None


class UnreadableMessage(Captured, kw_only=True, omit_defaults=True, tag="unreadable", gc=False):
    """A frame that could not be read: its bytes in base64, and why."""

    reason: str
    of_channel: str | None = None
    sid: int | None = None
    seq: int | None = None
    raw: bytes


What = Literal[
    "opened",
    "takeover",
    "scope",
    "left_out",
    "subscribed",
    "added",
    "removed",
    "unsubscribed",
    "refused",
    "count",
    "gap",
    "resnapshot",
    "error",
    "dropped",
    "repaired",
    "closed",
]


class SessionRecord(Captured, kw_only=True, omit_defaults=True, tag="session", gc=False):
    """What happened to the capture. From these alone follows for each market and channel from when
    to when it was whole; after a crash nothing is known beyond the last `count`.

    `frame` is the last frame of the session that the record knows of, `n` numbers the session's
    records from 1. `of_channel` is what it is about, None the whole connection.
    """

    n: int
    what: What
    of_channel: str | None = None
    sid: int | None = None
    tickers: tuple[str, ...] | None = None
    """added, removed, refused, resnapshot: which markets; absent: all. takeover: whose books are
    heard, and begin with their next snapshots. left_out: of which the scope publishes nothing."""
    everything: bool = False
    """subscribed: the channel carries all markets."""
    yes_price: bool | None = None
    selectors: list[dict[str, Any]] | None = None
    """scope: whose trades and quotes are published, as the scope file says it; absent: all."""
    multivariate: bool | None = None
    """scope: whether multivariate markets (KXMVE…) are published."""
    published: dict[str, int] | None = None
    """count: messages of each channel so far; dropped: how many of each were dropped."""
    dropped: dict[str, int] | None = None
    since: str | None = None
    until: str | None = None
    """gap: what may be missing was sent between these; count: what was sent up to then was heard;
    repaired: what was asked for; takeover: the stream has all that the session heard since then
    (absent: nothing was subscribed)."""
    trades: int | None = None
    """repaired: how many trades were found that the stream did not have."""
    code: int | None = None
    reason: str | None = None

    @property
    def id(self) -> str:
        return f"{self.session}.r{self.n}"


Message = TradeMessage | TickerMessage | BookMessage | UnreadableMessage | SessionRecord

_encode = msgspec.json.Encoder().encode
_LINE_FEED, _CARRIAGE_RETURN = b"\n\r"
_WITHOUT_FRACTION = len("2026-11-28T17:00:00Z")
_decode = msgspec.json.Decoder(Message).decode


def encoded(message: Message) -> bytes:
    """The payload; it is one line."""
    return _encode(message)


def decoded(payload: bytes) -> Message:
    """ValueError (also of msgspec) where it is none of these."""
    message: Message = _decode(payload)
    return message


def evidence(body: bytes) -> msgspec.Raw:
    """The exchange's object as it came, on one line: line breaks stand between tokens only."""
    # Numbers are looked for ten times as fast as texts of one letter.
    if _LINE_FEED in body or _CARRIAGE_RETURN in body:
        body = body.replace(b"\n", b" ").replace(b"\r", b" ")
    return msgspec.Raw(body)


def time_text(moment: datetime) -> str:
    """A moment in UTC as the messages have it."""
    # A zone of another name is not ours: the text says Z.
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    # Ten times as fast as isoformat, which is a third of a message's whole time.
    text = _encode(moment)[1:-1].decode()
    return text if len(text) > _WITHOUT_FRACTION else f"{text[:-1]}.000000Z"
