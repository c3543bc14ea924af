"""From when to when the capture was whole, from its records alone. Pure.

Times are those of the connector's clock (`received_at`). What is said of a channel that carries all
markets holds for each market of the connector's scope; books have lists.

Of one moment the best that any connector has counts; of one connector

1. a subscription is `complete` up to what the last count of its session heard (`until`; of older
   counts their own time), and `unknown` from there to its end or to the next subscription of a
   session: after a crash nothing is known beyond it, and a socket that is silent may be dead;
2. a gap is a `gap`, whatever a count says; so is the time between two counts of which the later one
   has more drops; of a book, up to the first count after its new snapshot was asked for, or until
   it is subscribed anew (a takeover says of books only that they are heard: their snapshots are
   still to come);
3. a market that the session's scope leaves out is `not subscribed` while that scope holds, also in
   gaps, and repairs do not change it;
4. trades of a gap, or of whatever else was not complete, that were read again are `repaired`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, TypeAlias

from ssmd_stream.market.messages import SessionRecord
from ssmd_stream.market.scopes import Scopes
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
    """Of one session; `until` is None while no record ends it, `told` when a record told of it.
    `begins` is whether a book's snapshot comes with it."""

    since: int
    told: int
    until: int | None = None
    begins: bool = True


_Markets: TypeAlias = dict[str | None, list[_Subscription]]
_ALL: Final = None
"""In the place of a market: every one."""


class _Session:
    def __init__(self, name: str, first: int) -> None:
        self.name = name
        self.first = first
        self.begun = False
        """Whether its records are here from the beginning on."""
        self.ended: int | None = None
        self.counts: list[int] = []
        self.dropped: dict[str, int] = {}
        self.scopes = Scopes()
        self.subscriptions: dict[str, _Markets] = {}
        """Of each channel, of each market."""

    def subscribe(
        self,
        channel: str,
        markets: Iterable[str | None],
        since: int,
        told: int,
        *,
        begins: bool = True,
    ) -> None:
        known = self.subscriptions.setdefault(channel, {})
        for market in markets:
            known.setdefault(market, []).append(_Subscription(since, told, begins=begins))

    def end(self, channel: str, at: int, markets: Iterable[str | None] | None = None) -> None:
        """Of these markets, by default of all."""
        known = self.subscriptions.get(channel, {})
        for market in list(known) if markets is None else markets:
            for one in known.get(market, ()):
                if one.until is None:
                    one.until = at

    def counted(self, channel: str, now: int) -> int:
        """Up to when the last count goes; without any, when the channel was subscribed."""
        if self.counts:
            return self.counts[-1]
        begun = self.subscriptions.get(channel, {}).values()
        return min((one.since for each in begun for one in each), default=now)

    def known(self, since: int) -> int:
        """Up to when something is known of what has held since then."""
        return max(self.counts[-1], since) if self.counts else since

    def count_after(self, at: int) -> int | None:
        """The first count that came later."""
        place = bisect_right(self.counts, at)
        return self.counts[place] if place < len(self.counts) else None

    def of(self, channel: str, ticker: str | None) -> Iterator[_Subscription]:
        known = self.subscriptions.get(channel, {})
        yield from known.get(_ALL, ())
        if ticker is not None:
            yield from known.get(ticker, ())


@dataclass(slots=True)
class _Gap:
    since: int
    until: int
    why: str


@dataclass(slots=True)
class _Repair:
    """Trades of a span were read again, told by a session at a moment."""

    span: Span
    session: _Session
    at: int

    def left_out(self, ticker: str | None) -> bool:
        """Whether the scope of then left a market out: its trades were not among them."""
        scope = self.session.scopes.at(self.at)
        return ticker is not None and scope is not None and scope.leaves_out(ticker)


def _until(gap: _Gap) -> int:
    return gap.until


class _Connector:
    def __init__(self) -> None:
        self.sessions: dict[str, _Session] = {}
        self.gaps: dict[str, list[_Gap]] = defaultdict(list)
        self.repairs: list[_Repair] = []
        self.resnapshots: dict[str | None, list[tuple[int, _Session]]] = defaultdict(list)
        """Of each market, or of all, when its book was asked for anew."""
        self.begins: dict[str, list[tuple[int, str]]] = defaultdict(list)
        """Of each channel when a session was known to be subscribed, and which."""

    def subscribe(
        self,
        session: _Session,
        channel: str,
        markets: Iterable[str | None],
        since: int,
        told: int,
        *,
        begins: bool = True,
    ) -> None:
        session.subscribe(channel, markets, since, told, begins=begins)
        self.begins[channel].append((told, session.name))

    def gaps_within(self, channel: str, span: Span) -> Iterator[_Gap]:
        """Those that overlap with a span; they stand in the order of their ends."""
        gaps = self.gaps.get(channel, [])
        for gap in gaps[bisect_right(gaps, span.since, key=_until) :]:
            if gap.since < span.until:
                yield gap

    def next_begin(self, channel: str, after: int, session: str, end: int) -> int:
        """When another session subscribed next."""
        begins = self.begins.get(channel, [])
        for told, name in begins[bisect_right(begins, (after, "\uffff")) :]:
            if name != session:
                return told
        return end


class Coverage:
    """Fed with all records of one stream in its order, from the beginning of each session on."""

    def __init__(self) -> None:
        self._connectors: dict[str, _Connector] = defaultdict(_Connector)
        self.tickers: set[str] = set()
        """Markets whose books were ever subscribed."""
        self._told: dict[tuple[Hashable, ...], list[Interval]] = {}
        self._listening: dict[str, list[tuple[str, str, _Markets]]] = {}
        """Of each channel the connectors' sessions that subscribed it."""

    def take(self, record: SessionRecord) -> None:
        """The next record."""
        self._told.clear()
        self._listening.clear()
        connector = self._connectors[record.connector]
        at = moment(record.received_at)
        session = connector.sessions.get(record.session)
        if session is None:
            session = connector.sessions[record.session] = _Session(record.session, at)
        channel = _OURS.get(record.of_channel or "", record.of_channel)
        match record.what:
            case "opened":
                session.begun = True
            case "subscribed" if channel is not None:
                # A list without its markets is filled by `added`.
                markets = [_ALL] if record.everything else record.tickers or ()
                self._subscribe(connector, session, channel, markets, at)
            case "added":
                self._subscribe(connector, session, channel or BOOK, record.tickers or (), at)
            case "takeover":
                session.begun = True
                if record.since is not None:
                    for name in (TRADE, TICKER):
                        connector.subscribe(session, name, [_ALL], moment(record.since), at)
                if channel == BOOK:
                    markets = record.tickers or ()
                    self._subscribe(connector, session, channel, markets, at, begins=False)
            case "removed":
                session.end(channel or BOOK, at, record.tickers)
            case "unsubscribed" | "error":
                for name in [channel] if channel else list(session.subscriptions):
                    session.end(name, at)
            case "closed":
                session.ended = at
                session.scopes.end(at)
                for name in session.subscriptions:
                    session.end(name, at)
            case "count":
                heard = at if record.until is None else moment(record.until)
                self._count(connector, session, at, heard, record.dropped or {})
            case "dropped":
                for name in record.published or {}:
                    connector.gaps[name].append(_Gap(session.counted(name, at), at, _NO_ROOM))
            case "gap" if record.since is not None:
                until = at if record.until is None else moment(record.until)
                gap = _Gap(moment(record.since), until, record.reason or "messages were missed")
                for name in [channel] if channel else CHANNELS:
                    connector.gaps[name].append(gap)
            case "scope" | "left_out":
                since = at if record.since is None else moment(record.since)
                session.scopes.take(record, since)
            case "resnapshot":
                for market in record.tickers or [_ALL]:
                    connector.resnapshots[market].append((at, session))
            case "repaired" if record.since is not None and record.until is not None:
                between = Span(moment(record.since), moment(record.until))
                connector.repairs.append(_Repair(between, session, at))
            case _:
                pass

    def _subscribe(
        self,
        connector: _Connector,
        session: _Session,
        channel: str,
        markets: Sequence[str | None],
        at: int,
        *,
        begins: bool = True,
    ) -> None:
        if channel == BOOK:
            self.tickers.update(market for market in markets if market is not None)
        connector.subscribe(session, channel, markets, at, at, begins=begins)

    def _count(
        self,
        connector: _Connector,
        session: _Session,
        at: int,
        heard: int,
        dropped: dict[str, int],
    ) -> None:
        for name, number in dropped.items():
            before = session.dropped.get(name, 0)
            # A session that leads anew counts from 0.
            if number > (before if number >= before else 0):
                connector.gaps[name].append(_Gap(session.counted(name, at), at, _NO_ROOM))
        session.dropped = dict(dropped)
        session.counts.append(heard)

    def intervals(
        self, channel: str, ticker: str | None, span: Span, lost: Sequence[Interval] = ()
    ) -> list[Interval]:
        """Those of `timeline`; the very same list for markets of which the records say the same."""
        if channel not in self._listening:
            self._listening[channel] = [
                (name, session.name, session.subscriptions[channel])
                for name, connector in self._connectors.items()
                for session in connector.sessions.values()
                if channel in session.subscriptions
            ]
        said = []
        for name, session, known in self._listening[channel]:
            for one in (*known.get(_ALL, ()), *(known.get(ticker, ()) if ticker else ())):
                said.append((name, session, one.since, one.until, one.begins))  # noqa: PERF401 # is hot
        again = tuple(
            (at, session.name)
            for connector in self._connectors.values()
            for at, session in connector.resnapshots.get(ticker, ())
        )
        left_out = () if channel == BOOK else self._left_out(ticker)
        key = (channel, span, tuple(lost), tuple(said), again, left_out)
        found = self._told.get(key)
        if found is None:
            found = self._told[key] = self.timeline(channel, ticker, span, lost).intervals()
        return found

    def _left_out(self, ticker: str | None) -> tuple[Hashable, ...]:
        """The scopes that leave a market out: which repairs do follows from them."""
        return tuple(
            (name, session.name, scope.since, scope.until)
            for name, connector in self._connectors.items()
            for session in connector.sessions.values()
            for scope in (session.scopes.without(ticker) if ticker else ())
        )

    def timeline(
        self, channel: str, ticker: str | None, span: Span, lost: Sequence[Interval] = ()
    ) -> Timeline:
        """What is known of a channel, of books of one market, within a span of time. `lost` is what
        the archive does not have of the records: nothing is known of it.
        """
        whole = Timeline(span, State.NOT_SUBSCRIBED, "")
        for connector in self._connectors.values():
            for interval in _of_connector(connector, channel, ticker, span).intervals():
                whole.paint(interval, over=_WORSE[State(interval.state)])
        for interval in lost:
            whole.paint(interval)
        return whole


def _of_connector(connector: _Connector, channel: str, ticker: str | None, span: Span) -> Timeline:
    line = Timeline(span, State.NOT_SUBSCRIBED, "")
    pieces = sorted(
        _pieces(connector, channel, ticker, span), key=lambda one: -_RANK[State(one.state)]
    )
    for piece in pieces:
        line.paint(piece)
    if channel != BOOK:
        # Also while it was not subscribed, as between two connections.
        for gap in connector.gaps.get(channel, ()):
            line.paint(Interval(gap.since, gap.until, State.GAP, gap.why))
    elif pieces:
        since, until = min(one.since for one in pieces), max(one.until for one in pieces)
        for gap in connector.gaps_within(channel, Span(since, until)):
            line.paint(Interval(max(gap.since, since), gap.until, State.GAP, gap.why))
            again = _whole_again(connector, ticker, gap, until)
            rest = Interval(gap.until, again, State.GAP, "no snapshot came yet")
            # Where it is not subscribed later, that stays so.
            line.paint(rest, over=(State.COMPLETE, State.UNKNOWN))
    if channel == TRADE:
        for repair in connector.repairs:
            mended = Interval(*repair.span, State.REPAIRED, "read again over REST")
            if not repair.left_out(ticker):
                line.paint(mended, over=_WORSE[State.COMPLETE])
    if channel != BOOK and ticker is not None:
        _leave_out(line, connector, channel, ticker, span)
    return line


def _leave_out(
    line: Timeline, connector: _Connector, channel: str, ticker: str, span: Span
) -> None:
    """What the scope leaves out is not subscribed, however whole the channel is."""
    for session in connector.sessions.values():
        for scope in session.scopes.without(ticker):
            # Who begins while the session lives does not end it: a standby may hear longer than the
            # leader whose place it takes.
            until = scope.until or connector.next_begin(
                channel, session.known(scope.since), session.name, span.until
            )
            why = "the scope leaves it out"
            line.paint(Interval(scope.since, until, State.NOT_SUBSCRIBED, why))


def _pieces(
    connector: _Connector, channel: str, ticker: str | None, span: Span
) -> Iterator[Interval]:
    """What its sessions' subscriptions and counts say."""
    for session in connector.sessions.values():
        if not session.begun:
            ended = session.ended
            if ended is None:
                ended = connector.next_begin(channel, session.first, session.name, span.until)
            why = "the beginning of the session is not here"
            yield Interval(session.first, ended, State.UNKNOWN, why)
        for one in session.of(channel, ticker):
            known = session.known(one.since)
            until = one.until
            if until is None:
                # It ended without a word, or goes on: until somebody else begins.
                until = connector.next_begin(channel, known, session.name, span.until)
            yield Interval(known, until, State.UNKNOWN, "nothing after the last count")
            yield Interval(one.since, min(known, until), State.COMPLETE, "")


def _whole_again(connector: _Connector, ticker: str | None, gap: _Gap, end: int) -> int:
    """When the book of a market began anew after a gap."""
    found = [
        one.since
        for session in connector.sessions.values()
        for one in session.of(BOOK, ticker)
        if one.since > gap.since and one.begins
    ]
    for market in (ticker, _ALL):
        for at, session in connector.resnapshots.get(market, ()):
            if at >= gap.since and (count := session.count_after(at)) is not None:
                found.append(count)
    return max(gap.until, min(found, default=end))


_NO_ROOM: Final = "messages found no room"
_RANK: Final = {state: rank for rank, state in enumerate(State)}
_WORSE: Final = {state: tuple(State)[rank + 1 :] for state, rank in _RANK.items()}
