"""What Redis must hold for given rows of PostgreSQL, entry by entry. Pure: `now` is an argument."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from ssmd_cache.errors import UnreadableRow
from ssmd_cache.projection.facts import Facts, MarketFacts, facts_of, ticker_of
from ssmd_cache.projection.project import each_entry, keyless, market_category, project
from ssmd_cache.projection.records import EventRecord, FeeStep, RowRecord, SeriesRecord
from ssmd_cache.verify.entries import EXPIRES, VALUE, About, Entry, Found
from ssmd_common.keys import Keys


@dataclass(slots=True)
class Expectation:
    """Grows table by table: series first, then events, then markets, then fees."""

    keys: Keys
    now: datetime
    series_categories: dict[str, str] = field(default_factory=dict)
    event_categories: dict[str, str] = field(default_factory=dict)
    unreadable: dict[About, str] = field(default_factory=dict)
    """Rows that readers cannot be given, and why: nothing is to be there of them."""

    def of(self, table: str, rows: Iterable[bytes]) -> tuple[Found, dict[Entry, About]]:
        """The entries of these rows, and which row each is of.

        Of series_fees all steps of a series must come at once.
        """
        found: Found = {}
        about: dict[Entry, About] = {}
        schedules: dict[str, list[tuple[int, bytes]]] = {}
        for row in rows:
            try:
                facts = facts_of(table, row)
                record = project(facts, self.keys, self.now, category=self._category(facts))
            except UnreadableRow as error:
                self.unreadable[About(table, ticker_of(table, row))] = str(error)
                if error.facts is None or table == "series_fees":
                    continue
                facts, record = error.facts, keyless(table, error.facts)
            ticker = facts.ticker
            match record:
                case FeeStep():
                    schedules.setdefault(ticker, []).append((record.start, row))
                    continue
                case SeriesRecord():
                    self.series_categories[ticker] = record.category
                case EventRecord():
                    self.event_categories[ticker] = record.category
                case _:
                    pass
            own = self._entries(ticker, record, row)
            found |= own
            about |= dict.fromkeys(own, About(table, ticker))
        for series, steps in schedules.items():
            rows_in_order = [msgspec.json.decode(row) for _, row in sorted(steps)]
            entry = Entry(self.keys.fee(series), VALUE)
            found[entry] = rows_in_order
            about[entry] = About(table, series)
        return found, about

    def _category(self, facts: Facts) -> str:
        """A market's."""
        if not isinstance(facts, MarketFacts):
            return ""
        return market_category(
            self.event_categories.get(facts.event_ticker),
            self.series_categories.get(facts.series_ticker),
        )

    def _entries(self, ticker: str, record: RowRecord, row: bytes) -> Found:
        if not record.key:
            return {}
        found: Found = {
            Entry(record.key, VALUE): msgspec.json.decode(row),
            Entry(record.key, EXPIRES): int(record.expires) if record.expires else None,
        }

        def put_in(command: str, key: str, *arguments: str) -> None:
            match command, arguments:
                case "HSET", (member, content):
                    found[Entry(key, member)] = content
                case "ZADD", (score, member):
                    found[Entry(key, member)] = float(score)
                case _:
                    found[Entry(key, arguments[0])] = True

        each_entry(ticker, record, self.keys, put_in)
        return found
