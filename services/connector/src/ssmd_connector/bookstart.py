"""How books that were heard before anybody published them begin: with new snapshots. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime

from ssmd_connector.capture import Capture
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_kalshi.feed import (
    Connected,
    Disconnected,
    Ended,
    FeedEvent,
    MarketData,
    MarketsAdded,
    MarketsRemoved,
)
from ssmd_kalshi.marketdata import BOOK, BookSnapshot


class BookStart:
    """Of one connection. A change of a book says nothing while the stream has no snapshot of it
    from this session, so it is left out; it lies in the gap that the takeover records."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self.awaited: set[str] = set()
        """Books whose snapshot has to come before anything of them is published."""
        self._held: set[str] = set()
        """Those of them that the record of the takeover names."""
        self.came: list[str] = []
        """Whose snapshots came since somebody asked last."""
        self.lacking: tuple[str, ...] = ()
        """What the exchange confirmed just now, and its snapshot may have come before."""

    def follow(self, event: FeedEvent) -> None:
        """Nothing is published: only which session it is, and its frames."""
        if isinstance(event, MarketData):
            self._capture.frame = event.frame
        else:
            self._capture.take(event)

    def take_over(
        self,
        held: tuple[str, ...],
        wanted: Iterable[str],
        sid: int | None,
        since: datetime | None,
        at: datetime,
    ) -> Iterator[MarketOutgoing]:
        """Records of what goes on from now on; every book is to be asked for again."""
        capture = self._capture
        capture.restart_counts()
        self._held, self.awaited = set(held), {*held, *wanted}
        self.came, self.lacking = [], ()
        yield capture.record(
            "takeover", at, of_channel=BOOK, sid=sid, tickers=held or None, yes_price=True
        )
        yield capture.hole(BOOK, at if since is None else min(since, at), at, "takeover")

    def passes(self, event: FeedEvent) -> bool:
        """Whether an event is published, asked while snapshots are awaited."""
        match event:
            case MarketData(said=said):
                if said.ticker not in self.awaited:
                    return True
                if not isinstance(said, BookSnapshot):
                    self._capture.frame = event.frame
                    return False
                self.awaited.discard(said.ticker)
                if said.ticker in self._held:
                    self.came.append(said.ticker)
            case MarketsAdded(tickers=tickers):
                self.lacking = tuple(one for one in tickers if one in self.awaited)
            case MarketsRemoved(tickers=tickers):
                self.awaited.difference_update(tickers)
            case Connected() | Disconnected() | Ended():
                # What is subscribed from now on begins with its snapshot anyway.
                self.awaited.clear()
            case _:
                pass
        return True

    def asked(self, on_their_way: Collection[str]) -> tuple[str, ...]:
        """Which of those that are lacking have to be asked for: the others' snapshots come."""
        found = tuple(one for one in self.lacking if one not in on_their_way)
        self.lacking = ()
        return found

    def told(self) -> Iterator[MarketOutgoing]:
        """Records of the snapshots that came; once all are there, that nothing is missing."""
        capture, now = self._capture, datetime.now(UTC)
        yield capture.record("resnapshot", now, of_channel=BOOK, tickers=tuple(self.came))
        self.came = []
        if not self.awaited:
            yield capture.count(now)
