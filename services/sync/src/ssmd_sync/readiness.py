"""Whether the tables are kept current, judged by the latest runs of each job. Pure.

A job runs when its period begins, so one whose latest run failed is behind by a period: the service
is not ready until a run of that job is good. A partial or refused run stored what it read. A run
that was stopped with its process says nothing of the next, nor does one that goes on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ssmd_sync.pastrun import PastRun


@dataclass(frozen=True, slots=True)
class Setback:
    """A job whose latest run failed, `in_a_row` of them by now; `next_at` is the next try."""

    job: str
    began_at: datetime
    in_a_row: int
    why: str
    next_at: datetime


def setback(job: str, runs: Sequence[PastRun], next_at: datetime) -> Setback | None:
    """What is the matter with a job; `runs` are its latest, the last one first."""
    telling = [run for run in runs if run.telling]
    failures = next((n for n, run in enumerate(telling) if run.done), len(telling))
    if not failures:
        return None
    last = telling[0]
    return Setback(job, last.started_at, failures, last.error or "it does not say why", next_at)


def reason(setbacks: Iterable[Setback], now: datetime) -> str | None:
    """Why the service is not ready, for an operator: the latest failure, and who else failed."""
    latest_first = sorted(setbacks, key=lambda each: each.began_at, reverse=True)
    if not latest_first:
        return None
    last, *others = latest_first
    count = f", the {_ordinal(last.in_a_row)} in a row" if last.in_a_row > 1 else ""
    again = f"at {_clock(last.next_at)}" if last.next_at > now else "now"
    more = f"; so did the last of {', '.join(sorted(each.job for each in others))}"
    return (
        f"the run of {last.job} at {_clock(last.began_at)} failed{count}: {last.why}; "
        f"it is tried again {again}{more if others else ''}"
    )


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number not in (11, 12, 13) else 0, "th")
    return f"{number}{ending}"
