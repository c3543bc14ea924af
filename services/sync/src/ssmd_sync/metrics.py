"""What sync counts, beside the metrics that every service has. Labels are small closed sets."""

from datetime import datetime
from typing import Final

from prometheus_client import Counter, Gauge

from ssmd_common.metrics import WORK
from ssmd_store.written import COUNTS, Written

ROWS: Final = Counter("ssmd_sync_rows", "Rows by what became of them", ["table", "outcome"])
RUNS: Final = Counter("ssmd_sync_runs", "Runs by outcome", ["job", "outcome"])
LAST_SUCCESS: Final = Gauge(
    "ssmd_sync_last_success_timestamp_seconds", "When a job last succeeded", ["job"]
)
INTERVAL: Final = Gauge("ssmd_sync_interval_seconds", "How often a job is to run", ["job"])
RUN_SECONDS: Final = Gauge("ssmd_sync_last_run_seconds", "How long a job's last run took", ["job"])
DELETIONS_REFUSED: Final = Counter(
    "ssmd_sync_deletions_refused", "Sweeps that found too much missing to believe it", ["table"]
)


def rows(table: str, written: Written) -> None:
    """Count a batch."""
    for outcome in COUNTS:
        ROWS.labels(table, outcome).inc(getattr(written, outcome))
    ROWS.labels(table, "set_aside").inc(len(written.set_aside))
    WORK.inc(written.inserted + written.updated + written.deleted)


def run(job: str, outcome: str, started_at: datetime, seconds: float) -> None:
    """Count a run that ended."""
    RUNS.labels(job, outcome).inc()
    RUN_SECONDS.labels(job).set(seconds)
    if outcome != "failed":
        LAST_SUCCESS.labels(job).set(started_at.timestamp())
