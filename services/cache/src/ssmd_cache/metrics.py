"""Metrics of the cache; those that all services share are in `ssmd_common.metrics`."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

KEYS: Final = Gauge(
    "ssmd_cache_keys",
    "Rows that have a key in Redis, by kind (markets, events, series, fees), and markets in the "
    "index expiring; 0 where Redis was emptied",
    ["kind"],
)
CHANGES: Final = Counter(
    "ssmd_cache_changes",
    "Messages of the stream that were handled, by table and op; flat: nothing changes, or the "
    "stream is not followed",
    ["table", "op"],
)
STALE: Final = Counter(
    "ssmd_cache_stale_changes",
    "Changes that Redis already reflected, in this or a later state; rises after a restart or a "
    "warm-up, when messages come a second time",
)
WARMUPS: Final = Counter(
    "ssmd_cache_warmups",
    "Warm-ups completed: Redis filled anew from a snapshot; rises where Redis, the stream or the "
    "epoch was lost: the log has the reason",
)
WARMUP_SECONDS: Final = Gauge(
    "ssmd_cache_warmup_seconds", "Seconds that the last warm-up took; rises with the number of rows"
)
LAG_MESSAGES: Final = Gauge(
    "ssmd_cache_lag_messages",
    "Messages of the stream that are not applied to Redis yet; rises while Redis or the cache is "
    "slower than the stream",
)
SWEPT: Final = Counter(
    "ssmd_cache_swept",
    "Expired keys whose index entries were removed; rises as settled markets reach their TTL",
)
PRUNED: Final = Counter(
    "ssmd_cache_pruned",
    "Rows, keys and index entries removed at the end of a warm-up or of an epoch's announcement, "
    "because PostgreSQL has them no longer",
)
DRIFT: Final = Gauge(
    "ssmd_cache_drift",
    "Differences between Redis and PostgreSQL that the last reconciliation found; above 0 "
    "somebody else writes to Redis, or to PostgreSQL past the publication",
)
REDIS_MEMORY_BYTES: Final = Gauge(
    "ssmd_cache_redis_memory_bytes",
    "Bytes of memory that the Redis server uses, with all that others keep in it",
)
EXCHANGE_TO_SUBSCRIBER: Final = Histogram(
    "ssmd_exchange_to_subscriber_seconds",
    "Seconds from the exchange's own time of a lifecycle message to its arrival at this "
    "subscriber of the stream, by two clocks; rises while lifecycle, PostgreSQL, cdc or NATS is "
    "slow",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600),
)
UNREADABLE: Final = Counter(
    "ssmd_cache_unreadable",
    "Messages of the stream and rows that could not be read and were passed over, by what "
    "(message, row) and reason; the log names each once",
    ["what", "reason"],
)
UNREADABLE_ROWS: Final = Gauge(
    "ssmd_cache_unreadable_rows",
    "Rows of PostgreSQL that have no key in Redis now because they cannot be read: `ssmd cache "
    "verify` names them",
)
MENDED: Final = Counter(
    "ssmd_cache_mended",
    "Keys and index entries that were missing from Redis and were put back, by kind of row; rises "
    "while somebody else removes them",
    ["kind"],
)
REQUESTS: Final = Counter(
    "ssmd_cache_requests",
    "Requests to verify (POST /v1/cache/verify) that this process answered, by state (done, "
    "failed)",
    ["state"],
)
REQUEST_WAITS: Final = Gauge(
    "ssmd_cache_request_waiting_seconds",
    "Seconds since the oldest request to verify that is not answered yet was made, 0 without one; "
    "rises while Redis is behind or no comparison comes to its end",
)
