"""Metrics of cdc; `ssmd_common.metrics` has those that every service has."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

MESSAGES: Final = Counter(
    "ssmd_cdc_messages", "Messages acknowledged by the stream", ["table", "op"]
)
IN_FLIGHT: Final = Gauge("ssmd_cdc_in_flight_messages", "Messages sent and not yet acknowledged")
IN_FLIGHT_BYTES: Final = Gauge("ssmd_cdc_in_flight_bytes", "Bytes sent and not yet acknowledged")
PUBLISH_SECONDS: Final = Histogram(
    "ssmd_cdc_publish_seconds",
    "From sending a message to its acknowledgement",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 10),
)
COMMIT_TO_ACK_SECONDS: Final = Histogram(
    "ssmd_cdc_commit_to_ack_seconds",
    "From a transaction's commit to the acknowledgement of its last message",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 300, 3600),
)
SLOT_LAG_BYTES: Final = Gauge(
    "ssmd_cdc_slot_lag_bytes", "WAL between the server's end and the confirmed position"
)
SLOT_RETAINED_BYTES: Final = Gauge(
    "ssmd_cdc_slot_retained_bytes", "WAL that the server keeps because of the slot"
)
SLOT_SAFE_BYTES: Final = Gauge(
    "ssmd_cdc_slot_safe_wal_bytes",
    "WAL that may still be written before the slot is lost; NaN without a limit",
)
HEARTBEAT_SECONDS: Final = Gauge(
    "ssmd_cdc_heartbeat_seconds", "From writing a mark to the WAL to confirming it"
)
RESTARTS: Final = Counter("ssmd_cdc_restarts", "Sessions that ended, by cause", ["cause"])
EPOCHS: Final = Counter("ssmd_cdc_epochs", "Epochs begun, by cause", ["cause"])
EPOCH: Final = Gauge("ssmd_cdc_epoch", "The epoch that is published")
NOT_STORING: Final = Gauge(
    "ssmd_cdc_not_storing", "1 while NATS answers and does not store: a full disk or a limit"
)
DEAD_LETTERS: Final = Counter("ssmd_cdc_dead_letters", "Changes that went to SECMASTER_DLQ")
