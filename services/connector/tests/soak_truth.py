"""What the exchange said in an hour, little of each message, and the archive held against it."""

from array import array
from bisect import bisect_right
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import archived

from ssmd_archive import coverage
from ssmd_archive.catalog import Archive
from ssmd_archive.layout import books, layout_of
from ssmd_simulator.wire import count, dollars
from ssmd_stream.market.coverage import State, moment
from ssmd_stream.market.messages import BookMessage, TickerMessage, TradeMessage, decoded
from ssmd_stream.market.timeline import Interval, Span

from .conftest import Market

LATEST = 1 << 60
QUOTES, BOOKS = "ticker", "book"
_KINDS = {b"ticker": QUOTES, b"orderbook_delta": BOOKS}
_ALIKE = 500
"""A message that says the same as one of so many before it is another one: a quote that went to and
fro within a millisecond."""


class Said:
    """Quotes, or what was said of books, each once and in its order; `key` is a hash of it."""

    def __init__(self) -> None:
        self.places: dict[int, int] = {}
        self.times: Counter[int] = Counter()
        """How often one connection was told it, where that is more than once."""
        self.markets = array("L")
        self.received = array("q")
        """Microseconds since 1970; 0 where it is not archived."""
        self.lately: dict[int, deque[int]] = {}
        self.archived: Counter[int] = Counter()
        """How often, where that is more than once."""

    def note(self, connection: int, body: bytes, market: int) -> None:
        key = hash(body)
        lately = self.lately.setdefault(connection, deque(maxlen=_ALIKE))
        if key not in self.places:
            self.places[key] = len(self.markets)
            self.markets.append(market)
            self.received.append(0)
        elif key in lately:
            self.times[key] = max(self.times[key], lately.count(key) + 1)
        lately.append(key)

    def take(self, body: bytes, received_at: int) -> None:
        """It is archived."""
        key = hash(body)
        place = self.places[key]
        if self.received[place]:
            self.archived[key] = max(self.archived[key], 1) + 1
        self.received[place] = received_at

    @property
    def doubled(self) -> int:
        """How many are archived more often than they were said."""
        return sum(number > max(self.times[key], 1) for key, number in self.archived.items())

    def lost(self) -> dict[int, set[Span]]:
        """Of each market when something was said that is not archived: between the times at which
        its neighbours were received, which came over the same socket or at the same time."""
        found: dict[int, set[Span]] = {}
        after = array("q", [LATEST]) * (len(self.received) + 1)
        for place in range(len(self.received) - 1, -1, -1):
            after[place] = self.received[place] or after[place + 1]
        before = 0
        for place, (at, market) in enumerate(zip(self.received, self.markets, strict=True)):
            if at:
                before = at
            else:
                ends = before, after[place]
                found.setdefault(market, set()).add(Span(min(ends), max(ends)))
        return found


class Remembering(Market):
    """A market of which an hour fits into memory."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.said = {QUOTES: Said(), BOOKS: Said()}
        self.numbers: dict[str, int] = {}
        self.told = Counter[str]()
        """Frames to all connections."""

    def _note(self, connection: int, fate: str, frame: bytes) -> None:
        kind = frame[9 : frame.index(b'"', 9)]
        if fate == "sent":
            self.told[kind.decode()] += 1
        if (of := _KINDS.get(kind)) is not None:
            body = frame[frame.index(b'"msg":') + 6 : -1]
            start = body.index(b'"market_ticker":"') + 17
            ticker = body[start : body.index(b'"', start)].decode()
            number = self.numbers.setdefault(ticker, len(self.numbers))
            self.said[of].note(connection, body, number)

    def trades(self) -> int:
        return self.told["trade"]


class Fault(NamedTuple):
    """From when to when something was broken, in microseconds since 1970."""

    what: str
    since: int
    until: int


class Judged:
    """An archive, read once."""

    def __init__(self, market: Remembering, root: Path, since: int, left_out: set[str]) -> None:
        """What was traded before `since` nobody has to have."""
        self.market = market
        self.root = root
        self.since = since
        self.left_out = left_out
        tape = market.sim.floor.tape
        self.tape = {tape.id_of(trade.number): trade for trade in tape.all()}
        self.trades = Counter[bytes]()
        self.by_rest = 0
        self.messages = 0
        self.levels: dict[str, Any] = {}
        self._frames: dict[tuple[str, str], int] = {}
        for stream in ("MARKET_DATA", books(0).stream):
            read = archived.read(root / stream, each=self._take)
            assert not read.missing, f"{stream}: {len(read.missing)} sequences are holes"

    def _take(self, payload: bytes) -> None:
        message = decoded(payload)
        if not isinstance(message, TradeMessage | TickerMessage | BookMessage):
            return
        self.messages += 1
        of = message.session, type(message).__name__
        assert message.frame > self._frames.get(of, 0), "doubled, or not in its order"
        self._frames[of] = message.frame
        # One that the secmaster does not know yet, as when a connector has just begun, it takes.
        assert message.ticker not in self.left_out or message.series is None
        if isinstance(message, TradeMessage):
            key = message.trade_id.encode()
            made = self.tape[key]
            self.trades[key] += 1
            self.by_rest += message.source == "rest"
            assert (message.ticker, message.price, message.count, message.taker_side) == (
                made.ticker, dollars(made.price), count(made.size), made.taker
            )  # fmt: skip
            return
        if isinstance(message, BookMessage):
            self._level(message)
            if message.side is None:
                return
        kind = QUOTES if isinstance(message, TickerMessage) else BOOKS
        self.market.said[kind].take(bytes(message.msg), moment(message.received_at))

    def _level(self, message: BookMessage) -> None:
        """Changes of a book before any snapshot of it there are none."""
        if message.side is None:
            self.levels[message.ticker] = {
                "yes": dict(message.yes or ()),
                "no": dict(message.no or ()),
            }
        else:
            levels = self.levels[message.ticker][message.side]
            assert message.price is not None
            left = float(levels.get(message.price, 0)) + float(message.delta or 0)
            levels[message.price] = f"{left:.2f}"
            if round(left, 2) <= 0:
                del levels[message.price]

    def missing(self) -> list[int]:
        """When trades were made that are not archived."""
        return [
            trade.at
            for key, trade in self.tape.items()
            if trade.at >= self.since and trade.ticker not in self.left_out and not self.trades[key]
        ]

    def coverage(self, stream: str, since: int, until: int) -> "Told":
        return Told(self.root, stream, since, until)


class Told:
    """What `coverage` says of a stream."""

    def __init__(self, root: Path, stream: str, since: int, until: int) -> None:
        layout = layout_of(stream)
        assert layout is not None
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        found = coverage.read(
            Archive(root, layout),
            epoch + timedelta(microseconds=since),
            epoch + timedelta(microseconds=until),
        )
        assert found is not None
        self.found = found

    def intervals(self, channel: str, ticker: str) -> list[Interval]:
        return coverage.covered(self.found, channel, ticker).intervals


def complete_all_along(intervals: list[Interval], span: Span) -> bool:
    """Whether the archive claims to have everything of a span."""
    span = Span(max(span.since, intervals[0].since), min(span.until, intervals[-1].until - 1))
    first = bisect_right(intervals, span.since, key=lambda one: one.until)
    states = {
        one.state for one in intervals[first:] if one.since <= span.until and one.until > span.since
    }
    return bool(states) and states <= {State.COMPLETE}


def unexplained(intervals: list[Interval], faults: list[Fault], slack: int) -> list[Interval]:
    """What is neither complete nor repaired, though nothing was broken then."""
    return [
        one
        for one in intervals
        if one.state not in (State.COMPLETE, State.REPAIRED)
        and not any(
            fault.since - slack <= one.since and one.until <= fault.until + slack
            for fault in faults
        )
    ]
