"""From when to when the capture was whole, from its records alone. Pure.

Times are those of the connector's clock (`received_at`). What is said of a channel that carries all
markets holds for each market of the connector's scope; books have lists.

Of one moment the best that any connector has counts; of one connector

1. a subscription is `complete` up to the last count of its session, and `unknown` from there to its
   end or to the next session's subscription: after a crash nothing is known beyond the last count;
2. a gap is a `gap`, whatever a count says: counts go on over a socket that has fallen silent; so is
   the time between two counts of which the later one has more drops; of a book, up to the first
   count after its new snapshot was asked for, or until it is subscribed anew;
3. trades of a gap, or of whatever else was not complete, that were read again are `repaired`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from ssmd_stream.market.messages import SessionRecord
from ssmd_stream.market.timeline import Interval, Span, Timeline

TRADE, TICKER, BOOK = "trade", "ticker", "book"
CHANNELS: Final = (TRADE, TICKER, BOOK)
_OURS: Final = {"orderbook_delta": BOOK}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class State(StrEnum):
    """The better one first."""

    COMPLETE = "complete"
    REPAIRED = "repaired"
    GAP = "gap"
    UNKNOWN = "unknown"
    NOT_SUBSCRIBED = "not subscribed"


def moment(text: str) -> int:
    """Microseconds since 1970 of a time of a message."""
    return of_datetime(datetime.fromisoformat(text))


def of_datetime(at: datetime) -> int:
    """The same of a datetime."""
    return (at - _EPOCH) // _MICROSECOND


@dataclass(slots=True)
class _Subscription:
    """Of one session; `until` is None while no record ends it, `told` when a record told of it."""

    since: int
    told: int
    tickers: frozenset[str] | None
    until: int | None = None


@dataclass(slots=True)
class _Session:
    first: int
    begun: bool = False
    """Whether its records are here from the beginning on."""
    ended: int | None = None
    counts: list[int] = field(default_factory=list)
    subscriptions: dict[str, list[_Subscription]] = field(default_factory=lambda: defaultdict(list))
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Gap:
    since: int
    until: int
    why: str


@dataclass(slots=True)
class _Connector:
    sessions: dict[str, _Session] = field(default_factory=dict)
    gaps: dict[str, list[_Gap]] = field(default_factory=lambda: defaultdict(list))
    repairs: list[Span] = field(default_factory=list)
    begun: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Of each market when its book began anew: subscribed, or its snapshot came."""
    resnapshots: list[tuple[int, str, frozenset[str] | None]] = field(default_factory=list)


class Coverage:
    """Fed with all records of one stream in its order, from the beginning of each session on."""

    def __init__(self) -> None:
        self._connectors: dict[str, _Connector] = defaultdict(_Connector)
        self.tickers: set[str] = set()
        """Markets whose books were ever subscribed."""
        self.last_record_at: int | None = None

    def take(self, record: SessionRecord) -> None:
        """The next record."""
        connector = self._connectors[record.connector]
        at = moment(record.received_at)
        self.last_record_at = max(at, self.last_record_at or at)
        session = connector.sessions.setdefault(record.session, _Session(at))
        channel = _OURS.get(record.of_channel or "", record.of_channel)
        tickers = None if record.tickers is None else frozenset(record.tickers)
        match record.what:
            case "opened":
                session.begun = True
            case "subscribed":
                assert channel is not None
                # A list without its markets is filled by `added`.
                listed = frozenset[str]() if tickers is None and not record.everything else tickers
                self._subscribe(connector, session, channel, at, listed)
            case "added":
                self._subscribe(connector, session, channel or BOOK, at, tickers)
            case "takeover":
                session.begun = True
                if record.since is not None:
                    since = moment(record.since)
                    for name in (TRADE, TICKER):
                        session.subscriptions[name].append(_Subscription(since, at, None))
            case "removed":
                _end(session.subscriptions[channel or BOOK], at, tickers)
            case "unsubscribed" | "error":
                for name in [channel] if channel else list(session.subscriptions):
                    _end(session.subscriptions[name], at, None)
            case "closed":
                session.ended = at
                for subscriptions in session.subscriptions.values():
                    _end(subscriptions, at, None)
            case "count":
                self._count(connector, session, at, record.dropped or {})
            case "dropped":
                for name in record.published or {}:
                    since = session.counts[-1] if session.counts else at
                    connector.gaps[name].append(_Gap(since, at, "messages found no room"))
            case "gap":
                if record.since is not None:
                    until = at if record.until is None else moment(record.until)
                    why = record.reason or "messages were missed"
                    gap = _Gap(moment(record.since), until, why)
                    for name in [channel] if channel else CHANNELS:
                        connector.gaps[name].append(gap)
            case "resnapshot":
                connector.resnapshots.append((at, record.session, tickers))
            case "repaired":
                if record.since is not None and record.until is not None:
                    connector.repairs.append(Span(moment(record.since), moment(record.until)))
            case _:
                pass

    def _subscribe(
        self,
        connector: _Connector,
        session: _Session,
        channel: str,
        at: int,
        tickers: frozenset[str] | None,
    ) -> None:
        if tickers is not None and channel == BOOK:
            self.tickers |= tickers
            for ticker in tickers:
                connector.begun[ticker].append(at)
        session.subscriptions[channel].append(_Subscription(at, at, tickers))

    def _count(
        self, connector: _Connector, session: _Session, at: int, dropped: dict[str, int]
    ) -> None:
        since = session.counts[-1] if session.counts else at
        for name, number in dropped.items():
            before = session.dropped.get(name, 0)
            # A session that leads anew counts from 0.
            if number > (before if number >= before else 0):
                begun = [one.since for one in session.subscriptions.get(name, ())]
                start = since if session.counts else min(begun, default=at)
                connector.gaps[name].append(_Gap(start, at, "messages found no room"))
        session.dropped = dict(dropped)
        session.counts.append(at)

    def timeline(
        self, channel: str, ticker: str | None, span: Span, lost: Sequence[Interval] = ()
    ) -> Timeline:
        """What is known of a channel, of books of one market, within a span of time. `lost` is what
        the archive does not have of the records: nothing is known of it.
        """
        whole = Timeline(span, State.NOT_SUBSCRIBED, "")
        for connector in self._connectors.values():
            one = self._of_connector(connector, channel, ticker, span)
            for interval in one.intervals():
                better = [s for s in State if _RANK[s] > _RANK[State(interval.state)]]
                whole.paint(interval, over=better)
        for interval in lost:
            whole.paint(interval)
        return whole

    def _of_connector(
        self, connector: _Connector, channel: str, ticker: str | None, span: Span
    ) -> Timeline:
        line = Timeline(span, State.NOT_SUBSCRIBED, "")
        starts = sorted(
            (one.told, name)
            for name, session in connector.sessions.items()
            for one in session.subscriptions.get(channel, ())
        )
        pieces: list[Interval] = []
        for name, session in connector.sessions.items():
            if not session.begun:
                ended = session.ended or _next(starts, session.first, name, span.until)
                why = "the beginning of the session is not here"
                pieces.append(Interval(session.first, ended, State.UNKNOWN, why))
            for one in session.subscriptions.get(channel, ()):
                if one.tickers is not None and ticker not in one.tickers:
                    continue
                last = session.counts[-1] if session.counts else one.since
                known = max(last, one.since)
                until = one.until
                if until is None:
                    # It ended without a word, or goes on: until somebody else begins.
                    until = _next(starts, known, name, span.until)
                pieces.append(Interval(known, until, State.UNKNOWN, "nothing after the last count"))
                pieces.append(Interval(one.since, min(known, until), State.COMPLETE, ""))
        for piece in sorted(pieces, key=lambda one: -_RANK[State(one.state)]):
            line.paint(piece)
        for gap in connector.gaps.get(channel, ()):
            until = gap.until
            if channel == BOOK and ticker is not None:
                until = self._whole_again(connector, ticker, gap, span.until)
            line.paint(Interval(gap.since, gap.until, State.GAP, gap.why))
            # Where it is not subscribed later, that stays so.
            rest = Interval(gap.until, until, State.GAP, "no snapshot came yet")
            line.paint(rest, over=[State.COMPLETE, State.UNKNOWN])
        if channel == TRADE:
            others = [state for state in State if state is not State.COMPLETE]
            for repair in connector.repairs:
                why = "read again over REST"
                line.paint(Interval(repair.since, repair.until, State.REPAIRED, why), over=others)
        return line

    def _whole_again(self, connector: _Connector, ticker: str, gap: _Gap, end: int) -> int:
        """When the book of a market began anew after a gap."""
        found = [at for at in connector.begun.get(ticker, ()) if at > gap.since]
        for at, session, tickers in connector.resnapshots:
            if at >= gap.since and (tickers is None or ticker in tickers):
                counts = connector.sessions[session].counts
                found += [count for count in counts if count > at][:1]
        return max(gap.until, min(found, default=end))


def _next(starts: list[tuple[int, str]], after: int, session: str, end: int) -> int:
    """When another session subscribed next."""
    return next((at for at, name in starts if at > after and name != session), end)


_RANK: Final = {state: rank for rank, state in enumerate(State)}


def _end(subscriptions: Iterable[_Subscription], at: int, tickers: frozenset[str] | None) -> None:
    """End them, or take these markets out of their lists."""
    found = list(subscriptions)
    for one in found:
        if one.until is not None:
            continue
        if tickers is None or (one.tickers is not None and one.tickers <= tickers):
            one.until = at
        elif one.tickers is not None and (gone := one.tickers & tickers):
            one.tickers -= gone
            assert isinstance(subscriptions, list)
            subscriptions.append(_Subscription(one.since, one.told, gone, at))
