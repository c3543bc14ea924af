"""Counters of the exchange client. Labels never carry tickers; foreign names are bounded."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "ssmd_kalshi_requests_total",
    "REST requests to the exchange, by endpoint and code (status, or the kind of transport "
    "failure); codes of 429 and 5xx rise while the exchange refuses or fails",
    ["endpoint", "code"],
)
REQUEST_SECONDS = Histogram(
    "ssmd_kalshi_request_seconds",
    "Seconds from sending a REST request to having its whole reply, by endpoint; rises while the "
    "exchange or the line to it is slow",
    ["endpoint"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
RETRIES = Counter(
    "ssmd_kalshi_retries_total",
    "REST requests that were sent again, by endpoint and reason; rises while the exchange answers "
    "with errors that pass",
    ["endpoint", "reason"],
)
TOKENS = Counter(
    "ssmd_kalshi_tokens_total",
    "Tokens of KALSHI_READ_BUDGET spent; most requests cost 10",
)
BUDGET_RATE = Gauge(
    "ssmd_kalshi_budget_tokens_per_second",
    "Tokens a second that requests may spend now, a little below KALSHI_READ_BUDGET; falls for a "
    "while after the exchange answered 429",
)
BUDGET_WAIT_SECONDS = Counter(
    "ssmd_kalshi_budget_wait_seconds_total",
    "Seconds that requests waited for their turn in the budget; rises fast where the budget is "
    "what limits",
)
SUSPECT_PAGES = Counter(
    "ssmd_kalshi_suspect_pages_total",
    "Pages of listings that looked wrong and were asked for again, by endpoint and suspicion "
    "(cursor_loop, repeated_page, empty_page, short_page); rises while the exchange pages badly",
    ["endpoint", "suspicion"],
)
UNKNOWN_FIELDS = Counter(
    "ssmd_kalshi_unknown_fields_total",
    "Fields of REST rows that this version does not know, by entity and field; rises once the "
    "exchange has grown: `ssmd exchange drift` lists them",
    ["entity", "field"],
)
UNKNOWN_WORDS = Counter(
    "ssmd_kalshi_unknown_words_total",
    "Words of an enumeration (a status, a type) that this version does not know, by field and "
    "word; rises once the exchange has grown: `ssmd exchange drift` lists them",
    ["field", "word"],
)
REJECTED_FIELDS = Counter(
    "ssmd_kalshi_rejected_fields_total",
    "Fields of REST rows whose value could not be read, by entity and field; the rest of each row "
    "was; rises while the exchange sends a form that is not understood",
    ["entity", "field"],
)
REJECTED_ROWS = Counter(
    "ssmd_kalshi_rows_rejected_total",
    "REST rows that were rejected whole, having no readable ticker, and unreadable steps of a fee "
    "schedule, by entity; rises while the exchange sends such rows",
    ["entity"],
)
SOCKET_MESSAGES = Counter(
    "ssmd_kalshi_socket_messages_total",
    "WebSocket messages received, by type; flat: the exchange says nothing, or nothing is "
    "subscribed",
    ["type"],
)
SOCKET_GAPS = Counter(
    "ssmd_kalshi_socket_gaps_total",
    "Intervals of a WebSocket channel in which messages may have been missed, by reason; rises "
    "while the connection breaks again and again",
    ["reason"],
)
SOCKET_CONNECTS = Counter(
    "ssmd_kalshi_socket_connects_total",
    "WebSocket connections tried, by outcome (open, unreachable, or the HTTP status of the "
    "refusal); rises with each reconnect",
    ["outcome"],
)

_TYPES = frozenset(
    {
        "market_lifecycle_v2",
        "event_lifecycle",
        "event_fee_update",
        "multivariate_market_lifecycle",
        "trade",
        "ticker",
        "orderbook_snapshot",
        "orderbook_delta",
    }
)
_MESSAGES = {name: SOCKET_MESSAGES.labels(name) for name in (*_TYPES, "other")}


def count_messages(kind: str, count: int) -> None:
    """Count WebSocket messages of a type; foreign types under one label."""
    _MESSAGES.get(kind, _MESSAGES["other"]).inc(count)
