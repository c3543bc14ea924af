"""What a connection's channels are: asked for, confirmed, known until when. No I/O.

Frames go in, events for the consumer come out; `ssmd_kalshi.socket` carries both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from ssmd_kalshi import frames, metrics
from ssmd_kalshi.errors import BrokenReplyError, SubscribeRefusedError, excerpt
from ssmd_kalshi.feed import FeedEvent, Gap, GapReason, Message, Subscribed, Unreadable
from ssmd_kalshi.frames import Frame

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Channel:
    """A channel that the consumer wants, and how far it is known."""

    name: str
    sid: int | None = None
    asked: bool = False
    confirmed: bool = False
    sequence: frames.Sequence = field(default_factory=frames.Sequence)
    known_until: datetime | None = None
    """The last moment up to which nothing can be missing; None before the first subscription."""
    gap_reason: GapReason = GapReason.START
    gap_detail: str = ""


class Subscriptions:
    """The channels of one socket, across its connections."""

    def __init__(self, channels: Sequence[str]) -> None:
        self.events: deque[FeedEvent] = deque()
        """What the consumer has not been told yet."""
        self._channels = [Channel(name) for name in dict.fromkeys(channels)]
        self._commands: dict[int, tuple[Channel, float]] = {}
        self._next_id = 1

    @property
    def complete(self) -> bool:
        """Whether every channel is subscribed."""
        return all(channel.confirmed for channel in self._channels)

    @property
    def deadlines(self) -> list[float]:
        """By when, on the loop's clock, the commands under way must be answered."""
        return [deadline for _, deadline in self._commands.values()]

    def command(self, deadline: float) -> str | None:
        """The command for a channel that nobody asked for yet; None when all are."""
        channel = next((channel for channel in self._channels if not channel.asked), None)
        if channel is None:
            return None
        number, self._next_id = self._next_id, self._next_id + 1
        channel.asked = True
        channel.sequence = frames.Sequence()
        self._commands[number] = (channel, deadline)
        return frames.subscribe_command(number, channel.name).decode()

    def lost(self, reason: GapReason, detail: str, known_until: datetime | None) -> None:
        """The connection is gone: remember from when on each channel is unknown.

        `known_until` where everything that arrived was handed to the consumer.
        """
        self._commands.clear()
        for channel in self._channels:
            if channel.confirmed:
                channel.known_until = known_until or channel.known_until
                channel.gap_reason, channel.gap_detail = reason, detail
            channel.asked = channel.confirmed = False

    def take(self, raw: bytes, now: datetime) -> str | None:
        """Take in a frame that arrived at `now`; text when the connection is of no use any more.

        Raises SubscribeRefusedError where asking again would not help.
        """
        try:
            frame = frames.decode_frame(raw)
            if frame.type not in _CONTROL and not isinstance(frame.msg, dict):
                raise BrokenReplyError(f"a message without a body: {excerpt(raw, 80)}")
        except BrokenReplyError as error:
            self._unreadable(raw, now, str(error))
            return None
        match frame.type:
            case "subscribed":
                self._confirmed(frame, now)
            case "error":
                return self._refused(frame)
            case "unsubscribed":
                self._ended(frame, "the exchange unsubscribed it")
            case "ok":
                pass
            case _:
                self._message(frame, raw, now)
        return None

    def _confirmed(self, frame: Frame, now: datetime) -> None:
        channel, _ = self._commands.pop(frame.id or 0, (None, 0.0))
        if channel is None:
            log.warning("subscription confirmed that nobody asked for", sid=frame.subscription)
            return
        channel.confirmed = True
        channel.sid = frame.subscription
        self.events.append(Subscribed(channel.name, channel.sid, now))
        self._gap(channel, now, channel.gap_reason, channel.gap_detail)

    def _refused(self, frame: Frame) -> str | None:
        code, said = frame.code or 0, frame.said
        channel, _ = self._commands.pop(frame.id or 0, (None, 0.0))
        if channel is not None:
            if code in frames.REFUSED_CODES:
                raise SubscribeRefusedError(channel.name, code, said)
            return f"{channel.name} is refused with code {code}: {said}"
        if code in frames.TERMINAL_CODES:
            self._ended(frame, f"code {code}: {said}")
        else:
            log.warning("websocket error", code=code, said=said)
        return None

    def _ended(self, frame: Frame, detail: str) -> None:
        """Ask again for what the exchange ended; without a sid, for everything."""
        sid = frame.subscription
        known = any(channel.sid == sid for channel in self._channels)
        for channel in self._channels:
            if channel.confirmed and (not known or channel.sid == sid):
                channel.gap_reason = GapReason.TERMINAL_ERROR
                channel.gap_detail = detail
                channel.asked = channel.confirmed = False

    def _message(self, frame: Frame, raw: bytes, now: datetime) -> None:
        metrics.SOCKET_MESSAGES.labels(_type_label(frame.type)).inc()
        for channel in self._channels:
            if channel.confirmed and channel.sid == frame.sid:
                if missing := channel.sequence.missing(frame.seq):
                    self._gap(channel, now, GapReason.SEQUENCE, missing)
                channel.known_until = now
        self.events.append(
            Message(
                frame.type,
                frame.sid,
                frame.seq,
                frame.sent_at,
                frame.body,
                raw,
                now,
                frame.document,
            )
        )

    def _unreadable(self, raw: bytes, now: datetime, reason: str) -> None:
        self.events.append(Unreadable(raw, reason, now))
        for channel in self._channels:
            if channel.confirmed:
                self._gap(channel, now, GapReason.UNREADABLE, reason)

    def _gap(self, channel: Channel, until: datetime, reason: GapReason, detail: str) -> None:
        metrics.SOCKET_GAPS.labels(reason.value).inc()
        self.events.append(Gap(channel.name, channel.known_until, until, reason, detail))
        channel.known_until = until


_CONTROL = frozenset({"subscribed", "unsubscribed", "ok", "error"})
_TYPES = frozenset(
    {
        "market_lifecycle_v2",
        "event_lifecycle",
        "event_fee_update",
        "multivariate_market_lifecycle",
    }
)


def _type_label(name: str) -> str:
    return name if name in _TYPES else "other"
