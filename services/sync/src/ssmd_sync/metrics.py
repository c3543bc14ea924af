"""What sync counts, beside the metrics that every service has. Labels are small closed sets.

A job of sync is the label `sync_job`: every target of Prometheus has a label `job` of its own.
"""

from datetime import datetime
from typing import Final

from prometheus_client import Counter, Gauge

from ssmd_common.metrics import WORK
from ssmd_store.written import COUNTS, Written

ROWS: Final = Counter(
    "ssmd_sync_rows",
    "Rows read from the exchange, by table and outcome: inserted, updated, unchanged, deleted, or "
    "rejected (whole), which rises while the exchange sends rows that cannot be read",
    ["table", "outcome"],
)
RUNS: Final = Counter(
    "ssmd_sync_runs",
    "Runs that ended, by sync_job and outcome (ok, partial, refused, failed): see the table "
    "sync_runs",
    ["sync_job", "outcome"],
)
LAST_SUCCESS: Final = Gauge(
    "ssmd_sync_last_success_timestamp_seconds",
    "When the last run of a sync_job without an error began, in seconds since 1970; stands "
    "still while the job fails",
    ["sync_job"],
)
INTERVAL: Final = Gauge(
    "ssmd_sync_interval_seconds",
    "Seconds between two runs of a sync_job, as scheduled",
    ["sync_job"],
)
RUN_SECONDS: Final = Gauge(
    "ssmd_sync_last_run_seconds",
    "Seconds that the last run of a sync_job took; rises with the universe, or while the exchange "
    "is slow",
    ["sync_job"],
)
HISTORY_BYTES: Final = Gauge(
    "ssmd_sync_history_bytes",
    "Bytes that history (what was known when) takes on disk, of all tables and months, looked up "
    "every hour; rises with changes, falls when a month is dropped",
)
HISTORY_MAINTAINED: Final = Gauge(
    "ssmd_sync_history_maintained_timestamp_seconds",
    "When history's months were last looked after (made ahead, and dropped by age and size), in "
    "seconds since 1970; until then, when this replica began to lead, and 0 where it never did; "
    "stands still while others use history all the time",
)
DELETIONS_REFUSED: Final = Counter(
    "ssmd_sync_deletions_refused",
    "Sweeps that deleted nothing because more rows had vanished than can be believed, by table; "
    "rises while the exchange lists too little",
    ["table"],
)

REQUESTS: Final = Counter(
    "ssmd_sync_requests",
    "Requests for a job (POST /v1/sync/{job}) that this process answered, by sync_job and state "
    "(done, failed)",
    ["sync_job", "state"],
)
REQUEST_WAITS: Final = Gauge(
    "ssmd_sync_request_waiting_seconds",
    "Seconds since the oldest request for a job that is not answered yet was made, 0 without one; "
    "rises beyond a job's length while runs do not come to their end, or no replica has the job",
)


def rows(table: str, written: Written) -> None:
    """Count a batch."""
    for outcome in COUNTS:
        ROWS.labels(table, outcome).inc(getattr(written, outcome))
    ROWS.labels(table, "rejected").inc(len(written.rejected_rows))
    WORK.inc(written.inserted + written.updated + written.deleted)


def run(job: str, outcome: str, started_at: datetime, seconds: float) -> None:
    """Count a run that ended."""
    RUNS.labels(job, outcome).inc()
    RUN_SECONDS.labels(job).set(seconds)
    if outcome != "failed":
        LAST_SUCCESS.labels(job).set(started_at.timestamp())
