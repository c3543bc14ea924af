"""Which markets and events a query gets, and in which pages.

The exchange does not complain about every combination of filters that it cannot serve: some
answer 400, others quietly nothing.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ssmd_simulator.life import STATUSES_OF_QUERY
from ssmd_simulator.rendering import updated_at
from ssmd_simulator.universe import Event, Market, Universe, event_key, market_key
from ssmd_simulator.wire import BadCursor, decode_cursor, encode_cursor


class BadRequest(Exception):
    """The request cannot be served; the sentence goes into the reply."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query string with typed access; unknown parameters are ignored, as the exchange does."""

    values: Mapping[str, str]

    def text(self, name: str) -> str:
        """The parameter, '' when absent."""
        return self.values.get(name, "")

    def integer(self, name: str) -> int | None:
        """The parameter as a number, None when absent or empty."""
        text = self.values.get(name, "")
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise BadRequest(f"invalid value for parameter {name}: {text}") from None

    def flag(self, name: str) -> bool:
        """The parameter as a boolean, False when absent."""
        text = self.values.get(name, "").lower()
        if text not in ("", "true", "false", "1", "0"):
            raise BadRequest(f"invalid value for parameter {name}: {text}")
        return text in ("true", "1")

    def limit(self, default: int, most: int, least: int = 1) -> int:
        """The page size; out of range is an error."""
        limit = self.integer("limit")
        if limit is None:
            return default
        if not least <= limit <= most:
            raise BadRequest(f"invalid value for parameter limit: must be {least} to {most}")
        return limit or default

    def names(self, name: str) -> list[str]:
        """A comma-separated list; empty entries are dropped."""
        return [part for part in self.values.get(name, "").split(",") if part]

    def cursor(self) -> tuple[int, str] | None:
        """Where the page starts, exclusive; None at the beginning."""
        text = self.values.get("cursor", "")
        if not text:
            return None
        try:
            return decode_cursor(text)
        except BadCursor:
            raise BadRequest("invalid cursor") from None


T = TypeVar("T")

_TIMES: dict[str, frozenset[str]] = {
    # A time filter, and the `status` words it goes with; '' is no status at all.
    "created": frozenset({"unopened", "open", ""}),
    "close": frozenset({"closed", ""}),
    "settled": frozenset({"settled", ""}),
    "updated": frozenset({""}),
}


def markets_page(
    universe: Universe, query: Query, now: float, cutoff: float
) -> tuple[list[Market], str]:
    """A page of `GET /markets` and its cursor ('' on the last page)."""
    limit = query.limit(100, 1000, least=0)
    status, mve = query.text("status"), query.text("mve_filter")
    if status and status not in STATUSES_OF_QUERY:
        raise BadRequest(f"invalid value for parameter status: {status}")
    if mve not in ("", "only", "exclude"):
        raise BadRequest(f"invalid value for parameter mve_filter: {mve}")
    bounds = {
        kind: (query.integer(f"min_{kind}_ts"), query.integer(f"max_{kind}_ts")) for kind in _TIMES
    }
    used = [kind for kind, pair in bounds.items() if pair != (None, None)]
    if "updated" in used:
        _check_updated(query, used, mve)
    if len(used) > 1 or any(status not in _TIMES[kind] for kind in used):
        # Not an error on the exchange: the page is simply empty.
        return [], ""
    words = STATUSES_OF_QUERY.get(status)
    kind = used[0] if used else ""
    low, high = bounds[kind] if kind else (None, None)

    def wanted(market: Market) -> bool:
        if words is not None and market.status(now) not in words:
            return False
        if market.life.settled < cutoff or market.life.created > now:
            return False
        if mve and market.event.multivariate != (mve == "only"):
            return False
        return not kind or _within(_moment(market, kind, now), low, high, kind)

    candidates = _candidates(universe, query, status)
    return _page(candidates, wanted, limit, market_key)


def historical_page(universe: Universe, query: Query, cutoff: float) -> tuple[list[Market], str]:
    """A page of `GET /historical/markets`: settled before the cutoff; one filter at a time."""
    limit = query.limit(100, 1000, least=0)
    mve = query.text("mve_filter")
    if mve not in ("", "exclude"):
        raise BadRequest(f"invalid value for parameter mve_filter: {mve}")
    filters = [name for name in ("tickers", "event_ticker", "series_ticker") if query.text(name)]
    if len(filters) > 1:
        raise BadRequest("filters are mutually exclusive: " + ", ".join(filters))

    def wanted(market: Market) -> bool:
        if market.life.settled >= cutoff:
            return False
        return not (mve and market.event.multivariate)

    candidates = _candidates(universe, query, "settled")
    return _page(candidates, wanted, limit, market_key)


def events_page(
    universe: Universe, query: Query, now: float, *, multivariate: bool = False
) -> tuple[list[Event], str]:
    """A page of `GET /events` (or of `/events/multivariate`) and its cursor."""
    limit = query.limit(100 if multivariate else 200, 200)
    status = query.text("status")
    if status and (status not in STATUSES_OF_QUERY or status == "paused"):
        raise BadRequest(f"invalid value for parameter status: {status}")
    words = STATUSES_OF_QUERY.get(status)
    closing, updated = query.integer("min_close_ts"), query.integer("min_updated_ts")
    series_ticker = query.text("series_ticker")
    collection = query.text("collection_ticker") if multivariate else ""
    if collection and series_ticker:
        raise BadRequest("collection_ticker cannot be used together with series_ticker")

    def wanted(event: Event) -> bool:
        if event.multivariate != multivariate or (collection and event.collection != collection):
            return False
        if words is not None and not any(m.status(now) in words for m in event.markets):
            return False
        if closing is not None and not any(m.life.close > closing for m in event.markets):
            return False
        return updated is None or (event.updated or 0.0) > updated

    tickers = query.names("tickers")
    if tickers:
        known = (universe.events.get(name) for name in tickers)
        chosen = [e for e in known if e and (not series_ticker or e.series.ticker == series_ticker)]
        ordered = sorted(set(chosen), key=event_key)
    elif series_ticker:
        series = universe.series.get(series_ticker)
        ordered = sorted(series.events if series else [], key=event_key)
    else:
        ordered = universe.event_order
    return _page(_backwards(ordered, query.cursor(), event_key), wanted, limit, event_key)


def _check_updated(query: Query, used: list[str], mve: str) -> None:
    others = [kind for kind in used if kind != "updated"]
    named = [name for name in ("status", "event_ticker", "tickers") if query.text(name)]
    if others or named or mve == "only":
        raise BadRequest("min_updated_ts cannot be combined with other filters")
    if query.text("series_ticker") and mve != "exclude":
        raise BadRequest("min_updated_ts with series_ticker requires mve_filter=exclude")


def _moment(market: Market, kind: str, now: float) -> float | None:
    match kind:
        case "created":
            return market.life.created
        case "close":
            return market.life.close
        case "settled":
            return market.life.settled if market.life.settled <= now else None
        case _:
            return updated_at(market, now)


def _within(moment: float | None, low: int | None, high: int | None, kind: str) -> bool:
    if moment is None or (low is not None and moment <= low):
        return False
    if high is None:
        return True
    return moment <= high if kind == "updated" else moment < high


def _candidates(universe: Universe, query: Query, status: str) -> Iterable[Market]:
    tickers = query.names("tickers")
    event_ticker, series_ticker = query.text("event_ticker"), query.text("series_ticker")
    if tickers or event_ticker or series_ticker:
        if tickers:
            # Unknown tickers are left out without a word.
            chosen = [universe.markets[name] for name in tickers if name in universe.markets]
        elif event_ticker:
            event = universe.events.get(event_ticker)
            chosen = list(event.markets) if event else []
        else:
            series = universe.series.get(series_ticker)
            chosen = [m for e in series.events for m in e.markets] if series else []
        if event_ticker:
            chosen = [m for m in chosen if m.event.ticker == event_ticker]
        if series_ticker:
            chosen = [m for m in chosen if m.event.series.ticker == series_ticker]
        chosen = sorted(set(chosen), key=market_key)
    elif status == "settled":
        chosen = universe.settled
    else:
        chosen = universe.unsettled if status else universe.listed
    return _backwards(chosen, query.cursor(), market_key)


def _backwards(
    ordered: list[T], start: tuple[int, str] | None, key: Callable[[T], tuple[int, str]]
) -> Iterator[T]:
    """What comes before `start` in an ascending list, last first."""
    end = len(ordered) if start is None else bisect_left(ordered, start, key=key)
    for at in range(end - 1, -1, -1):
        yield ordered[at]


def _page(
    candidates: Iterable[T],
    wanted: Callable[[T], bool],
    limit: int,
    key: Callable[[T], tuple[int, str]],
) -> tuple[list[T], str]:
    found: list[T] = []
    for candidate in candidates:
        if not wanted(candidate):
            continue
        if len(found) == limit:
            return found, encode_cursor(*key(found[-1]))
        found.append(candidate)
    return found, ""
