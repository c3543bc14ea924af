"""The connections of a shard's books: which market is on which, and one more when one is full."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from ssmd_connector.bookstart import BookStart
from ssmd_connector.capture import Capture
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_kalshi.channels import Selection
from ssmd_kalshi.feed import Disconnected, FeedEvent, Refused
from ssmd_kalshi.frames import LIMIT_CODE
from ssmd_kalshi.marketdata import BOOK
from ssmd_kalshi.socket import KalshiSocket

Publish = Callable[[MarketOutgoing, Capture], object]

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Line:
    """One connection, and the books that are asked for on it."""

    socket: KalshiSocket
    capture: Capture
    start: BookStart
    markets: set[str] = field(default_factory=set)
    is_full: bool = False


class BookLines:
    """Opens connections as books are wanted; between `begin` and `end` all is published."""

    def __init__(
        self,
        open_socket: Callable[[Selection], KalshiSocket],
        make_capture: Callable[[], Capture],
        *,
        most: int,
    ) -> None:
        """`most` connections at once."""
        self._open_socket = open_socket
        self._make_capture = make_capture
        self._publish: Publish | None = None
        self._most = most
        self._changed = asyncio.Event()
        self._line_of: dict[str, Line] = {}
        self.lines: list[Line] = []
        self.without_place: set[str] = set()
        """Markets for which every connection is full."""

    @property
    def captures(self) -> list[Capture]:
        return [line.capture for line in self.lines]

    @property
    def all_wanted(self) -> set[str]:
        """Markets that are asked for, or wait for a place."""
        return self._line_of.keys() | self.without_place

    @property
    def wanted(self) -> int:
        return len(self._line_of) + len(self.without_place)

    @property
    def confirmed(self) -> int:
        """Books that the exchange confirmed."""
        return sum(len(line.socket.channel(BOOK).held) for line in self.lines)

    def want(self, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Change what is wanted; commands follow at once."""
        gone: dict[Line, list[str]] = {}
        for ticker in remove:
            self.without_place.discard(ticker)
            if (line := self._line_of.pop(ticker, None)) is not None:
                line.markets.discard(ticker)
                line.is_full = False
                gone.setdefault(line, []).append(ticker)
        for line, tickers in gone.items():
            line.socket.want(BOOK, remove=tickers)
        new = dict.fromkeys(ticker for ticker in add if ticker not in self._line_of)
        if gone:
            new.update(dict.fromkeys(self.without_place))
        self._place(list(new))

    def renew(self) -> None:
        """Ask for every book again."""
        for line in self.lines:
            line.socket.renew(BOOK)

    def begin(self, publish: Publish, since: datetime | None, at: datetime) -> None:
        """`publish` is told every message from now on with its capture; first what is held, whose
        books are asked for again. `since` is when the stream's last message came, if it has any.
        """
        self._publish = publish
        for line in self.lines:
            if not line.capture.session:
                # What it says of its beginning is still to come.
                continue
            channel = line.socket.channel(BOOK)
            held = tuple(sorted(channel.held))
            for record in line.start.take_over(held, channel.wanted, channel.sid, since, at):
                publish(record, line.capture)
        self.renew()

    def end(self) -> None:
        """Nobody publishes any more."""
        self._publish = None

    async def run(self) -> None:
        """Read every connection until it is cancelled.

        Raises:
            ExceptionGroup: of KalshiError, reconnecting does not help.
        """
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            read = 0
            while True:
                await self._changed.wait()
                self._changed.clear()
                for line in self.lines[read:]:
                    await stack.enter_async_context(line.socket)
                    tasks.create_task(self._read(line), name="books socket")
                read = len(self.lines)

    async def _read(self, line: Line) -> None:
        start = line.start
        while events := await line.socket.batch():
            for event in events:
                self._take(line, event)
            if start.came and (publish := self._publish) is not None:
                for record in start.told():
                    publish(record, line.capture)

    def _take(self, line: Line, event: FeedEvent) -> None:
        publish, start = self._publish, line.start
        if publish is None:
            start.follow(event)
        elif not start.awaited or start.passes(event):
            for message in line.capture.take(event):
                publish(message, line.capture)
        if start.lacking:
            line.socket.renew(BOOK, start.asked(line.socket.channel(BOOK).awaited))
        if isinstance(event, Refused) and event.code == LIMIT_CODE and event.tickers:
            self._move(line, event.tickers)
        elif isinstance(event, Disconnected) and event.attempt == 0:
            # What it refused it may take now.
            line.is_full = False

    def _move(self, line: Line, tickers: Iterable[str]) -> None:
        """What a full connection does not take goes to another."""
        line.is_full = True
        moved = [ticker for ticker in tickers if self._line_of.get(ticker) is line]
        line.socket.want(BOOK, remove=moved)
        for ticker in moved:
            line.markets.discard(ticker)
            del self._line_of[ticker]
        self._place(moved)

    def _place(self, tickers: list[str]) -> None:
        if not tickers:
            return
        line = next((one for one in self.lines if not one.is_full), None)
        if line is None:
            if len(self.lines) >= self._most:
                self.without_place.update(tickers)
                return
            capture = self._make_capture()
            socket = self._open_socket(Selection(BOOK, ()))
            capture.socket = socket
            line = Line(socket, capture, BookStart(capture))
            self.lines.append(line)
            self._changed.set()
            log.info("a connection for books", number=len(self.lines))
        self.without_place.difference_update(tickers)
        line.markets.update(tickers)
        self._line_of.update(dict.fromkeys(tickers, line))
        line.socket.want(BOOK, add=tickers)
