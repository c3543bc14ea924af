"""Metrics that every service has, under the same names, so that one picture shows them all.

A service's own metrics stand in its `metrics.py`, named `ssmd_<service>_…`. Labels come from small
closed sets: never a ticker.
"""

import math
from typing import Final

from prometheus_client import Counter, Gauge

WORK: Final = Counter(
    "ssmd_work", "What the service is for, done: rows written, messages published, requests served"
)
LAG_SECONDS: Final = Gauge(
    "ssmd_lag_seconds", "How far the service is behind its source; NaN where it has not said"
)
LAG_SECONDS.set(math.nan)
ERRORS: Final = Counter("ssmd_errors", "Errors that were survived", ["kind"])
LEADER: Final = Gauge("ssmd_leader", "1 while this replica does the work, 0 on standby")
TASKS: Final = Gauge("ssmd_tasks", "asyncio tasks that have not ended")
READY: Final = Gauge("ssmd_ready", "1 while the service is ready, as /readyz says")
CONDITION: Final = Gauge(
    "ssmd_condition",
    "1 for a condition that is fine, 0 for one that keeps it from ready",
    ["name"],
)
DEGRADED: Final = Gauge(
    "ssmd_degraded",
    "1 for what is to be looked at although the service works",
    ["name"],
)
CLOCK_OFFSET: Final = Gauge(
    "ssmd_clock_offset_seconds",
    "This machine's clock minus PostgreSQL's, the least that explains its answers; NaN until asked",
)
CLOCK_OFFSET.set(math.nan)
STATUS_WRITE_FAILURES: Final = Counter(
    "ssmd_status_write_failures", "Writes of the own row of service_status that failed", ["kind"]
)


def total(metric: Counter | Gauge) -> float:
    """The value of a metric now, summed over its labels."""
    return sum(
        sample.value
        for family in metric.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    )
