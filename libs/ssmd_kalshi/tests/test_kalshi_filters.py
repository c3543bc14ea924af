"""Filter combinations that the exchange mishandles."""

import pytest

from ssmd_kalshi import endpoints, filters
from ssmd_kalshi.errors import ForbiddenFilterError
from ssmd_kalshi.rest import KalshiRest

ALLOWED = [
    {},
    {"status": "open", "mve_filter": "exclude"},
    {"status": "paused"},
    {"min_created_ts": 1, "max_created_ts": 2},
    {"min_created_ts": 1, "status": "unopened"},
    {"min_created_ts": 1, "status": "open"},
    {"min_close_ts": 1, "status": "closed"},
    {"max_close_ts": 1},
    {"min_settled_ts": 1, "status": "settled"},
    {"min_updated_ts": 1},
    {"min_updated_ts": 1, "max_updated_ts": 5, "mve_filter": "exclude"},
    {
        "min_updated_ts": 1,
        "mve_filter": "exclude",
        "series_ticker": "S",
        "limit": 10,
        "cursor": "c",
    },
    {"tickers": "A,B", "limit": 1000},
    {"event_ticker": "E", "series_ticker": "S"},
]

FORBIDDEN = [
    ({"status": "active"}, "not the words"),
    ({"status": "open,closed"}, "per call"),
    ({"min_created_ts": 1, "min_close_ts": 1}, "exclude each other"),
    ({"min_settled_ts": 1, "max_updated_ts": 1}, "exclude each other"),
    ({"min_created_ts": 1, "status": "closed"}, "unopened"),
    ({"max_created_ts": 1, "status": "settled"}, "unopened"),
    ({"min_close_ts": 1, "status": "open"}, "closed"),
    ({"min_settled_ts": 1, "status": "closed"}, "settled"),
    ({"min_updated_ts": 1, "status": "open"}, "nothing or none"),
    ({"min_updated_ts": 1, "tickers": "A"}, "exclude tickers"),
    ({"min_updated_ts": 1, "event_ticker": "A"}, "exclude event_ticker"),
    ({"min_updated_ts": 1, "mve_filter": "only"}, "mve_filter=exclude"),
    ({"min_updated_ts": 1, "series_ticker": "S"}, "requires mve_filter=exclude"),
    ({"mve_filter": "include"}, "only or exclude"),
    ({"event_ticker": "A,B"}, "exactly one"),
    ({"series_ticker": "A,B"}, "exactly one"),
    ({"event_ticker": ""}, "exactly one"),
    ({"limit": 1001}, "1 to 1000"),
    ({"limit": 0}, "1 to 1000"),
    ({"tickers": ""}, "no filter at all"),
    ({"tickers": "A" * 7000}, "split it"),
    ({"min_created_ts": 5, "max_created_ts": 5}, "exclusive"),
]


@pytest.mark.parametrize("params", ALLOWED)
def test_allowed(params) -> None:
    filters.check(endpoints.MARKETS, params)


@pytest.mark.parametrize(("params", "rule"), FORBIDDEN)
def test_forbidden_with_the_rule_in_the_error(params, rule: str) -> None:
    with pytest.raises(ForbiddenFilterError, match=rule) as caught:
        filters.check(endpoints.MARKETS, params)
    assert "GET /markets was not sent" in str(caught.value)


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        ({"status": "paused"}, "one of"),
        ({"category": "Sports"}, "ignores category"),
        ({"status": "settled", "with_nested_markets": "true"}, "empty list"),
        ({"series_ticker": "A,B"}, "exactly one"),
        ({"limit": 201}, "1 to 200"),
    ],
)
def test_forbidden_on_events(params, rule: str) -> None:
    with pytest.raises(ForbiddenFilterError, match=rule):
        filters.check(endpoints.EVENTS, params)


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        ({"tickers": "A", "event_ticker": "E"}, "exclude each other"),
        ({"series_ticker": "A", "event_ticker": "E"}, "exclude each other"),
        ({"mve_filter": "only"}, "exclude or nothing"),
    ],
)
def test_forbidden_on_historical_markets(params, rule: str) -> None:
    with pytest.raises(ForbiddenFilterError, match=rule):
        filters.check(endpoints.HISTORICAL_MARKETS, params)


def test_ticker_with_a_comma_would_ask_for_two_others() -> None:
    with pytest.raises(ForbiddenFilterError):
        filters.ticker_list(["A,B"])
    assert filters.ticker_list(["A", "B"]) == "A,B"


async def test_refused_from_the_call_before_any_request(exchange) -> None:
    async with KalshiRest(exchange.base_url) as rest:
        with pytest.raises(ForbiddenFilterError):
            rest.markets(min_updated_ts=1, status="open")
        with pytest.raises(ForbiddenFilterError):
            rest.events(status="settled", with_nested_markets=True)
        with pytest.raises(ForbiddenFilterError):
            rest.historical_markets(event_ticker="E", series_ticker="S")
    assert exchange.requests == []
