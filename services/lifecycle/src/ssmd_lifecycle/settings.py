"""Settings of lifecycle, from the environment."""

from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import KalshiSettings, PostgresSettings
from ssmd_kalshi.signing import MAX_KEY_FILE_BYTES, Signer, parse_private_key
from ssmd_lifecycle.filter import FilterFile

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

    # What the files hold is reported with all other faults, before anything is opened.

    @field_validator("kalshi_private_key_path")
    @classmethod
    def _is_a_key(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        key = info.data.get("kalshi_api_key")
        if path is not None and isinstance(key, SecretStr):
            try:
                with path.open("rb") as file:
                    pem = file.read(MAX_KEY_FILE_BYTES + 1)
                Signer(key.get_secret_value(), parse_private_key(pem, str(path)))
            except OSError as error:
                raise ValueError(f"{path} cannot be read: {error.strerror}") from error
            except ConfigurationError as error:
                raise ValueError(str(error)) from error
        return path

    @field_validator("lifecycle_filter_path")
    @classmethod
    def _is_a_filter(cls, path: Path | None) -> Path | None:
        try:
            FilterFile(path).load()
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return path
