"""WebSocket frames and sequence numbers. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ssmd_kalshi import lenient
from ssmd_kalshi.errors import BrokenReplyError, excerpt

TERMINAL_CODES = frozenset({10, 17, 25})
"""Channel error, internal error, buffer overflow: the subscription is over, subscribe again."""

REFUSED_CODES = frozenset(
    {2, 3, 4, 5, 8, 9, 11, 12, 13, 14, 15, 16, 19, 20, 21, 22, 23, 24, 26, 28}
)
"""Answers to a subscribe command that asking again does not change."""

CODES = {
    1: "Unable to process message",
    2: "Params required",
    3: "Channels required",
    4: "Subscription IDs required",
    5: "Unknown command",
    6: "Already subscribed",
    7: "Unknown subscription ID",
    8: "Unknown channel name",
    9: "Authentication required",
    10: "Channel error",
    11: "Invalid parameter",
    12: "Exactly one subscription ID is required",
    13: "Unsupported action",
    14: "Market Ticker required",
    15: "Action required",
    16: "Market not found",
    17: "Internal error",
    18: "Command timeout",
    19: "shard_factor must be > 0",
    20: "shard_factor is required when shard_key is set",
    21: "shard_key must be >= 0 and < shard_factor",
    22: "shard_factor must be <= 100",
    23: "Match IDs required",
    24: "Index IDs required",
    25: "Subscription buffer overflow",
    26: "Subscription market limit exceeded",
    27: "Too many requests",
    28: "Underlying tickers required",
}

RESTART_DISTANCE = 1000
"""A number this far below the last one is a new count, not a late message."""

_1970 = datetime(1970, 1, 1, tzinfo=UTC)


class Frame(msgspec.Struct, frozen=True):
    """The envelope of everything that the exchange sends; a field that cannot be read is None."""

    type: str
    id: int | None = None
    sid: int | None = None
    seq: int | None = None
    sending_ts_ms: int | float | None = None
    msg: dict[str, Any] | list[Any] | str | None = None

    @property
    def document(self) -> dict[str, Any] | None:
        """The whole frame where the usual reader refused it (`ssmd_kalshi.lenient`)."""
        return None

    @property
    def body(self) -> dict[str, Any]:
        return self.msg if isinstance(self.msg, dict) else {}

    @property
    def code(self) -> int | None:
        """The code of an error frame."""
        code = self.body.get("code")
        return code if isinstance(code, int) else None

    @property
    def said(self) -> str:
        """The exchange's words in an error frame, or the documented ones of its code."""
        said = self.body.get("msg")
        return excerpt(said) if isinstance(said, str) else CODES.get(self.code or 0, "no text")

    @property
    def subscription(self) -> int | None:
        """The sid that a control frame is about, on the envelope or in the body."""
        sid = self.sid if self.sid is not None else self.body.get("sid")
        return sid if isinstance(sid, int) else None

    @property
    def sent_at(self) -> datetime | None:
        if self.sending_ts_ms is None or self.sending_ts_ms < 0:
            return None
        try:
            return _1970 + timedelta(milliseconds=self.sending_ts_ms)
        except (OverflowError, ValueError):
            return None


class _ReadByField(Frame, frozen=True, kw_only=True):
    whole: dict[str, Any]

    @property
    def document(self) -> dict[str, Any] | None:
        return self.whole


_decoder = msgspec.json.Decoder(Frame)


def decode_frame(raw: bytes) -> Frame:
    """BrokenReplyError where the frame is not one of the exchange's: no JSON object with a type."""
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return _by_field(raw)


def _by_field(raw: bytes) -> Frame:
    try:
        document = lenient.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BrokenReplyError(
            f"a WebSocket frame cannot be read ({excerpt(str(error), 100)}): {excerpt(raw, 80)}"
        ) from error
    kind = document.get("type") if isinstance(document, dict) else None
    if not isinstance(kind, str):
        raise BrokenReplyError(f"a WebSocket frame has no type: {excerpt(raw, 80)}")

    def number(name: str) -> int | None:
        value = document.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    sent, msg = document.get("sending_ts_ms"), document.get("msg")
    return _ReadByField(
        type=kind,
        id=number("id"),
        sid=number("sid"),
        seq=number("seq"),
        sending_ts_ms=sent if isinstance(sent, float) else number("sending_ts_ms"),
        msg=msg if isinstance(msg, dict | list | str) else None,
        whole=document,
    )


def subscribe_command(command_id: int, channel: str) -> bytes:
    return msgspec.json.encode(
        {"id": command_id, "cmd": "subscribe", "params": {"channels": [channel]}}
    )


class Sequence:
    """The numbers of one subscription; the specification's least is the first, 1."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = 0

    def missing(self, seq: int | None) -> str:
        """What is missing before this number, in words; "" if nothing, a repetition, or late."""
        last = self.last
        if seq is None:
            return ""
        if seq == last + 1:
            self.last = seq
            return ""
        if seq > last or last - seq >= RESTART_DISTANCE:
            self.last = seq
            return f"expected {last + 1}, got {seq}"
        return ""
