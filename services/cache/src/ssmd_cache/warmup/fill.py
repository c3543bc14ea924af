"""A page of a snapshot as a few commands of many arguments each. Pure.

    row → its record (projection) → SET of its value, entries of indexes, HSET of the record

They write over whatever is there: nothing is read or compared, which is what makes them fast, and
what then no longer belongs is taken out at the warm-up's end. A row with an end needs a SET of its
own; all else is gathered by command and key, so that a page is some dozens of commands. The records
alone link what is written here with the script, by which the stream's changes are judged later.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from ssmd_cache.errors import UnreadableRow
from ssmd_cache.projection.commands import Words
from ssmd_cache.projection.facts import FeeFacts, facts_of, ticker_of
from ssmd_cache.projection.project import each_entry, keyless, milliseconds, project
from ssmd_cache.projection.records import (
    KINDS,
    EventRecord,
    FeeStep,
    MarketRecord,
    Record,
    sortable,
)
from ssmd_common.keys import Keys
from ssmd_stream.change import Position

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
        self._at, self._generation = sortable(position), generation
        self._expiries = keys.own("expiries")
        self._own = {"series_fees": keys.own("fees")}
        self._own |= {table: keys.own(table) for table in ("series", "events", "markets")}
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
        for row in page:
            if table == "series_fees":
                self._schedule(*row)
            else:
                self._row(table, *row)
        strings = [self._strings] if len(self._strings) > 1 else []
        return [*strings, *self._ending, *self._gathered.values()]

    def _row(self, table: str, row: bytes, category: str = "") -> None:
        at, generation = self._at, self._generation
        try:
            facts = facts_of(table, row)
            record = project(
                facts, self._keys, self._now, position=at, generation=generation, category=category
            )
        except UnreadableRow as error:
            self.unreadable[table, ticker_of(table, row)] = str(error)
            facts = error.facts
            if facts is None:
                return
            record = keyless(table, facts, at, generation)
        assert not isinstance(record, FeeStep)
        ticker, key = facts.ticker, record.key
        if key in self._foreign or (not key and isinstance(record, MarketRecord)):
            return
        expires = record.expires
        if key:
            self._set(key, row, expires)
            each_entry(ticker, record, self._keys, self._add)
        if isinstance(record, EventRecord):
            if not record.category:
                self._add("SADD", self._keys.uncategorised(record.series), ticker)
            if not key:
                # It is remembered for its markets; the sweep looks whether it has any.
                expires = str(milliseconds(self._now))
        if expires:
            self._add("ZADD", self._expiries, expires, f"{KINDS[table]}:{ticker}")
        self._record(table, ticker, record)

    def _schedule(self, schedule: list[bytes]) -> None:
        """The steps of one series' fees."""
        steps: list[FeeStep] = []
        series = ""
        for row in schedule:
            try:
                facts = facts_of("series_fees", row)
            except UnreadableRow as error:
                self.unreadable["series_fees", ticker_of("series_fees", row)] = str(error)
                continue
            assert isinstance(facts, FeeFacts)
            step = project(facts, self._keys, position=self._at, generation=self._generation)
            assert isinstance(step, FeeStep)
            step.json, series = row.decode(), facts.ticker
            steps.append(step)
        key = self._keys.fee(series)
        if not steps or key in self._foreign:
            return
        steps.sort(key=lambda step: step.start)
        self._set(key, f"[{','.join(step.json for step in steps)}]")
        self._record("series_fees", series, steps)

    def _record(self, table: str, ticker: str, record: Record | list[FeeStep]) -> None:
        self._add("HSET", self._own[table], ticker, _packed(record))
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
