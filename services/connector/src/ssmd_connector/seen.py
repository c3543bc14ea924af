"""Which trades the stream has: so that each is published once, and a repair adds the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from ssmd_common.tasks import raise_if_cancelled
from ssmd_stream.market.messages import Message, TickerMessage, TradeMessage, decoded, time_text
from ssmd_stream.reader import reading
from ssmd_stream.stream import Stream

MOST: Final = 100_000
"""Trades that are remembered, about 200 bytes each; older ones are read from the stream."""
MARGIN: Final = timedelta(seconds=10)
"""A message is in the stream this much before its time at worst: clocks and connections differ."""

_CLOCKS: Final = timedelta(seconds=2)
"""The socket and REST may say a trade's time otherwise by less: one of them in whole seconds."""
_BATCH, _WAIT_SECONDS = 1000, 0.5


class Seen:
    """Ids of trades; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._ids: dict[str, datetime] = {}
        self.since: datetime | None = None
        """From when on every trade of the stream is known."""

    def __contains__(self, trade_id: str) -> bool:
        return trade_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, trade_id: str, at: datetime) -> None:
        """The stream has it, or will."""
        self._ids[trade_id] = at
        if len(self._ids) > MOST:
            oldest = next(iter(self._ids))
            # Others that came with it may be known still.
            forgotten = self._ids.pop(oldest) + timedelta.resolution
            self.since = forgotten if self.since is None else max(self.since, forgotten)

    def reaches(self, at: datetime) -> bool:
        """Whether it knows every trade that came to the stream from then on."""
        return self.since is not None and self.since <= at


class Known:
    """Which trades of a span of time the stream has, or will have: `seen` knows the last ones, what
    it does not reach back to is read from the stream. Asked for while `is_current`."""

    def __init__(
        self,
        seen: Seen,
        stream: Stream,
        waiting: Callable[[], datetime | None],
        since: datetime,
        until: datetime,
    ) -> None:
        """Of trades that were made between these times. `waiting` says when the oldest message came
        that is not in the stream yet."""
        self._seen = seen
        self._stream = stream
        self._waiting = waiting
        self._begin = since
        self._since, self._until = (time_text(at) for at in (since - _CLOCKS, until + _CLOCKS))
        self._ids: set[str] = set()
        self._as_of = since - MARGIN
        """What came to the stream before is in `_ids`."""

    def __contains__(self, trade_id: str) -> bool:
        return trade_id in self._seen or trade_id in self._ids

    def __len__(self) -> int:
        """Ids that are remembered beside those of `seen`."""
        return len(self._ids)

    @property
    def is_current(self) -> bool:
        """Whether nothing was forgotten that matters."""
        return self._seen.reaches(self._as_of)

    async def refresh(self) -> None:
        """Read the stream anew.

        Raises:
            As `ssmd_stream.reader.reading` and `Reader.batch`.
        """
        as_of = self._waiting() or datetime.now(UTC)
        self._ids = {
            message.trade_id
            async for message in stored(self._stream, self._begin, subjects=("md.trade.>",))
            if isinstance(message, TradeMessage) and self._may_be_of_it(message.exchange_time)
        }
        # nats-py may lose a cancellation, and who asks waits for room that nobody makes any more.
        raise_if_cancelled()
        self._as_of = as_of

    def _may_be_of_it(self, at: str | None) -> bool:
        return at is None or self._since <= at <= self._until


@dataclass(slots=True)
class Tail:
    """The end of the stream: what is there already."""

    trades: set[str] = field(default_factory=set)
    quotes: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)
    """How many of a market and moment, by session."""
    ids: set[str] = field(default_factory=set)
    last_at: datetime | None = None
    """When the last message came, by its publisher's clock."""

    @classmethod
    async def read(cls, stream: Stream, since: datetime) -> Tail:
        """What came from `since` on.

        Raises:
            As `ssmd_stream.reader.reading` and `Reader.batch`.
        """
        tail = cls()
        async for message in stored(stream, since):
            tail.ids.add(message.id)
            if isinstance(message, TradeMessage):
                tail.trades.add(message.trade_id)
            elif isinstance(message, TickerMessage):
                quotes = tail.quotes.setdefault(message.session, Counter())
                quotes[message.ticker, message.exchange_time or ""] += 1
        tail.last_at = await last_at(stream)
        return tail


async def last_at(stream: Stream) -> datetime | None:
    """When the stream's last message came, by its publisher's clock; None where it has none.

    Raises:
        As `Stream.last`.
    """
    last = await stream.last()
    if last is None:
        return None
    try:
        return datetime.fromisoformat(decoded(last.payload).received_at)
    except (ValueError, msgspec.MsgspecError):
        return last.stored_at


async def stored(
    stream: Stream, since: datetime, *, subjects: tuple[str, ...] = ()
) -> AsyncIterator[Message]:
    """Messages that can be read, from `since` on, less a margin, to the stream's end of now.

    Raises:
        As `ssmd_stream.reader.reading` and `Reader.batch`.
    """
    info = await stream.info()
    begin = since.astimezone(UTC) - MARGIN
    first = await stream.first_where(lambda message: message.stored_at >= begin)
    if not info.messages or first > info.last_sequence:
        return
    async with reading(stream, first, subjects=subjects) as reader:
        # Current is it also where the last messages are of other subjects.
        while reader.next_sequence <= info.last_sequence and not reader.is_current:
            for delivery in await reader.batch(_BATCH, _WAIT_SECONDS):
                try:
                    message = decoded(delivery.payload)
                except (ValueError, msgspec.MsgspecError):
                    continue
                yield message
