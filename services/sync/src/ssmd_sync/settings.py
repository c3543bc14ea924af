"""What sync reads from the environment."""

from pydantic import Field

from ssmd_common.settings import KalshiSettings, PostgresSettings


class SyncSettings(PostgresSettings, KalshiSettings):
    """Variables of the service and of `ssmd-sync run`."""

    sync_jobs_file: str = "jobs.yaml"
    """A path, or the name of a packaged schedule: jobs.yaml, or jobs-local.yaml (seconds)."""
    sync_concurrency: int = Field(default=2, ge=1, le=16)
    """Jobs that run at once in this process; each has a PostgreSQL connection."""
