"""What a connection's channels are: asked for, confirmed, known until when. No I/O.

Frames go in, events for the consumer come out; `ssmd_kalshi.socket` carries both. Acknowledgements
and data take the same way in: nothing is thrown away while something is awaited.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from math import inf

import structlog

from ssmd_kalshi import commands, frames, marketdata, metrics
from ssmd_kalshi.channels import CHUNK, Action, Channel, Command, Selection
from ssmd_kalshi.errors import BrokenReplyError, SubscribeRefusedError, excerpt
from ssmd_kalshi.feed import (
    Ended,
    FeedEvent,
    Gap,
    GapReason,
    MarketData,
    MarketsAdded,
    MarketsRemoved,
    Message,
    Refused,
    SnapshotsAsked,
    Subscribed,
    Unreadable,
)
from ssmd_kalshi.frames import Frame
from ssmd_kalshi.marketdata import BookSnapshot
from ssmd_kalshi.sequences import AckNumbers
from ssmd_kalshi.sequences import Sequence as Numbers

MAX_SIDS = 1000
"""Subscriptions whose numbers are followed, whether they are known or not."""

log = structlog.get_logger(__name__)


class Subscriptions:
    """The channels of one socket, across its connections."""

    def __init__(self, channels: Iterable[str | Selection], acks: AckNumbers | None = None) -> None:
        self.events: deque[FeedEvent] = deque()
        """What the consumer has not been told yet."""
        self.idle_until = 0.0
        """No command is due before, unless something happens first."""
        self.frame = 0
        """Frames of this connection so far."""
        self.late = _NOT_LATE
        """How long the last message was on its way."""
        self._acks = acks or AckNumbers()
        self._channels: dict[str, Channel] = {}
        self._by_sid: dict[int | None, Channel] = {}
        self._numbers: dict[int | None, Numbers] = {}
        self._commands: dict[int, Command] = {}
        self._next_id = 1
        self._counts: Counter[str] = Counter()
        self._said: dict[int, float] = {}
        """Of each code when the log told of it."""
        for one in channels:
            selection = Selection(one, required=True) if isinstance(one, str) else one
            self._channels.setdefault(selection.channel, Channel.of(selection))

    def __getitem__(self, channel: str) -> Channel:
        return self._channels[channel]

    @property
    def complete(self) -> bool:
        """Whether every channel is subscribed as wanted."""
        return all(channel.complete for channel in self._channels.values())

    @property
    def confirmed(self) -> bool:
        """Whether every channel is subscribed, whatever its list lacks."""
        return all(one.confirmed for one in self._channels.values() if one.is_needed)

    @property
    def deadlines(self) -> list[float]:
        """By when, on the loop's clock, the commands under way must be answered."""
        return [command.deadline for command in self._commands.values()]

    # --- wishes -----------------------------------------------------------------------------------

    def select(self, selection: Selection) -> None:
        """Want a channel, from now on with this selection."""
        known = self._channels.get(selection.channel)
        if known is None:
            self._channels[selection.channel] = Channel.of(selection)
        else:
            known.selection, known.gone, known.closed = selection, False, False
            wanted = set(selection.markets or ())
            known.want(selection.markets or (), [t for t in known.wanted if t not in wanted])
        self.idle_until = 0.0

    def want(self, channel: str, add: Iterable[str], remove: Iterable[str]) -> None:
        """Change the list of a channel; ValueError for one that takes all markets."""
        known = self._channels[channel]
        if not known.has_list:
            raise ValueError(f"the channel {channel} takes all markets: there is no list to change")
        known.want(add, remove)
        self.idle_until = 0.0

    def renew(self, channel: str, tickers: Iterable[str] | None = None) -> None:
        """Ask for the books of these markets again, or of all."""
        self._channels[channel].doubt(tickers)
        self.idle_until = 0.0

    def drop(self, channel: str) -> None:
        """Want nothing of a channel any more."""
        self._channels[channel].gone = True
        self.idle_until = 0.0

    # --- commands ---------------------------------------------------------------------------------

    def command(self, now: float, deadline: float) -> str | None:
        """The next command to be sent and answered by `deadline`; None when none is due."""
        for channel in self._channels.values():
            following = channel.following(now)
            if following is None:
                continue
            action, tickers = following
            number, self._next_id = self._next_id, self._next_id + 1
            self._commands[number] = Command(channel, action, tickers, deadline)
            channel.begin(action, tickers, now)
            return commands.text(number, channel, action, tickers)
        self.idle_until = min(channel.due() for channel in self._channels.values())
        return None

    # --- what comes in ----------------------------------------------------------------------------

    def lost(self, reason: GapReason, detail: str, known_until: datetime | None) -> None:
        """The connection is gone: remember from when on each channel is unknown.

        `known_until` where everything that arrived was handed to the consumer.
        """
        self._commands.clear()
        self._numbers.clear()
        self._by_sid.clear()
        self.frame, self.idle_until = 0, 0.0
        if known_until is not None:
            known_until -= self.late
        for channel in self._channels.values():
            if channel.confirmed:
                channel.known_until = known_until or channel.known_until
                channel.gap_reason, channel.gap_detail = reason, detail
            channel.lost()

    def take(self, raw: bytes, now: datetime, clock: float = 0.0) -> str | None:
        """Take in a frame that arrived at `now`; text when the connection is of no use any more.

        `clock` is the loop's. Raises SubscribeRefusedError where asking again would not help.
        """
        self.frame += 1
        if envelope := frames.market_envelope(raw):
            self._market_data(raw, envelope, now)
            return None
        try:
            frame = frames.decode_frame(raw)
            if frame.type not in _CONTROL and not isinstance(frame.msg, dict):
                raise BrokenReplyError(f"a message without a body: {excerpt(raw, 80)}")
        except BrokenReplyError as error:
            self._unreadable(raw, now, str(error))
            return None
        if frame.type in _CONTROL:
            self.idle_until = 0.0
            return self._control(frame, now, clock)
        if frame.type in marketdata.CHANNEL_OF:
            # Something of its envelope cannot be read.
            try:
                self._market_data(raw, frames.envelope_of(frame), now)
            except BrokenReplyError as error:
                self._unreadable(raw, now, str(error))
            return None
        self._message(frame, raw, now)
        return None

    def count(self) -> None:
        """Bring the metrics up to date."""
        for kind, count in self._counts.items():
            metrics.count_messages(kind, count)
        self._counts.clear()

    # --- acknowledgements -------------------------------------------------------------------------

    def _control(self, frame: Frame, now: datetime, clock: float) -> str | None:
        if missing := self._numbers_of(frame.subscription).acknowledged(frame.seq):
            self._missing(frame.subscription, now, GapReason.SEQUENCE, missing)
        command = self._commands.pop(frame.id or 0, None)
        match frame.type:
            case "subscribed":
                self._confirmed(command, frame, now, clock)
            case "error":
                return self._refused(command, frame, now, clock)
            case "unsubscribed":
                detail = "the exchange unsubscribed it"
                asked = command is not None and command.action is Action.UNSUBSCRIBE
                sid = frame.subscription
                if command is not None and sid not in self._by_sid:
                    sid = command.channel.sid
                self._ended(sid, detail, now, clock, asked=asked)
            case _:
                self._done(command, now)
        return None

    def _confirmed(
        self, command: Command | None, frame: Frame, now: datetime, clock: float
    ) -> None:
        if command is None:
            log.warning("subscription confirmed that nobody asked for", sid=frame.subscription)
            return
        channel = command.channel
        channel.confirmed, channel.sid = True, frame.subscription
        channel.confirmed_at = clock
        channel.done(command.action, command.tickers)
        self._by_sid[channel.sid] = channel
        self.events.append(Subscribed(channel.name, channel.sid, now))
        if command.tickers:
            self.events.append(MarketsAdded(channel.name, channel.sid, command.tickers, now))
        self._gap(channel, now, channel.gap_reason, channel.gap_detail)

    def _done(self, command: Command | None, now: datetime) -> None:
        if command is None:
            return
        channel, tickers = command.channel, command.tickers
        channel.done(command.action, tickers)
        match command.action:
            case Action.ADD:
                self.events.append(MarketsAdded(channel.name, channel.sid, tickers, now))
            case Action.REMOVE:
                self.events.append(MarketsRemoved(channel.name, channel.sid, tickers, now))
            case Action.SNAPSHOT:
                self.events.append(SnapshotsAsked(channel.name, channel.sid, tickers, now))
            case Action.SUBSCRIBE | Action.UNSUBSCRIBE:
                # An `ok` in place of their own answers: ask the other way.
                channel.under_way = None

    def _refused(
        self, command: Command | None, frame: Frame, now: datetime, clock: float
    ) -> str | None:
        code, said = frame.code or 0, frame.said
        if command is None:
            if code in frames.TERMINAL_CODES:
                self._ended(frame.subscription, f"code {code}: {said}", now, clock, code=code)
            elif clock >= self._said.get(code, -inf) + _SAY_SECONDS:
                self._said[code] = clock
                log.warning("websocket error", code=code, said=said)
            return None
        channel, action, tickers = command.channel, command.action, command.tickers
        channel.undone(action, tickers)
        if tickers and code in frames.BY_MARKET_CODES:
            self._refused_markets(command, frame, now)
        elif action is Action.SUBSCRIBE and channel.selection.required:
            if code in frames.REFUSED_CODES:
                raise SubscribeRefusedError(channel.name, code, said)
            return f"{channel.name} is refused with code {code}: {said}"
        elif code in frames.LATER_CODES:
            log.debug("command is refused for now", channel=channel.name, code=code, said=said)
            channel.back_off(clock)
        elif action is Action.SUBSCRIBE and code in frames.REFUSED_CODES:
            channel.closed = True
            self.events.append(Refused(channel.name, code, said, (), now))
        elif action is Action.SUBSCRIBE:
            return f"{channel.name} is refused with code {code}: {said}"
        elif code in frames.TERMINAL_CODES or code == frames.UNKNOWN_SID_CODE:
            self._ended(channel.sid, f"code {code}: {said}", now, clock, code=code)
        else:
            self._refuse(channel, tickers, code, said, now)
        return None

    def _refused_markets(self, command: Command, frame: Frame, now: datetime) -> None:
        """Halve the list until the exchange takes it, or it is one market that it refuses."""
        channel, tickers = command.channel, command.tickers
        code, said = frame.code or 0, frame.said
        named = frame.body.get("market_ticker")
        if len(tickers) == 1:
            # The reason is found: others need not be asked for one by one.
            channel.chunk = CHUNK
        if code == frames.LIMIT_CODE and len(tickers) == 1 and channel.held:
            channel.full = True
            self.events.append(Refused(channel.name, code, said, tuple(channel.to_add), now))
        elif len(tickers) == 1 or named in tickers:
            refused = (named,) if isinstance(named, str) and named in tickers else tickers
            self._refuse(channel, refused, code, said, now)
        else:
            channel.chunk = len(tickers) // 2

    def _refuse(
        self, channel: Channel, tickers: tuple[str, ...], code: int, said: str, now: datetime
    ) -> None:
        for ticker in tickers:
            channel.refuse(ticker)
        self.events.append(Refused(channel.name, code, said, tickers, now))

    def _ended(
        self,
        sid: int | None,
        detail: str,
        now: datetime,
        clock: float,
        *,
        code: int | None = None,
        asked: bool = False,
    ) -> None:
        """Ask again for what the exchange ended; without a sid that is known, for everything."""
        known = self._by_sid.pop(sid, None)
        for channel in [known] if known else list(self._channels.values()):
            if not channel.confirmed:
                continue
            self._by_sid.pop(channel.sid, None)
            self._numbers.pop(channel.sid, None)
            self._commands = {n: c for n, c in self._commands.items() if c.channel is not channel}
            channel.gap_reason, channel.gap_detail = GapReason.TERMINAL_ERROR, detail
            self.events.append(
                Ended(channel.name, channel.sid, detail, now, code, wanted=not asked)
            )
            if asked:
                channel.ended()
            else:
                channel.cut_off(clock)

    # --- data -------------------------------------------------------------------------------------

    def _market_data(self, raw: bytes, envelope: frames.Envelope, now: datetime) -> None:
        kind, sid, seq = envelope.type, envelope.sid, envelope.seq
        body = bytes(envelope.msg)
        self._counts[kind] += 1
        try:
            said = marketdata.read(kind, body)
        except BrokenReplyError as error:
            numbers = self._numbers_of(sid)
            numbers.missing(seq)
            name = marketdata.CHANNEL_OF[kind]
            self.events.append(Unreadable(raw, str(error), now, self.frame, sid, seq, name))
            self._missing(sid, now, GapReason.UNREADABLE, str(error))
            return
        channel = self._by_sid.get(sid)
        if seq is not None:
            numbers = self._numbers_of(sid)
            if numbers.is_old(seq) and marketdata.CHANNEL_OF[kind] == marketdata.BOOK:
                # What it says of a book is in the book, or in a gap; a trade may be told late.
                return
            if missing := numbers.missing(seq):
                self._missing(sid, now, GapReason.SEQUENCE, missing)
            if channel is None:
                channel = self._channels.get(marketdata.CHANNEL_OF[kind])
            if isinstance(said, BookSnapshot) and channel and seq == numbers.last:
                self._snapshot_came(channel, said.ticker)
        if channel is not None:
            self._arrived(channel, getattr(said, "exchange_time", None), now)
        self.events.append(
            MarketData(
                marketdata.CHANNEL_OF[kind],
                kind,
                sid,
                seq,
                self.frame,
                now,
                body,
                said,
                envelope.sending_ts_ms,
            )
        )

    def _arrived(self, channel: Channel, sent: datetime | None, now: datetime) -> None:
        """Nothing that was sent before a message can be missing once it is here; what was sent
        between then and now may still wait in some queue."""
        if sent is not None:
            self.late = max(now - sent, _NOT_LATE)
        sent = now - self.late
        if channel.known_until is None or channel.known_until < sent:
            channel.known_until = sent

    def _snapshot_came(self, channel: Channel, ticker: str) -> None:
        channel.arrived(ticker)
        if channel.under_way is Action.SNAPSHOT and not channel.awaited:
            # The snapshots themselves are the answer, whether an acknowledgement comes or not.
            channel.under_way = None
            self._commands = {
                n: c
                for n, c in self._commands.items()
                if c.channel is not channel or c.action is not Action.SNAPSHOT
            }
            self.idle_until = 0.0

    def _message(self, frame: Frame, raw: bytes, now: datetime) -> None:
        self._counts[frame.type] += 1
        if missing := self._numbers_of(frame.sid).missing(frame.seq):
            self._missing(frame.sid, now, GapReason.SEQUENCE, missing)
        if channel := self._by_sid.get(frame.sid):
            self._arrived(channel, frame.sent_at, now)
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
                self.frame,
            )
        )

    def _numbers_of(self, sid: int | None) -> Numbers:
        numbers = self._numbers.get(sid)
        if numbers is None:
            if len(self._numbers) >= MAX_SIDS:
                self._numbers = {s: n for s, n in self._numbers.items() if s in self._by_sid}
            numbers = self._numbers[sid] = Numbers(self._acks)
        return numbers

    def _unreadable(self, raw: bytes, now: datetime, reason: str) -> None:
        self.events.append(Unreadable(raw, reason, now, self.frame))
        for channel in self._channels.values():
            if channel.confirmed:
                self._broken(channel, now, GapReason.UNREADABLE, reason)

    def _missing(self, sid: int | None, now: datetime, reason: GapReason, detail: str) -> None:
        if channel := self._by_sid.get(sid):
            self._broken(channel, now, reason, detail)

    def _broken(self, channel: Channel, now: datetime, reason: GapReason, detail: str) -> None:
        """Something of a subscription that goes on is missing."""
        channel.doubt()
        self.idle_until = 0.0
        self._gap(channel, now, reason, detail)

    def _gap(self, channel: Channel, until: datetime, reason: GapReason, detail: str) -> None:
        metrics.SOCKET_GAPS.labels(reason.value).inc()
        self.events.append(Gap(channel.name, channel.known_until, until, reason, detail))
        channel.known_until = until


_NOT_LATE = timedelta(0)
_SAY_SECONDS = 60.0
"""Between two lines of the log about errors of one code that nobody asked for."""
_CONTROL = frozenset({"subscribed", "unsubscribed", "ok", "error"})
