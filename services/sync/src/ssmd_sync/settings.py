"""What sync reads from the environment."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import KalshiSettings, PostgresSettings
from ssmd_sync import schedule

DELETABLE_SHARE: Final = 0.02


def _is_a_schedule(name: str) -> str:
    try:
        schedule.load(name)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
    return name


class SyncSettings(PostgresSettings, KalshiSettings):
    """Variables of the service and of `ssmd-sync run`."""

    sync_jobs_file: Annotated[str, AfterValidator(_is_a_schedule)] = "jobs.yaml"
    """A path, or the name of a packaged schedule: jobs.yaml, or jobs-local.yaml (seconds)."""
    sync_multivariate: Literal["exclude", "include"] = "exclude"
    """Whether jobs that do not say it themselves also read multivariate markets (KXMVE…), which
    outnumber all others ten to one: docs/operations.md says what that costs."""
    sync_concurrency: int = Field(default=2, ge=1, le=16)
    """Jobs that run at once in this process; each has a PostgreSQL connection."""
    sync_deletable_share: float = Field(default=DELETABLE_SHARE, ge=0, le=1)
    """The part of the stored rows of a table that one complete scan may delete because the exchange
    knows them no more (50 it always may). Of more nothing is deleted, the run is `refused` and sync
    degraded. Where they are gone indeed: more, for one run (`ssmd secmaster sync`)."""
    sync_retention_days: int = Field(default=30, ge=1)
    """How long rows of sync_runs are kept; the last run and success of each job stay. Rows of
    requests, of whatever service, are kept as long."""
    sync_history_days: int = Field(default=90, ge=1)
    """How long history is kept (what was known when); whole months go at once."""
    sync_history_max_bytes: int | None = Field(default=None, ge=1)
    """The oldest months of history go while it takes more on disk; this month never does."""
