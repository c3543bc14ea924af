"""Metrics that every service has, under the same names, so that one picture shows them all.

A service's own metrics stand in its `metrics.py`, named `ssmd_<service>_…`. Labels come from small
closed sets: never a ticker.
"""

import math
from typing import Final

from prometheus_client import Counter, Gauge

WORK: Final = Counter(
    "ssmd_work",
    "Main work done since the start: rows written (sync, lifecycle), messages published (cdc), "
    "messages applied (cache), messages archived (archiver), requests answered below status 500 "
    "(api); flat: nothing flows",
)
LAG_SECONDS: Final = Gauge(
    "ssmd_lag_seconds",
    "Seconds behind the source: cdc behind the WAL, cache and archiver behind the stream, sync "
    "since the last run that read markets, lifecycle from arrival to commit of its last batch; NaN "
    "until known, and always in api; rises while the service stands still or the source is faster",
)
LAG_SECONDS.set(math.nan)
ERRORS: Final = Counter(
    "ssmd_errors",
    "Errors after which the service went on, by kind; rises with every try that failed: look for "
    "the kind in the log",
    ["kind"],
)
LEADER: Final = Gauge(
    "ssmd_leader",
    "1 while this replica does the work, 0 on standby; always 1 in sync, once it works, and 0 in "
    "api, which both use every replica",
)
TASKS: Final = Gauge(
    "ssmd_tasks", "asyncio tasks that have not ended; rises without end only where tasks leak"
)
READY: Final = Gauge(
    "ssmd_ready",
    "1 while /readyz answers 200, also on a standby in good health, 0 while it answers 503: see "
    "ssmd_condition for why",
)
CONDITION: Final = Gauge(
    "ssmd_condition",
    "1 while a condition of readiness holds, 0 while it keeps the service from ready (on "
    "a standby: from work), by name; /readyz has its sentence",
    ["name"],
)
DEGRADED: Final = Gauge(
    "ssmd_degraded",
    "1 while the service works and has something for an operator to look at, by name; /readyz has "
    "its sentence",
    ["name"],
)
CLOCK_OFFSET: Final = Gauge(
    "ssmd_clock_offset_seconds",
    "Seconds that this machine's clock is ahead of PostgreSQL's, the least that explains its "
    "answers; beyond 30, either way, nothing is stamped; NaN until asked",
)
CLOCK_OFFSET.set(math.nan)
STATUS_WRITE_FAILURES: Final = Counter(
    "ssmd_status_write_failures",
    "Writes of this process's row of service_status that failed, by kind; rises while `ssmd "
    "status` does not see this process",
    ["kind"],
)


def total(metric: Counter | Gauge) -> float:
    """The value of a metric now, summed over its labels."""
    return sum(
        sample.value
        for family in metric.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    )
