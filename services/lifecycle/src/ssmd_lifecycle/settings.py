"""Settings of lifecycle, from the environment."""

from pathlib import Path
from typing import Final

from pydantic import Field

from ssmd_common.settings import KalshiSettings, PostgresSettings

LOCK: Final = "lifecycle"
"""The advisory lock by which one replica is elected."""


class LifecycleSettings(PostgresSettings, KalshiSettings):
    """LIFECYCLE_*, and what PostgreSQL and the exchange need."""

    lifecycle_multivariate: bool = False
    """Also keep the messages of `multivariate_market_lifecycle`; they are not applied."""
    lifecycle_filter_path: Path | None = None
    """YAML with the series and categories to include and exclude; read again when it changes."""
    lifecycle_retention_days: int = Field(default=90, ge=1)
    """How long rows of market_lifecycle_events are kept."""
    lifecycle_batch_messages: int = Field(default=500, ge=1)
    """Messages in one transaction at most."""
    lifecycle_queue_messages: int = Field(default=10_000, ge=1)
    """Messages that wait for PostgreSQL at most; then the socket waits."""
    lifecycle_poll_seconds: float = Field(default=30.0, gt=0)
    """Without a key: how often what changed is read over REST."""
    lifecycle_silence_seconds: float = Field(default=25.0, gt=0)
    """The exchange pings every 10 s; this long without anything is a dead connection."""
