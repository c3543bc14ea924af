"""Tables in memory with their indexes: what is known, and what of it fits a question. Pure."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from ssmd_client.live.scope import Scope
from ssmd_client.rows import Event, FeeTier, Market, Series, SeriesFee
from ssmd_common.status import NOT_YET_CLOSED, MarketStatus

Key = tuple[Any, ...] | str

_KEYS: Final[dict[str, Callable[[Any], Key]]] = {
    "series": lambda row: row.ticker,
    "events": lambda row: row.event_ticker,
    "markets": lambda row: row.ticker,
    "series_fees": lambda row: (row.series_ticker, row.effective_from),
    "fees": lambda row: row.tier,
}


class Picture:
    """Rows by key, soft-deleted ones too; questions about many leave those out."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.series: dict[str, Series] = {}
        self.events: dict[str, Event] = {}
        self.markets: dict[str, Market] = {}
        self.fees: dict[str, FeeTier] = {}
        self.series_fees: dict[Key, SeriesFee] = {}
        self.tables: Final[dict[str, dict[Any, Any]]] = {
            "series": self.series,
            "events": self.events,
            "markets": self.markets,
            "fees": self.fees,
            "series_fees": self.series_fees,
        }
        self.is_lacking = False
        """Whether markets came into scope that were never read: only a new snapshot has them."""
        self._is_scoped = scope.is_bounded
        self._events_of: defaultdict[str, list[str]] = defaultdict(list)
        self._markets_of: defaultdict[str, list[str]] = defaultdict(list)
        self._steps_of: defaultdict[str, list[Key]] = defaultdict(list)
        self._by_status: defaultdict[str, set[str]] = defaultdict(set)
        self._closing: list[tuple[datetime, str]] | None = None
        """Markets not yet closed by their close time; made when it is first asked for."""

    def key(self, table: str, row: Any) -> Key:
        """By which the table holds a row."""
        return _KEYS[table](row)

    def put(self, table: str, row: Any) -> tuple[Any, Any]:
        """Take over a row; what was there, and what is now (None: it is out of scope)."""
        key = _KEYS[table](row)
        rows = self.tables[table]
        if self._is_scoped and not (
            self.scope.holds(table, row) and (table != "markets" or self._fits(row))
        ):
            return self.remove(table, key), None
        before = rows.get(key)
        rows[key] = row
        if before is not None and self.scope.categories and table in ("series", "events"):
            self._recategorize(before, row)
        if before is None:
            self._add(table, row)
        elif table in ("events", "markets"):
            self._move(table, before, row)
        return before, row

    def remove(self, table: str, key: Key) -> Any:
        """Forget a row; what was there."""
        before = self.tables[table].pop(key, None)
        if before is None:
            return None
        match table:
            case "events":
                _drop(self._events_of, before.series_ticker, key)
            case "markets":
                _drop(self._markets_of, before.event_ticker, key)
                self._unindex(before)
            case "series_fees":
                _drop(self._steps_of, before.series_ticker, key)
            case _:
                pass
        return before

    def clear(self, table: str) -> None:
        """Forget every row of a table."""
        for key in list(self.tables[table]):
            self.remove(table, key)

    # Questions.

    def category_of(self, market: Market) -> str | None:
        """The event's, else the series'."""
        event = self.events.get(market.event_ticker)
        if event is not None and event.category is not None:
            return event.category
        series = self.series.get(market.series_ticker)
        return None if series is None else series.category

    def of_event(self, ticker: str) -> list[Market]:
        """The markets of an event that are not deleted."""
        found = (self.markets[each] for each in self._markets_of.get(ticker, ()))
        return [market for market in found if market.deleted_at is None]

    def schedule(self, series: str) -> list[SeriesFee]:
        """A series' fees over time, the earliest first."""
        found = [self.series_fees[key] for key in self._steps_of.get(series, ())]
        return sorted(found, key=lambda fee: (fee.effective_from is not None, fee.effective_from))

    def find(
        self,
        *,
        series: Collection[str] = (),
        event: str | None = None,
        categories: Collection[str] = (),
        statuses: Collection[str] = (),
        tags: Collection[str] = (),
        closing: tuple[datetime | None, datetime | None] | None = None,
        is_game: bool | None = None,
    ) -> Iterator[Market]:
        """The markets that fit all of it, soft-deleted ones aside. `closing` is from (inclusive)
        and before; where it is given only what is not yet closed fits."""
        wanted = set(statuses)
        if MarketStatus.OPEN in wanted:
            wanted |= set(NOT_YET_CLOSED)
        if closing is not None:
            wanted = wanted & set(NOT_YET_CLOSED) if wanted else set(NOT_YET_CLOSED)
        for ticker in self._candidates(series, event, wanted, closing, tags):
            market = self.markets[ticker]
            if market.deleted_at is not None or (wanted and market.status not in wanted):
                continue
            if event is not None and market.event_ticker != event:
                continue
            if series and market.series_ticker not in series:
                continue
            if closing is not None and not _within(market.close_time, closing):
                continue
            if categories and self.category_of(market) not in categories:
                continue
            if tags or is_game is not None:
                its = self.series.get(market.series_ticker)
                if its is None or (tags and not set(tags) & set(its.tags or ())):
                    continue
                if is_game is not None and its.is_game is not is_game:
                    continue
            yield market

    def _candidates(
        self,
        series: Collection[str],
        event: str | None,
        statuses: Collection[str],
        closing: tuple[datetime | None, datetime | None] | None,
        tags: Collection[str],
    ) -> Iterable[str]:
        """Tickers among which those are that fit; by the index that leaves the fewest."""
        if event is not None:
            return list(self._markets_of.get(event, ()))
        if tags and not series:
            series = [s.ticker for s in self.series.values() if set(tags) & set(s.tags or ())]
        if series or tags:
            return [
                ticker
                for each in series
                for event in self._events_of.get(each, ())
                for ticker in self._markets_of.get(event, ())
            ]
        if closing is not None:
            order = self._by_close_time()
            begin, end = closing
            first = 0 if begin is None else bisect_left(order, (begin, ""))
            last = len(order) if end is None else bisect_left(order, (end, ""))
            return [ticker for _, ticker in order[first:last]]
        if statuses:
            return [ticker for each in statuses for ticker in self._by_status.get(each, ())]
        return list(self.markets)

    # Indexes.

    def _recategorize(self, before: Series | Event, row: Series | Event) -> None:
        """Another category of an event or series may move markets out of scope, or into it."""
        if before.category == row.category:
            return
        self.is_lacking = True
        for ticker in [ticker for ticker, market in self.markets.items() if not self._fits(market)]:
            self.remove("markets", ticker)

    def _fits(self, market: Market) -> bool:
        return not self.scope.categories or self.scope.holds_category(self.category_of(market))

    def _add(self, table: str, row: Any) -> None:
        if table == "markets":
            self._markets_of[row.event_ticker].append(row.ticker)
            self._index(row)
        elif table == "events":
            self._events_of[row.series_ticker].append(row.event_ticker)
        elif table == "series_fees":
            self._steps_of[row.series_ticker].append(self.key(table, row))

    def _move(self, table: str, before: Any, row: Any) -> None:
        if table == "events":
            if before.series_ticker != row.series_ticker:
                _drop(self._events_of, before.series_ticker, before.event_ticker)
                self._add(table, row)
            return
        if before.event_ticker != row.event_ticker:
            _drop(self._markets_of, before.event_ticker, before.ticker)
            self._markets_of[row.event_ticker].append(row.ticker)
        if before.status != row.status or before.close_time != row.close_time:
            self._unindex(before)
            self._index(row)

    def _index(self, market: Market) -> None:
        self._by_status[market.status].add(market.ticker)
        if self._closing is not None and (at := _closes(market)) is not None:
            insort(self._closing, (at, market.ticker))

    def _unindex(self, market: Market) -> None:
        self._by_status[market.status].discard(market.ticker)
        if self._closing is not None and (at := _closes(market)) is not None:
            del self._closing[bisect_left(self._closing, (at, market.ticker))]

    def _by_close_time(self) -> list[tuple[datetime, str]]:
        if self._closing is None:
            self._closing = sorted(
                (at, market.ticker)
                for market in self.markets.values()
                if (at := _closes(market)) is not None
            )
        return self._closing


def _closes(market: Market) -> datetime | None:
    """When it is to close; None where it has."""
    return market.close_time if market.status in NOT_YET_CLOSED else None


def _within(at: datetime | None, span: tuple[datetime | None, datetime | None]) -> bool:
    if at is None:
        return False
    begin, end = span
    return (begin is None or begin <= at) and (end is None or at < end)


def _drop(index: dict[str, list[Any]], name: str, key: Any) -> None:
    found = index[name]
    found.remove(key)
    if not found:
        del index[name]
