"""Combinations of filters that the exchange mishandles, refused before a request is made.

The exchange answers some of them with nothing instead of an error, and others as if the filter were
not there; either would be taken for the truth. The rules are those of the specification's table for
`GET /markets` and of the notes beside the other endpoints. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssmd_kalshi.endpoints import (
    COLLECTIONS,
    EVENT_FEE_CHANGES,
    EVENTS,
    HISTORICAL_MARKETS,
    HISTORICAL_TRADES,
    MARKETS,
    MAX_ORDERBOOKS,
    ORDERBOOKS,
    TRADES,
    Endpoint,
)
from ssmd_kalshi.errors import ForbiddenFilterError

Params = Mapping[str, str | int]

MARKET_STATUSES = frozenset({"unopened", "open", "paused", "closed", "settled"})
COLLECTION_STATUSES = frozenset({"unopened", "open", "closed"})
EVENT_STATUSES = frozenset({"unopened", "open", "closed", "settled"})
MAX_LIMITS: Mapping[str, int] = {
    EVENTS.name: 200,
    COLLECTIONS.name: 200,
    MARKETS.name: 1000,
    HISTORICAL_MARKETS.name: 1000,
    EVENT_FEE_CHANGES.name: 1000,
    TRADES.name: 1000,
    HISTORICAL_TRADES.name: 1000,
}
MAX_QUERY_CHARACTERS = 6000
"""Longer lists of tickers do not fit into a URL that every proxy on the way accepts."""

CREATED = ("min_created_ts", "max_created_ts")
CLOSE = ("min_close_ts", "max_close_ts")
SETTLED = ("min_settled_ts", "max_settled_ts")
UPDATED = ("min_updated_ts", "max_updated_ts")
_PAGING = frozenset({"limit", "cursor"})


@dataclass(frozen=True, slots=True)
class TimeFilter:
    """One family of time filters and the status words it may stand beside (or no status)."""

    names: tuple[str, str]
    statuses: frozenset[str]


TIME_FILTERS: tuple[TimeFilter, ...] = (
    TimeFilter(CREATED, frozenset({"unopened", "open"})),
    TimeFilter(CLOSE, frozenset({"closed"})),
    TimeFilter(SETTLED, frozenset({"settled"})),
    TimeFilter(UPDATED, frozenset()),
)


def check(endpoint: Endpoint, params: Params) -> None:
    """Raise ForbiddenFilterError with the rule that the parameters break."""
    limit = params.get("limit")
    maximum = MAX_LIMITS.get(endpoint.name)
    if maximum is not None and limit is not None and not 1 <= int(limit) <= maximum:
        _refuse(endpoint, f"limit is {limit}, the exchange takes 1 to {maximum}")
    for name in ("tickers", "tags"):
        if len(str(params.get(name, ""))) > MAX_QUERY_CHARACTERS:
            _refuse(endpoint, f"{name} is longer than {MAX_QUERY_CHARACTERS} characters, split it")
        if name in params and not str(params[name]).strip(","):
            _refuse(endpoint, f"{name} is empty, which the exchange reads as no filter at all")
    for lower, upper in (CREATED, CLOSE, SETTLED, UPDATED):
        if lower in params and upper in params and int(params[lower]) >= int(params[upper]):
            _refuse(endpoint, f"{lower} is an exclusive bound and not below {upper}")
    if endpoint is MARKETS:
        _check_markets(params)
    elif endpoint is EVENTS:
        _check_events(params)
    elif endpoint is COLLECTIONS:
        _check_collections(params)
    elif endpoint is HISTORICAL_MARKETS:
        _check_historical(params)
    elif endpoint in (TRADES, HISTORICAL_TRADES):
        _check_trades(endpoint, params)


def _check_markets(params: Params) -> None:
    status = params.get("status")
    if status is not None and status not in MARKET_STATUSES:
        _refuse(
            MARKETS,
            f"status is {status!r}; the exchange takes one of {_listed(MARKET_STATUSES)} "
            "per call (not the words of the market's own status field)",
        )
    used = [family for family in TIME_FILTERS if any(name in params for name in family.names)]
    if len(used) > 1:
        names = " and ".join("/".join(family.names) for family in used)
        _refuse(MARKETS, f"{names} exclude each other")
    for family in used:
        if status is not None and status not in family.statuses:
            allowed = _listed(family.statuses) or "nothing"
            _refuse(
                MARKETS,
                f"{'/'.join(family.names)} goes with status {allowed} or none, not {status}",
            )
    mve = params.get("mve_filter")
    if mve not in (None, "only", "exclude"):
        _refuse(MARKETS, f"mve_filter is {mve!r}; the exchange takes only or exclude")
    if any(name in params for name in UPDATED):
        extra = set(params) - {*UPDATED, "mve_filter", "series_ticker"} - _PAGING
        if extra:
            _refuse(MARKETS, f"min_updated_ts/max_updated_ts exclude {_listed(extra)}")
        if mve == "only":
            _refuse(MARKETS, "min_updated_ts/max_updated_ts go with mve_filter=exclude only")
        if "series_ticker" in params and mve != "exclude":
            _refuse(MARKETS, "min_updated_ts with series_ticker requires mve_filter=exclude")
    _one_ticker(MARKETS, params, "event_ticker")
    _one_ticker(MARKETS, params, "series_ticker")


def _check_events(params: Params) -> None:
    status = params.get("status")
    if status is not None and status not in EVENT_STATUSES:
        _refuse(
            EVENTS, f"status is {status!r}; the exchange takes one of {_listed(EVENT_STATUSES)}"
        )
    if "category" in params:
        _refuse(EVENTS, "the exchange ignores category; filter series by category instead")
    if status == "settled" and params.get("with_nested_markets") == "true":
        _refuse(
            EVENTS,
            "settled events come with an empty list of nested markets; "
            "ask GET /markets or /historical/markets by event_ticker",
        )
    _one_ticker(EVENTS, params, "series_ticker")


def _check_collections(params: Params) -> None:
    status = params.get("status")
    if status is not None and status not in COLLECTION_STATUSES:
        words = _listed(COLLECTION_STATUSES)
        _refuse(COLLECTIONS, f"status is {status!r}; the exchange takes one of {words}")
    _one_ticker(COLLECTIONS, params, "series_ticker")


def _check_historical(params: Params) -> None:
    used = [name for name in ("tickers", "event_ticker", "series_ticker") if name in params]
    if len(used) > 1:
        _refuse(HISTORICAL_MARKETS, f"{' and '.join(used)} exclude each other")
    if params.get("mve_filter") not in (None, "exclude"):
        _refuse(HISTORICAL_MARKETS, "mve_filter takes exclude or nothing")
    _one_ticker(HISTORICAL_MARKETS, params, "event_ticker")


def _check_trades(endpoint: Endpoint, params: Params) -> None:
    _one_ticker(endpoint, params, "ticker")
    lower, upper = params.get("min_ts"), params.get("max_ts")
    if isinstance(lower, int) and isinstance(upper, int) and lower >= upper:
        _refuse(endpoint, "min_ts is not below max_ts")


def check_orderbooks(tickers: Sequence[str]) -> None:
    """Raise ForbiddenFilterError for none, too many, or an empty one."""
    if not 1 <= len(tickers) <= MAX_ORDERBOOKS or not all(tickers):
        _refuse(ORDERBOOKS, f"it takes 1 to {MAX_ORDERBOOKS} tickers")


def _one_ticker(endpoint: Endpoint, params: Params, name: str) -> None:
    value = params.get(name)
    if value is not None and (not str(value) or "," in str(value)):
        _refuse(endpoint, f"{name} takes exactly one ticker")


def ticker_list(tickers: Sequence[str]) -> str:
    """The value of `tickers=`; a comma inside a ticker would ask for two others."""
    for ticker in tickers:
        if not ticker or "," in ticker:
            raise ForbiddenFilterError(f"{ticker!r} is not a ticker")
    return ",".join(tickers)


def _refuse(endpoint: Endpoint, rule: str) -> None:
    raise ForbiddenFilterError(f"GET {endpoint.template} was not sent: {rule}")


def _listed(words: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(words))
