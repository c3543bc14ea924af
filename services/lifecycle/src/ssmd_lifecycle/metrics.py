"""Metrics of lifecycle alone. Labels are small closed sets: never a ticker."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from ssmd_common.metrics import ERRORS, LAG_SECONDS, WORK

__all__ = ["ERRORS", "LAG_SECONDS", "WORK"]

MESSAGES: Final = Counter(
    "ssmd_lifecycle_messages",
    "Lifecycle messages received over the WebSocket, by the exchange's type; flat for long: see "
    "ssmd_lifecycle_silent",
    ["type"],
)
FILTERED: Final = Counter(
    "ssmd_lifecycle_filtered", "Messages that LIFECYCLE_FILTER_PATH leaves out; they are not stored"
)
LEFT_OUT: Final = Counter(
    "ssmd_lifecycle_multivariate_left_out",
    "Messages about multivariate markets (KXMVE…) that came on the channel of the others and are "
    "not stored; LIFECYCLE_MULTIVARIATE keeps them",
)
DUPLICATES: Final = Counter(
    "ssmd_lifecycle_duplicates",
    "Messages that were stored already; rises after a reconnect or a takeover, when they come "
    "twice",
)
UNKNOWN: Final = Counter(
    "ssmd_lifecycle_unknown",
    "Messages of an unknown kind or without a readable ticker: they are stored and change "
    "nothing; rises once the exchange has grown",
)
REJECTED: Final = Counter(
    "ssmd_lifecycle_rejected_fields",
    "Fields of messages that could not be read, by the exchange's name for them; the rest of each "
    "message is applied; the log has reason and ticker",
    ["field"],
)
UNPLACED: Final = Gauge(
    "ssmd_lifecycle_unplaced",
    "Messages that are stored and wait until REST tells of their market or event; rises while "
    "REST does not answer",
)
RECEIVE_TO_COMMIT: Final = Histogram(
    "ssmd_lifecycle_receive_to_commit_seconds",
    "Seconds from a message's arrival to its commit; rises while PostgreSQL is slow",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)
SENT_TO_COMMIT: Final = Histogram(
    "ssmd_lifecycle_sent_to_commit_seconds",
    "Seconds from the exchange's own time of a message to its commit, by two clocks; rises while "
    "the exchange, the line or PostgreSQL is slow",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300),
)
TRANSITIONS: Final = Counter(
    "ssmd_lifecycle_transitions",
    "Changes of a market's status, by cause (ws, clock, rest) and what it changed to; rest rises "
    "with each repair of a gap",
    ["cause", "to"],
)
CLOCK_LATE: Final = Histogram(
    "ssmd_lifecycle_clock_late_seconds",
    "Seconds from open_time or close_time to the commit of the clock's transition; rises while "
    "PostgreSQL is slow or many markets are due at once",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 60),
)
CONNECTED: Final = Gauge(
    "ssmd_lifecycle_connected",
    "1 while every channel of the WebSocket is subscribed, 0 while messages are missed",
)
LAST_MESSAGE_AGE: Final = Gauge(
    "ssmd_lifecycle_last_message_age_seconds",
    "Seconds since the last message, -1 before the first; rises while the exchange is quiet",
)
SILENT: Final = Gauge(
    "ssmd_lifecycle_silent",
    "1 while the exchange is silent for longer than its own rate explains, outside its maintenance",
)
GAPS: Final = Counter(
    "ssmd_lifecycle_gaps",
    "Gaps: intervals in which messages may have been missed, by reason; each is repaired over "
    "REST; rises while the connection breaks",
    ["reason"],
)
REPAIRS: Final = Counter(
    "ssmd_lifecycle_repairs",
    "Repairs of gaps over REST, by outcome (ok, failed); failed ones are tried again",
    ["outcome"],
)
REPAIRED_ROWS: Final = Counter(
    "ssmd_lifecycle_repaired_rows",
    "Rows that repairs changed: what messages would have said, had they come",
)
FOUND: Final = Counter(
    "ssmd_lifecycle_found",
    "Rows of market_lifecycle_events written for transitions that only REST reported",
)
EXPIRED: Final = Counter(
    "ssmd_lifecycle_expired",
    "Rows of market_lifecycle_events deleted because they were older than LIFECYCLE_RETENTION_DAYS",
)
