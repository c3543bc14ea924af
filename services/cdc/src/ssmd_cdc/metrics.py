"""Metrics of cdc; `ssmd_common.metrics` has those that every service has."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

MESSAGES: Final = Counter(
    "ssmd_cdc_messages",
    "Messages that SECMASTER_CDC has acknowledged, by table and op; flat: nothing changes, or "
    "nothing is published",
    ["table", "op"],
)
IN_FLIGHT: Final = Gauge(
    "ssmd_cdc_in_flight_messages",
    "Messages sent and not yet acknowledged; stays at CDC_WINDOW_MESSAGES while NATS is slower "
    "than the database",
)
IN_FLIGHT_BYTES: Final = Gauge(
    "ssmd_cdc_in_flight_bytes",
    "Bytes sent and not yet acknowledged; stays at CDC_WINDOW_BYTES while NATS is slower than the "
    "database",
)
PUBLISH_SECONDS: Final = Histogram(
    "ssmd_cdc_publish_seconds",
    "Seconds from sending a message to its acknowledgement; rises while NATS or its disk is slow",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 10),
)
COMMIT_TO_ACK_SECONDS: Final = Histogram(
    "ssmd_cdc_commit_to_ack_seconds",
    "Seconds from a transaction's commit to the acknowledgement of its last message; rises while "
    "cdc is behind, or NATS is slow",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 300, 3600),
)
SLOT_LAG_BYTES: Final = Gauge(
    "ssmd_cdc_slot_lag_bytes",
    "Bytes of WAL between the slot's confirmed position and the server's end; rises while cdc is "
    "slower than the database or publishes nothing",
)
SLOT_RETAINED_BYTES: Final = Gauge(
    "ssmd_cdc_slot_retained_bytes",
    "Bytes of WAL that PostgreSQL keeps on its disk because of the slot; rises while nothing is "
    "confirmed, or a transaction stays open",
)
SLOT_SAFE_BYTES: Final = Gauge(
    "ssmd_cdc_slot_safe_wal_bytes",
    "Bytes of WAL that may still be written before PostgreSQL gives up the slot "
    "(max_slot_wal_keep_size); NaN without a limit; at 0 the slot is lost and a new epoch begins",
)
HEARTBEAT_SECONDS: Final = Gauge(
    "ssmd_cdc_heartbeat_seconds",
    "Seconds from writing the last heartbeat to the WAL to confirming it; rises with the lag",
)
RESTARTS: Final = Counter(
    "ssmd_cdc_restarts",
    "Replication sessions that ended by an error, by cause; cdc begins another each time: the log "
    "has the sentence",
    ["cause"],
)
EPOCHS: Final = Counter(
    "ssmd_cdc_epochs",
    "Epochs begun, by cause; but for first_start each says that the slot, the stream or the "
    "database was lost or restored, and subscribers get the whole state again",
    ["cause"],
)
EPOCH: Final = Gauge(
    "ssmd_cdc_epoch", "The number of the epoch that is published; rises with each new epoch"
)
NOT_STORING: Final = Gauge(
    "ssmd_cdc_not_storing",
    "1 while NATS answers and does not store: its disk or its account is full",
)
DEAD_LETTERS: Final = Counter(
    "ssmd_cdc_dead_letters",
    "Changes that SECMASTER_CDC could not carry: a marker took their place, their bytes are in "
    "SECMASTER_DLQ",
)
