"""WebSocket frames and sequence numbers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ssmd_kalshi import lenient, unread
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

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Frame(msgspec.Struct, frozen=True):
    """The envelope of everything that the exchange sends."""

    type: str
    id: int | None = None
    sid: int | None = None
    seq: int | None = None
    sending_ts_ms: int | float | None = None
    msg: dict[str, Any] | list[Any] | str | None = None

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
        if self.sending_ts_ms is None:
            return None
        try:
            return _EPOCH + timedelta(milliseconds=self.sending_ts_ms)
        except OverflowError:
            return None


_decoder = msgspec.json.Decoder(Frame)


def decode_frame(raw: bytes) -> Frame:
    """BrokenReplyError where the frame is not one of the exchange's.

    What cannot be read of the envelope is None: without its number a frame leaves a gap in the
    sequence, and that is said. What cannot be read of the body is left for who knows its fields:
    texts may hold NUL and unpaired surrogates, values may be nested to any depth.
    """
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        frame = _by_field(raw)
        if frame is None:
            raise BrokenReplyError(
                f"a WebSocket frame cannot be read ({excerpt(str(error), 100)}): {excerpt(raw, 80)}"
            ) from error
        return frame


def _by_field(raw: bytes) -> Frame | None:
    try:
        value = lenient.parse(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or unread.text_fault(value.get("type")):
        return None
    good = {
        name: value[name]
        for name, kinds in _ENVELOPE.items()
        if isinstance(value.get(name), kinds) and not isinstance(value[name], bool)
    }
    return Frame(value["type"], **good)


_ENVELOPE: Mapping[str, type | tuple[type, ...]] = {
    "id": int,
    "sid": int,
    "seq": int,
    "sending_ts_ms": (int, float),
    "msg": (dict, list, str),
}


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
