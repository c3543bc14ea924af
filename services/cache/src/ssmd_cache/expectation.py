"""What Redis must hold for given rows of PostgreSQL, entry by entry; `now` is an argument."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from ssmd_cache.commands import picture_of
from ssmd_cache.entries import EXPIRES, VALUE, About, Entry, Found
from ssmd_cache.errors import UnreadableRow
from ssmd_cache.picture import (
    EventFacts,
    EventPicture,
    FeePicture,
    MarketPicture,
    SeriesFacts,
    SeriesPicture,
    facts_of,
    market_category,
    ticker_of,
)
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
            except UnreadableRow as error:
                self._hide(About(table, ticker_of(table, row)), error)
                continue
            picture = picture_of(facts, self.keys, self.now)
            entries: Found = {}
            match picture:
                case SeriesPicture():
                    assert isinstance(facts, SeriesFacts)
                    self.series_categories[picture.ticker] = facts.category or ""
                    assert picture.key is not None
                    entries = _string(picture.key, row, None)
                    whose = About(table, picture.ticker)
                case EventPicture():
                    assert isinstance(facts, EventFacts)
                    own = facts.category or ""
                    self.event_categories[picture.ticker] = own
                    whose = About(table, picture.ticker)
                    if picture.key is not None:
                        entries = _string(picture.key, row, picture.expires_ms)
                        entries[Entry(self.keys.events, picture.ticker)] = picture.key
                case MarketPicture():
                    whose = About(table, picture.ticker)
                    if picture.key is not None:
                        entries = self._market(picture, picture.key, row)
                case FeePicture():
                    steps = schedules.setdefault(picture.series, [])
                    steps.append((picture.from_microseconds, row))
                    continue
            found |= entries
            about |= dict.fromkeys(entries, whose)
        for series, steps in schedules.items():
            rows_in_order = [msgspec.json.decode(row) for _, row in sorted(steps)]
            entry = Entry(self.keys.fee(series), VALUE)
            found[entry] = rows_in_order
            about[entry] = About(table, series)
        return found, about

    def _hide(self, whose: About, error: UnreadableRow) -> None:
        """Its category still counts for its markets."""
        self.unreadable[whose] = str(error)
        match error.facts:
            case SeriesFacts(category=category):
                self.series_categories[whose.ticker] = category or ""
            case EventFacts(category=category):
                self.event_categories[whose.ticker] = category or ""

    def _market(self, picture: MarketPicture, key: str, row: bytes) -> Found:
        ticker = picture.ticker
        entries = _string(key, row, picture.expires_ms)
        entries[Entry(self.keys.markets, ticker)] = key
        entries[Entry(self.keys.event_markets(picture.event), ticker)] = True
        if picture.listed:
            category = market_category(
                self.event_categories.get(picture.event), self.series_categories.get(picture.series)
            )
            if category:
                entries[Entry(self.keys.markets_by_category(category), ticker)] = True
            if picture.closes is not None:
                entries[Entry(self.keys.expiring, ticker)] = float(picture.closes)
        return entries


def _string(key: str, row: bytes, expires_ms: int | None) -> Found:
    return {Entry(key, VALUE): msgspec.json.decode(row), Entry(key, EXPIRES): expires_ms}
