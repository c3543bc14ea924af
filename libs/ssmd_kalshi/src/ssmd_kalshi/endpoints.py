"""The REST endpoints that the system reads: a name for metrics and budgets, and the path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

DEFAULT_COST = 10
"""Tokens that a call costs where `GET /account/endpoint_costs` does not say otherwise."""

MAX_MARKETS_PER_PAGE = 1000
MAX_EVENTS_PER_PAGE = 200
MAX_COLLECTIONS_PER_PAGE = 200
MAX_TRADES_PER_PAGE = 1000
MAX_ORDERBOOKS = 100
"""Markets of one request for order books."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One GET; `template` is its path below `/trade-api/v2`, with `{name}` for a path parameter."""

    name: str
    template: str

    def path(self, **values: str) -> str:
        """The path with its parameters percent-encoded; one segment stays one segment."""
        return self.template.format(**{k: quote(v, safe="") for k, v in values.items()})


SERIES_LIST = Endpoint("series_list", "/series")
SERIES = Endpoint("series", "/series/{ticker}")
SERIES_FEE_CHANGES = Endpoint("series_fee_changes", "/series/fee_changes")
EVENTS = Endpoint("events", "/events")
EVENT = Endpoint("event", "/events/{ticker}")
EVENT_FEE_CHANGES = Endpoint("event_fee_changes", "/events/fee_changes")
COLLECTIONS = Endpoint("multivariate_event_collections", "/multivariate_event_collections")
MARKETS = Endpoint("markets", "/markets")
MARKET = Endpoint("market", "/markets/{ticker}")
HISTORICAL_MARKETS = Endpoint("historical_markets", "/historical/markets")
HISTORICAL_MARKET = Endpoint("historical_market", "/historical/markets/{ticker}")
TRADES = Endpoint("trades", "/markets/trades")
HISTORICAL_TRADES = Endpoint("historical_trades", "/historical/trades")
ORDERBOOKS = Endpoint("orderbooks", "/markets/orderbooks")
HISTORICAL_CUTOFF = Endpoint("historical_cutoff", "/historical/cutoff")
TAGS_BY_CATEGORIES = Endpoint("tags_by_categories", "/search/tags_by_categories")
FILTERS_BY_SPORT = Endpoint("filters_by_sport", "/search/filters_by_sport")
EXCHANGE_STATUS = Endpoint("exchange_status", "/exchange/status")
EXCHANGE_SCHEDULE = Endpoint("exchange_schedule", "/exchange/schedule")
ENDPOINT_COSTS = Endpoint("endpoint_costs", "/account/endpoint_costs")

ALL: tuple[Endpoint, ...] = (
    SERIES_LIST,
    SERIES,
    SERIES_FEE_CHANGES,
    EVENTS,
    EVENT,
    EVENT_FEE_CHANGES,
    COLLECTIONS,
    MARKETS,
    MARKET,
    HISTORICAL_MARKETS,
    HISTORICAL_MARKET,
    TRADES,
    HISTORICAL_TRADES,
    ORDERBOOKS,
    HISTORICAL_CUTOFF,
    TAGS_BY_CATEGORIES,
    FILTERS_BY_SPORT,
    EXCHANGE_STATUS,
    EXCHANGE_SCHEDULE,
    ENDPOINT_COSTS,
)

_PARAMETER = re.compile(r"\{[^}/]*\}|:[A-Za-z_]+|<[^>/]*>")
_PREFIX = re.compile(r"^/?trade-api/v\d+")


def _shape(path: str) -> str:
    """A path as the exchange writes it (prefix, `{x}` or `:x`), reduced to what is comparable."""
    return _PARAMETER.sub("{}", _PREFIX.sub("", path.strip())).rstrip("/")


_BY_SHAPE = {_shape(endpoint.template): endpoint for endpoint in ALL}


def by_route(method: str, path: str) -> Endpoint | None:
    """The endpoint that a row of `endpoint_costs` means, or None where it is none of ours."""
    return _BY_SHAPE.get(_shape(path)) if method.upper() == "GET" else None
