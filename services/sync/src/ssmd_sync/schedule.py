"""The jobs of a schedule, and when each is due. Pure, but for reading the file.

Periods are counted from 1970 on, so all replicas agree on them without talking. A period that was
missed is caught up once; a run that failed is tried again after a growing pause, and not only in
the next period.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal
from zlib import crc32

import msgspec
import yaml

from ssmd_common.errors import ConfigurationError
from ssmd_common.times import UNIT_SECONDS
from ssmd_sync.pastrun import PastRun
from ssmd_sync.scope import READS_MULTIVARIATE, Mode, Scope

RETRY: Final = timedelta(seconds=5)
LONGEST_RETRY: Final = timedelta(minutes=10)

_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the schedule. Durations are text such as `90s`, `5m`, `1d`."""

    id: str
    every: str
    offset: str = "0s"
    jitter: str = "0s"
    mode: Mode = Mode.ACTIVE
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    games_only: bool = False
    min_volume: int = 0
    by_series: bool = False
    multivariate: Literal["include", "exclude"] | None = None
    formerly: str | None = None

    @property
    def scope(self) -> Scope:
        """A job that says nothing of multivariate markets leaves them out."""
        return Scope(
            mode=self.mode,
            categories=self.categories,
            tags=self.tags,
            games_only=self.games_only,
            min_volume=self.min_volume,
            by_series=self.by_series,
            multivariate=self.multivariate == "include",
        )

    def by_setting(self, multivariate: Literal["include", "exclude"]) -> "Job":
        """The job, which does as the setting says where it can and does not say it itself."""
        if self.multivariate is not None or self.mode not in READS_MULTIVARIATE:
            return self
        return msgspec.structs.replace(self, multivariate=multivariate)

    @property
    def is_bootstrap(self) -> bool:
        """It fills an empty database, and the others have something to build upon."""
        return self.mode is Mode.FULL and not self.scope.restricted

    @property
    def period(self) -> timedelta:
        return duration(self.every)

    def tick(self, number: int) -> datetime:
        """When the period with this number begins for this job."""
        chance: float = crc32(f"{self.id}:{number}".encode()) / 2**32
        late = duration(self.offset) + duration(self.jitter) * chance
        return _1970 + self.period * number + late

    def last_tick(self, now: datetime) -> int:
        """The number of the latest period that has begun."""
        number = (now - _1970 - duration(self.offset)) // self.period
        return number if self.tick(number) <= now else number - 1


def due_at(job: Job, runs: Sequence[PastRun], since: datetime, now: datetime) -> datetime:
    """When the job is to run next; in the past: now. `runs` are its latest, the last one first.

    `since` is when the service began to look: a job that never ran starts in the first period
    after it, or at once if all others build upon it. A run that was stopped or killed counts as
    failed here, since it is to be caught up, and not faster each time; in `readiness` it says
    nothing, so that its "in a row" may be less than what the pause follows from.
    """
    done = next((run for run in runs if run.done), None)
    failures = next((n for n, run in enumerate(runs) if run.done), len(runs))
    if failures:
        ended_at = runs[0].finished_at or runs[0].started_at
        return ended_at + min(RETRY * (1 << min(failures - 1, 20)), LONGEST_RETRY, job.period)
    if done is None:
        return since if job.is_bootstrap else job.tick(job.last_tick(since) + 1)
    latest = job.last_tick(now)
    return job.tick(latest if done.started_at < job.tick(latest) else latest + 1)


def named(jobs: Sequence[Job], name: str) -> Job:
    """The job with this id, or that had it in the version before; ConfigurationError if none."""
    for job in jobs:
        if name in (job.id, job.formerly):
            return job
    raise ConfigurationError(f"there is no job {name}: {', '.join(job.id for job in jobs)}")


def duration(text: str) -> timedelta:
    """`90s`, `5m`, `2h`, `1d`; ValueError otherwise."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 30s, 5m, 2h or 1d")
    return timedelta(seconds=float(match[1]) * UNIT_SECONDS[match[2]])


def load(name: str, multivariate: Literal["include", "exclude"] = "exclude") -> tuple[Job, ...]:
    """The jobs of a file: a packaged schedule by its name, else a path; `multivariate` is for those
    that do not say it.

    Raises:
        ConfigurationError: names every fault of the file; whoever reads the setting, its name.
    """
    packaged = files("ssmd_sync").joinpath(name) if "/" not in name else None
    try:
        source = packaged if packaged is not None and packaged.is_file() else Path(name)
        text = source.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the schedule {name} cannot be read: give a path, jobs.yaml or jobs-local.yaml"
        ) from error
    return tuple(job.by_setting(multivariate) for job in parse(text))


def parse(text: str) -> tuple[Job, ...]:
    """Read a schedule; ConfigurationError names every fault."""
    try:
        document: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = str(error).replace("\n", " ")
        raise ConfigurationError(f"it is not YAML: {line}") from error
    entries = document.get("jobs") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ConfigurationError("it has no list `jobs`")
    jobs: list[Job] = []
    faults: list[str] = []
    for number, entry in enumerate(entries, 1):
        try:
            jobs.append(_checked(msgspec.convert(entry, Job)))
        except (msgspec.ValidationError, ValueError) as error:
            name = entry.get("id", number) if isinstance(entry, dict) else number
            faults.append(f"job {name}: {error}")
    ids = [name for job in jobs for name in (job.id, job.formerly) if name]
    faults += [f"job {name}: stands twice" for name in sorted({i for i in ids if ids.count(i) > 1})]
    if faults:
        raise ConfigurationError("; ".join(faults))
    return tuple(jobs)


def _checked(job: Job) -> Job:
    if job.period <= timedelta(0):
        raise ValueError("every is not longer than nothing")
    if duration(job.offset) + duration(job.jitter) > job.period:
        raise ValueError("offset and jitter reach beyond one period")
    if job.multivariate == "include" and job.mode not in READS_MULTIVARIATE:
        modes = ", ".join(READS_MULTIVARIATE)
        raise ValueError(f"multivariate markets are read by jobs of mode {modes}")
    return job
