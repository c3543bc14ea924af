"""The API's own metrics. A route's label is its template: `/v1/markets/{ticker}`."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

REQUESTS: Final = Counter(
    "ssmd_api_requests",
    "Requests answered, by route template, method and status; statuses of 500 and above rise "
    "while PostgreSQL fails or the API has a fault",
    ["route", "method", "status"],
)
SECONDS: Final = Histogram(
    "ssmd_api_request_seconds",
    "Seconds from a request to its whole answer, by route template; /v1/changes lasts as long as "
    "its reader stays",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
IN_PROGRESS: Final = Gauge(
    "ssmd_api_requests_in_progress",
    "Requests being answered now, readers of /v1/changes included; rises while PostgreSQL is slow",
)
CACHE_READS: Final = Counter(
    "ssmd_api_cache_reads",
    "Reads from Redis, by outcome: hit, miss (PostgreSQL answered), unreadable (a value is no "
    "row), error (Redis did not answer in time)",
    ["outcome"],
)
REDIS_UP: Final = Gauge(
    "ssmd_api_redis_up", "1 while Redis answers; at 0 PostgreSQL answers every request"
)
UNREADABLE: Final = Counter(
    "ssmd_api_unreadable_messages",
    "Messages of the stream that /v1/changes could not read; its readers got `event: unreadable`",
)
REFUSED: Final = Counter(
    "ssmd_api_refused",
    "Requests refused before they were read, by reason: no_key, wrong_key, too_many_failures, "
    "scope, rate_limit; rises while somebody tries keys or asks too often. And overloaded: there "
    "was no turn in time for a connection to PostgreSQL",
    ["reason"],
)
READERS_CUT_OFF: Final = Counter(
    "ssmd_api_readers_cut_off",
    "Readers of /v1/changes that took less than they were sent for so long that they were cut off; "
    "they come again with the id of the last event that they have",
)
