"""A page of a snapshot as a few commands of many arguments each. Pure.

They write over whatever is there: nothing is read or compared, which is what makes them fast, and
what then no longer belongs is taken out at the warm-up's end. The records by which the stream's
changes are judged later are laid out as `lua/records.lua` says.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from ssmd_cache.commands import sortable
from ssmd_cache.errors import UnreadableRow
from ssmd_cache.picture import (
    EventFacts,
    EventPicture,
    FeeFacts,
    MarketFacts,
    SeriesFacts,
    event_picture,
    facts_of,
    fee_picture,
    market_picture,
    microseconds,
    series_picture,
    ticker_of,
)
from ssmd_common.keys import Keys
from ssmd_stream.change import Position

Words = list[str | bytes]
"""One command of Redis: its name and its arguments."""

_packed: Final = msgspec.msgpack.Encoder().encode


class Fill:
    """The pages of one warm-up.

    `foreign` keys hold someone else's type: they are left alone, and a row whose value would stand
    there leaves no trace. A row is the value that a reader gets. One whose end has passed at `now`
    is left out; should it pass later, the sweep finds it.
    """

    def __init__(
        self,
        keys: Keys,
        position: Position,
        generation: str,
        now: datetime,
        foreign: frozenset[str] = frozenset(),
    ) -> None:
        self._keys, self._now, self._foreign = keys, now, foreign
        self._of_page: dict[str, Callable[..., None]] = {
            "series": self._series,
            "events": self._event,
            "markets": self._market,
            "series_fees": self._fees,
        }
        self._at, self._generation = sortable(position), generation
        self._markets, self._events, self._expiring = keys.markets, keys.events, keys.expiring
        self._market_records, self._event_records = keys.own("markets"), keys.own("events")
        self._expiries = keys.own("expiries")
        self._strings: Words = []
        self._ending: list[Words] = []
        self._gathered: dict[tuple[str, str], Words] = {}
        self.written: Counter[str] = Counter()
        """How many rows have a record, by table; of series_fees, how many series."""
        self.unreadable: dict[tuple[str, str], str] = {}
        """Rows that readers cannot be given, by table and ticker, and why."""

    def commands(self, table: str, page: Sequence[tuple[Any, ...]]) -> list[Words]:
        """What a page writes; its rows are as `Rows.all` yields them."""
        self._strings, self._ending, self._gathered = ["MSET"], [], {}
        add = self._of_page[table]
        for row in page:
            try:
                add(*row)
            except UnreadableRow as error:
                self._hide(table, row[0], error)
        strings = [self._strings] if len(self._strings) > 1 else []
        return [*strings, *self._ending, *self._gathered.values()]

    def _hide(self, table: str, row: bytes, error: UnreadableRow) -> None:
        """A row that readers cannot be given; its category still counts."""
        ticker = ticker_of(table, row)
        self.unreadable[table, ticker] = str(error)
        match error.facts:
            case SeriesFacts(category=category):
                record = ("", category or "")
                self._record("series", self._keys.own("series"), ticker, record)
            case EventFacts(series_ticker=series, category=category):
                self._event_record(EventPicture(ticker, series, None, category or "", None))

    def _series(self, row: bytes) -> None:
        facts = facts_of("series", row)
        assert isinstance(facts, SeriesFacts)
        picture = series_picture(facts, self._keys)
        key = picture.key or ""
        if key in self._foreign:
            return
        self._set(key, row)
        record = (key, picture.category)
        self._record("series", self._keys.own("series"), picture.ticker, record)

    def _event(self, row: bytes) -> None:
        facts = facts_of("events", row)
        assert isinstance(facts, EventFacts)
        picture = event_picture(facts, self._keys, self._now)
        key, expires = picture.key or "", _text(picture.expires_ms)
        if key in self._foreign:
            return
        if key:
            self._set(key, row, expires)
            self._add("HSET", self._events, picture.ticker, key)
        self._event_record(picture)

    def _event_record(self, picture: EventPicture) -> None:
        ticker, series, category = picture.ticker, picture.series, picture.category
        key, expires = picture.key or "", _text(picture.expires_ms)
        if not category:
            self._add("SADD", self._keys.uncategorised(series), ticker)
        # Without a key it is remembered for its markets; the sweep looks whether it has any.
        if look_at := expires if key else str(microseconds(self._now) // 1000):
            self._add("ZADD", self._expiries, look_at, f"e:{ticker}")
        self._record("events", self._event_records, ticker, (key, series, category, expires))

    def _market(self, row: bytes, category: str) -> None:
        facts = facts_of("markets", row)
        assert isinstance(facts, MarketFacts)
        picture = market_picture(facts, self._keys, self._now)
        key, ticker, event = picture.key, picture.ticker, picture.event
        if key is None or key in self._foreign:
            return
        closes, expires = picture.closes or "", _text(picture.expires_ms)
        self._set(key, row, expires)
        self._add("HSET", self._markets, ticker, key)
        self._add("SADD", self._keys.event_markets(event), ticker)
        if not picture.listed:
            category = ""
        if category:
            self._add("SADD", self._keys.markets_by_category(category), ticker)
        if closes:
            self._add("ZADD", self._expiring, closes, ticker)
        if expires:
            self._add("ZADD", self._expiries, expires, f"m:{ticker}")
        listed = "1" if picture.listed else "0"
        record = (key, event, picture.series, listed, category, closes, expires)
        self._record("markets", self._market_records, ticker, record)

    def _fees(self, schedule: list[bytes]) -> None:
        """The steps of one series, the earliest first."""
        steps = []
        for row in schedule:
            try:
                facts = facts_of("series_fees", row)
            except UnreadableRow as error:
                self._hide("series_fees", row, error)
                continue
            assert isinstance(facts, FeeFacts)
            picture = fee_picture(facts, self._keys)
            at = picture.from_microseconds
            steps.append((at, self._at, self._generation, row.decode()))
        if not steps or picture.key in self._foreign:
            return
        steps.sort()
        self._set(picture.key, f"[{','.join(step[3] for step in steps)}]")
        self._add("HSET", self._keys.own("fees"), picture.series, _packed(steps))
        self.written["series_fees"] += 1

    def _record(self, table: str, key: str, ticker: str, record: tuple[str, ...]) -> None:
        self._add("HSET", key, ticker, _packed((self._at, self._generation, *record)))
        self.written[table] += 1

    def _set(self, key: str, value: str | bytes, expires: str = "") -> None:
        if expires:
            self._ending.append(["SET", key, value, "PXAT", expires])
        else:
            self._strings += (key, value)

    def _add(self, command: str, key: str, *arguments: str | bytes) -> None:
        if key in self._foreign:
            return
        words = self._gathered.get((command, key))
        if words is None:
            words = self._gathered[command, key] = [command, key]
        words += arguments


def _text(milliseconds: int | None) -> str:
    return "" if milliseconds is None else str(milliseconds)
