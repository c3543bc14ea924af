"""Metrics of the cache; those that all services share are in `ssmd_common.metrics`."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

KEYS: Final = Gauge("ssmd_cache_keys", "Keys in Redis", ["kind"])
CHANGES: Final = Counter("ssmd_cache_changes", "Changes of the stream, handled", ["table", "op"])
STALE: Final = Counter("ssmd_cache_stale_changes", "Changes that Redis already reflected")
WARMUPS: Final = Counter("ssmd_cache_warmups", "Warm-ups that were completed")
WARMUP_SECONDS: Final = Gauge("ssmd_cache_warmup_seconds", "How long the last warm-up took")
LAG_MESSAGES: Final = Gauge("ssmd_cache_lag_messages", "Messages of the stream not yet in Redis")
SWEPT: Final = Counter("ssmd_cache_swept", "Expired keys whose index entries were removed")
PRUNED: Final = Counter("ssmd_cache_pruned", "Keys and entries removed that belong no longer")
DRIFT: Final = Gauge("ssmd_cache_drift", "Differences found by the last reconciliation")
REDIS_MEMORY_BYTES: Final = Gauge("ssmd_cache_redis_memory_bytes", "Memory that Redis uses")
EXCHANGE_TO_SUBSCRIBER: Final = Histogram(
    "ssmd_exchange_to_subscriber_seconds",
    "From the exchange's own time of a lifecycle message to its arrival at this subscriber",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600),
)
UNREADABLE: Final = Counter(
    "ssmd_cache_unreadable", "Messages and rows that could not be read", ["what", "reason"]
)
UNREADABLE_ROWS: Final = Gauge(
    "ssmd_cache_unreadable_rows", "Rows of PostgreSQL that Redis does not show as they are"
)
MENDED: Final = Counter(
    "ssmd_cache_mended", "Index entries and keys that were missing and were put back", ["kind"]
)
