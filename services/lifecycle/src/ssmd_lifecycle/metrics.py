"""Metrics of lifecycle alone. Labels are small closed sets: never a ticker."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from ssmd_common.metrics import ERRORS, LAG_SECONDS, WORK

__all__ = ["ERRORS", "LAG_SECONDS", "WORK"]

MESSAGES: Final = Counter(
    "ssmd_lifecycle_messages", "Messages received, by the exchange's type", ["type"]
)
FILTERED: Final = Counter("ssmd_lifecycle_filtered", "Messages left out by the series filter")
DUPLICATES: Final = Counter("ssmd_lifecycle_duplicates", "Messages that were stored already")
UNKNOWN: Final = Counter("ssmd_lifecycle_unknown", "Messages kept without being understood")
REJECTED: Final = Counter(
    "ssmd_lifecycle_rejected_fields",
    "Fields of messages that could not be read, by the exchange's name for them",
    ["field"],
)
UNPLACED: Final = Gauge(
    "ssmd_lifecycle_unplaced", "Messages stored, waiting for their market or event to be known"
)
RECEIVE_TO_COMMIT: Final = Histogram(
    "ssmd_lifecycle_receive_to_commit_seconds",
    "From a message's arrival to its commit",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)
SENT_TO_COMMIT: Final = Histogram(
    "ssmd_lifecycle_sent_to_commit_seconds",
    "From the exchange's own timestamp to the commit",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300),
)
TRANSITIONS: Final = Counter(
    "ssmd_lifecycle_transitions", "Changes of a market's status", ["cause", "to"]
)
CLOCK_LATE: Final = Histogram(
    "ssmd_lifecycle_clock_late_seconds",
    "How long after its time the clock made a transition",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 60),
)
CONNECTED: Final = Gauge("ssmd_lifecycle_connected", "1 while every channel is subscribed")
LAST_MESSAGE_AGE: Final = Gauge(
    "ssmd_lifecycle_last_message_age_seconds", "Since the last message, -1 before the first"
)
SILENT: Final = Gauge(
    "ssmd_lifecycle_silent", "1 when the silence is longer than the exchange's own rate explains"
)
GAPS: Final = Counter("ssmd_lifecycle_gaps", "Intervals of unknown", ["reason"])
REPAIRS: Final = Counter("ssmd_lifecycle_repairs", "Repairs over REST", ["outcome"])
REPAIRED_ROWS: Final = Counter("ssmd_lifecycle_repaired_rows", "Rows that repairs changed")
FOUND: Final = Counter(
    "ssmd_lifecycle_found", "Rows of transitions that no message told of, found over REST"
)
EXPIRED: Final = Counter("ssmd_lifecycle_expired", "Rows deleted after the retention")
