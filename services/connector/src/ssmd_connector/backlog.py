"""The last messages of a socket while nobody, or another process, publishes. Pure.

A standby keeps them, and so does a leader: whoever publishes next compares them with the stream's
end, and publishes what is missing: trades by their id, quotes by market and exchange time, as many
of one moment as there were.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from ssmd_connector.outgoing import MarketOutgoing


class Stored(Protocol):
    """The stream's end: ids of trades, how many quotes of a market and moment each session said,
    ids of all messages."""

    @property
    def trades(self) -> set[str]: ...
    @property
    def quotes(self) -> Mapping[str, Counter[tuple[str, str]]]: ...
    @property
    def ids(self) -> set[str]: ...


class Backlog:
    """Bounded by age, number and bytes; `session` is the life of the connection they are of."""

    def __init__(self, seconds: float, max_messages: int, max_bytes: int) -> None:
        self._age = timedelta(seconds=seconds)
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: deque[MarketOutgoing] = deque()
        self._size = 0
        self.whole_since: datetime | None = None
        """From when on nothing is missing in it; None while nothing is subscribed."""

    def __len__(self) -> int:
        return len(self._messages)

    def begin(self, at: datetime) -> None:
        """From here on all is heard: subscribed, or a hole ended."""
        self.whole_since = at

    def lost(self) -> None:
        """Nothing is heard any more."""
        self.whole_since = None

    def put(self, message: MarketOutgoing) -> None:
        """Keep a message; the oldest leave."""
        messages = self._messages
        messages.append(message)
        self._size += len(message.payload)
        newest = message.received_at
        while (
            len(messages) > self._max_messages
            or self._size > self._max_bytes
            or messages[0].received_at < newest - self._age
        ):
            gone = messages.popleft()
            self._size -= len(gone.payload)
            if self.whole_since is not None and gone.received_at >= self.whole_since:
                self.whole_since = gone.received_at

    def clear(self) -> None:
        """Forget all messages: they are published."""
        self._messages.clear()
        self._size = 0

    @property
    def first(self) -> list[MarketOutgoing]:
        """The oldest message, if there is any."""
        return [self._messages[0]] if self._messages else []

    def missing(self, left: Iterable[MarketOutgoing], there: Stored) -> list[MarketOutgoing]:
        """What was left over, then what is kept here, without what is in the stream."""
        known = set(there.trades)
        by_others: dict[str, Counter[tuple[str, str]]] = {}
        found: dict[str, MarketOutgoing] = {}
        for message in (*left, *self._messages):
            if message.id in found or message.id in there.ids:
                continue
            if message.type == "trade":
                if message.trade_id in known:
                    continue
                known.add(message.trade_id)
            elif message.type == "ticker":
                # What the stream has of this session is known by its id.
                session = message.id.rpartition(".")[0]
                quotes = by_others.get(session)
                if quotes is None:
                    said = (each for name, each in there.quotes.items() if name != session)
                    quotes = by_others[session] = sum(said, Counter[tuple[str, str]]())
                if quotes[message.moment] > 0:
                    quotes[message.moment] -= 1
                    continue
            found[message.id] = message
        return list(found.values())
