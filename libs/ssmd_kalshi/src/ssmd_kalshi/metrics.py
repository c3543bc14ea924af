"""Counters of the exchange client. Labels never carry tickers; foreign names are bounded."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "ssmd_kalshi_requests_total",
    "REST requests by endpoint and outcome (status code, or the kind of transport failure).",
    ["endpoint", "code"],
)
REQUEST_SECONDS = Histogram(
    "ssmd_kalshi_request_seconds",
    "Time from sending a request to having its whole reply.",
    ["endpoint"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
RETRIES = Counter(
    "ssmd_kalshi_retries_total",
    "Attempts repeated, by endpoint and reason.",
    ["endpoint", "reason"],
)
TOKENS = Counter("ssmd_kalshi_tokens_total", "Tokens of the read budget spent.")
BUDGET_RATE = Gauge(
    "ssmd_kalshi_budget_tokens_per_second", "The rate at which the budget is spent at present."
)
BUDGET_WAIT_SECONDS = Counter(
    "ssmd_kalshi_budget_wait_seconds_total", "Time that requests waited for the budget."
)
SUSPECT_PAGES = Counter(
    "ssmd_kalshi_suspect_pages_total",
    "Pages that were asked for again: loops, repetitions, empty or short ones.",
    ["endpoint", "suspicion"],
)
UNKNOWN_FIELDS = Counter(
    "ssmd_kalshi_unknown_fields_total",
    "Fields that this version does not know, by kind of row and field.",
    ["entity", "field"],
)
UNKNOWN_WORDS = Counter(
    "ssmd_kalshi_unknown_words_total",
    "Words of an enumeration that this version does not know, by field and word.",
    ["field", "word"],
)
REJECTED_FIELDS = Counter(
    "ssmd_kalshi_rejected_fields_total",
    "Fields whose value could not be read, by kind of row and field; their rows were.",
    ["entity", "field"],
)
SET_ASIDE = Counter(
    "ssmd_kalshi_rows_set_aside_total",
    "Rows that could not be read, by kind of row.",
    ["entity"],
)
SOCKET_MESSAGES = Counter(
    "ssmd_kalshi_socket_messages_total", "WebSocket messages received, by type.", ["type"]
)
SOCKET_GAPS = Counter(
    "ssmd_kalshi_socket_gaps_total",
    "Intervals of the WebSocket that are unknown, by reason.",
    ["reason"],
)
SOCKET_CONNECTS = Counter(
    "ssmd_kalshi_socket_connects_total", "WebSocket connection attempts, by outcome.", ["outcome"]
)
