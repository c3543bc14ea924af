"""The API's own metrics. A route's label is its template: `/v1/markets/{ticker}`."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

REQUESTS: Final = Counter(
    "ssmd_api_requests", "Requests by route template", ["route", "method", "status"]
)
SECONDS: Final = Histogram(
    "ssmd_api_request_seconds",
    "Time to answer by route template",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
IN_PROGRESS: Final = Gauge("ssmd_api_requests_in_progress", "Requests being answered")
CACHE_READS: Final = Counter(
    "ssmd_api_cache_reads", "Single reads: hit, miss, unreadable values, errors", ["outcome"]
)
REDIS_UP: Final = Gauge("ssmd_api_redis_up", "1 while Redis answers; without it all is from SQL")
UNREADABLE: Final = Counter(
    "ssmd_api_unreadable_messages", "Messages of the stream that were passed over as unreadable"
)
REFUSED: Final = Counter("ssmd_api_refused", "Requests refused before they were read", ["reason"])
