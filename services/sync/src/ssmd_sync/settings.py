"""What sync reads from the environment."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import KalshiSettings, PostgresSettings
from ssmd_sync import schedule


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
    sync_retention_days: int = Field(default=30, ge=1)
    """How long rows of sync_runs are kept; the last run and success of each job stay. Rows of
    requests, of whatever service, are kept as long."""
    sync_history_days: int = Field(default=90, ge=1)
    """How long history is kept (what was known when); whole months go at once."""
    sync_history_max_bytes: int | None = Field(default=None, ge=1)
    """The oldest months of history go while it takes more on disk; this month never does."""
