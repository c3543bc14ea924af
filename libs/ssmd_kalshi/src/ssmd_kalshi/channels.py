"""One channel of a connection: what is wanted of it, what the exchange confirmed, what comes next.

Pure but for the metrics. One command of a channel is under way at a time, so that an answer is
about one thing; wishes meanwhile go into the next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import islice
from math import inf

from ssmd_kalshi.feed import GapReason
from ssmd_kalshi.marketdata import BOOK

CHUNK = 500
"""Markets of one command, until the exchange refuses so many: then half as many, until it takes
them, or the reason is found."""
PAUSE_SECONDS = 1.0
"""Before a command that was refused for now, doubled each time; and between two rounds of
snapshots."""
MAX_PAUSE_SECONDS = 30.0
STABLE_SECONDS = 5.0
"""A subscription that the exchange ended this long after it confirmed it is asked for at once; of
those that end sooner the second in a row waits, and each further one twice as long."""
SNAPSHOT_SECONDS = 5.0
"""A snapshot that has not come by then is asked for (again)."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A channel with what of it is wanted.

    `markets` None is all of them, without a list; otherwise they can be added and removed later.
    A channel that is not `required` and is refused is told of by a `Refused`, and the rest of the
    connection goes on; a refused one that is required ends the iteration. `yes_price`: books give
    the prices of both sides as what YES costs.
    """

    channel: str
    markets: Collection[str] | None = None
    required: bool = False
    yes_price: bool = True

    @property
    def params(self) -> dict[str, object]:
        """Parameters of the subscribe command beside the channel and its markets."""
        # The exchange's default is going to change.
        return {"use_yes_price": self.yes_price} if self.channel == BOOK else {}


class Action(StrEnum):
    """What a command does, in the exchange's words."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    ADD = "add_markets"
    REMOVE = "delete_markets"
    SNAPSHOT = "get_snapshot"


@dataclass(frozen=True, slots=True)
class Command:
    """A command under way; `deadline` is on the loop's clock."""

    channel: Channel
    action: Action
    tickers: tuple[str, ...]
    deadline: float


@dataclass(slots=True, eq=False)
class Channel:
    """A channel that the consumer wants, and how far it is known."""

    selection: Selection
    wanted: dict[str, None] = field(default_factory=dict)
    """Its markets, in the order of the wish; empty for a channel without a list."""
    held: set[str] = field(default_factory=set)
    """The markets that the exchange confirmed."""
    to_add: dict[str, None] = field(default_factory=dict)
    to_remove: dict[str, None] = field(default_factory=dict)
    doubtful: dict[str, None] = field(default_factory=dict)
    """Books to be asked for again."""
    awaited: dict[str, float] = field(default_factory=dict)
    """Snapshots on their way, and until when; the earliest first."""
    refused: set[str] = field(default_factory=set)
    full: bool = False
    gone: bool = False
    """The consumer wants none of it any more."""
    closed: bool = False
    """The exchange refused the channel for as long as this connection lasts."""
    sid: int | None = None
    confirmed: bool = False
    confirmed_at: float = 0.0
    endings: int = 0
    """Subscriptions in a row that the exchange ended soon."""
    under_way: Action | None = None
    chunk: int = CHUNK
    pause_seconds: float = PAUSE_SECONDS
    not_before: float = 0.0
    snapshots_not_before: float = 0.0
    known_until: datetime | None = None
    """What was sent up to then has arrived; None before the first subscription."""
    gap_reason: GapReason = GapReason.START
    gap_detail: str = ""

    @classmethod
    def of(cls, selection: Selection) -> Channel:
        """A channel that nothing was asked of yet."""
        wanted = dict.fromkeys(selection.markets or ())
        return cls(selection, wanted, to_add=dict(wanted))

    @property
    def name(self) -> str:
        return self.selection.channel

    @property
    def has_list(self) -> bool:
        return self.selection.markets is not None

    @property
    def is_needed(self) -> bool:
        """Whether a subscription should exist."""
        if self.gone or self.closed:
            return False
        return not self.has_list or len(self.wanted) > len(self.refused)

    @property
    def complete(self) -> bool:
        """Whether the exchange confirmed all that it did not refuse."""
        if not self.is_needed:
            return True
        return self.confirmed and not self.to_add and self.under_way is not Action.ADD

    # --- wishes ---------------------------------------------------------------------------------

    def want(self, add: Iterable[str], remove: Iterable[str]) -> None:
        """Change the list; what was refused before is asked for once more."""
        for ticker in remove:
            self.wanted.pop(ticker, None)
            self.to_add.pop(ticker, None)
            self.refused.discard(ticker)
            self.doubtful.pop(ticker, None)
            if ticker in self.held:
                self.to_remove[ticker] = None
        for ticker in add:
            self.wanted[ticker] = None
            self.refused.discard(ticker)
            self.to_remove.pop(ticker, None)
            if ticker not in self.held:
                self.to_add[ticker] = None

    def doubt(self, tickers: Iterable[str] | None = None) -> None:
        """Ask for the books again, of these markets or of all."""
        if self.name == BOOK:
            for ticker in list(self.held) if tickers is None else tickers:
                if ticker in self.held:
                    self.doubtful[ticker] = None
                    self.awaited.pop(ticker, None)

    # --- commands -------------------------------------------------------------------------------

    def following(self, now: float) -> tuple[Action, tuple[str, ...]] | None:
        """The next command, if there is any to send now."""
        if self.under_way is not None or now < self.not_before:
            return None
        if not self.confirmed:
            if not self.is_needed:
                return None
            return Action.SUBSCRIBE, self._some(self.to_add)
        if not self.is_needed:
            # Without its last market a list might be taken for all markets.
            return Action.UNSUBSCRIBE, ()
        if self.to_remove:
            return Action.REMOVE, self._some(self.to_remove)
        if self.to_add and not self.full:
            return Action.ADD, self._some(self.to_add)
        self._overdue(now)
        if self.doubtful and now >= self.snapshots_not_before:
            return Action.SNAPSHOT, self._some(self.doubtful)
        return None

    def due(self) -> float:
        """When `following` may have something that it had not before, by time alone."""
        if self.under_way is not None:
            return inf
        moments = [inf]
        if self.not_before:
            moments.append(self.not_before)
        if self.doubtful:
            moments.append(self.snapshots_not_before)
        if self.awaited:
            moments.append(next(iter(self.awaited.values())))
        return max(self.not_before, min(moments))

    def begin(self, action: Action, tickers: tuple[str, ...], now: float) -> None:
        """Note that the command is sent."""
        self.under_way, self.not_before = action, 0.0
        for waiting in (self.to_add, self.to_remove, self.doubtful):
            for ticker in tickers:
                waiting.pop(ticker, None)
        if action is Action.SNAPSHOT and not self.doubtful:
            self.snapshots_not_before = now + PAUSE_SECONDS
        if self.name == BOOK and action in (Action.SUBSCRIBE, Action.ADD, Action.SNAPSHOT):
            # From here on: a snapshot may come before the acknowledgement.
            for ticker in tickers:
                self.awaited[ticker] = now + SNAPSHOT_SECONDS

    def done(self, action: Action, tickers: tuple[str, ...]) -> None:
        """The exchange did what the command said."""
        self.under_way, self.pause_seconds = None, PAUSE_SECONDS
        match action:
            case Action.SUBSCRIBE | Action.ADD:
                self.held.update(tickers)
                self.to_remove.update((t, None) for t in tickers if t not in self.wanted)
            case Action.REMOVE:
                self.held.difference_update(tickers)
                self.full = False
                for ticker in tickers:
                    self.awaited.pop(ticker, None)
                    self.doubtful.pop(ticker, None)
                self.to_add.update((t, None) for t in tickers if t in self.wanted)
            case _:
                pass

    def undone(self, action: Action, tickers: tuple[str, ...]) -> None:
        """The exchange did not do it: it is to be done still, where it is still wanted."""
        self.under_way = None
        for ticker in tickers:
            self.awaited.pop(ticker, None)
        match action:
            case Action.SUBSCRIBE | Action.ADD:
                again = {t: None for t in tickers if t in self.wanted}
                self.to_add = again | self.to_add
            case Action.REMOVE:
                self.to_remove.update((t, None) for t in tickers if t not in self.wanted)
            case Action.SNAPSHOT:
                self.doubt(tickers)
            case Action.UNSUBSCRIBE:
                pass

    def refuse(self, ticker: str) -> None:
        """Do not ask for this market again on this connection."""
        self.awaited.pop(ticker, None)
        self.doubtful.pop(ticker, None)
        if self.to_add.pop(ticker, ticker) is None and ticker in self.wanted:
            self.refused.add(ticker)

    def arrived(self, ticker: str) -> None:
        """The snapshot of a market came, and nothing is missing before it."""
        self.awaited.pop(ticker, None)
        self.doubtful.pop(ticker, None)

    def back_off(self, now: float) -> None:
        """The exchange does not want a command now."""
        self.not_before = now + self.pause_seconds
        self.pause_seconds = min(MAX_PAUSE_SECONDS, 2 * self.pause_seconds)

    def cut_off(self, now: float) -> None:
        """The exchange ended the subscription."""
        self.ended()
        self.endings = self.endings + 1 if now < self.confirmed_at + STABLE_SECONDS else 0
        if self.endings > 1:
            pause = PAUSE_SECONDS * 2.0 ** min(self.endings - 2, 30)
            self.not_before = now + min(MAX_PAUSE_SECONDS, pause)

    def ended(self) -> None:
        """There is no subscription any more."""
        self.sid, self.confirmed, self.under_way = None, False, None
        self.full = False
        self.held.clear()
        self.to_remove.clear()
        self.doubtful.clear()
        self.awaited.clear()
        self.to_add = {t: None for t in self.wanted if t not in self.refused}

    def lost(self) -> None:
        """The connection is gone, and with it what was refused on it."""
        self.refused.clear()
        self.ended()
        self.closed = False
        self.not_before = self.snapshots_not_before = 0.0
        self.pause_seconds, self.endings = PAUSE_SECONDS, 0

    def _some(self, tickers: dict[str, None]) -> tuple[str, ...]:
        return tuple(islice(tickers, self.chunk))

    def _overdue(self, now: float) -> None:
        for ticker, until in list(self.awaited.items()):
            if until > now:
                return
            del self.awaited[ticker]
            if ticker in self.held:
                self.doubtful[ticker] = None
