"""Metrics that every service has, under the same names, so that one picture shows them all.

A service's own metrics stand in its `metrics.py`, named `ssmd_<service>_…`. Labels come from small
closed sets: never a ticker.
"""

from typing import Final

from prometheus_client import Counter, Gauge

WORK: Final = Counter(
    "ssmd_work", "What the service is for, done: rows written, messages published, requests served"
)
LAG_SECONDS: Final = Gauge("ssmd_lag_seconds", "How far the service is behind its source")
ERRORS: Final = Counter("ssmd_errors", "Errors that were survived", ["kind"])
LEADER: Final = Gauge("ssmd_leader", "1 while this replica does the work, 0 on standby")
TASKS: Final = Gauge("ssmd_tasks", "asyncio tasks that have not ended")
