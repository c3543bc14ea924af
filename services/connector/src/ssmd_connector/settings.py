"""Settings of connector, from the environment."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from ssmd_common.settings import KalshiSettings, NatsSettings, PostgresSettings


class ConnectorSettings(PostgresSettings, NatsSettings, KalshiSettings):
    """CONNECTOR_*, and what PostgreSQL, NATS and the exchange need."""

    connector_enabled: bool = True
    """`false`: the process does nothing and is ready; there is no market data then."""
    connector_name: str = Field("0", pattern=r"^[A-Za-z0-9_-]{1,32}$")
    """Stands in every message, and in the subject of the capture's records."""
    connector_scope_file: Path | None = None
    """Which markets are published and whose books (YAML, docs/services/connector.md); read again
    when it changes. Without it all trades and quotes are, and no book."""
    connector_shard: str = Field("0/1", pattern=r"^\d{1,3}/[1-9]\d{0,2}$")
    """`i/n`: which part of the books is this process's, counted from 0; the first has trades and
    quotes, too."""
    connector_book_connections: int = Field(8, ge=1, le=100)
    """Connections for books at most; one more is opened when the exchange says that one is full."""
    connector_multivariate: bool = False
    """Also publish multivariate markets (KXMVE…): they outnumber all others ten to one."""
    connector_stream_max_age_seconds: int = Field(2 * 86_400, ge=0)
    """How long these streams keep a message; 0 is for ever."""
    connector_stream_max_bytes: int = Field(8 << 30, ge=1 << 20)
    """How large MARKET_DATA and each stream of books may grow; the oldest messages leave first."""
    connector_stream_replicas: int = Field(1, ge=1, le=5)
    """Copies of the streams in a cluster of NATS servers."""
    connector_window_messages: int = Field(4096, ge=1)
    """Messages sent and not yet acknowledged, at most."""
    connector_window_bytes: int = Field(16 << 20, ge=1 << 16)
    """Bytes sent and not yet acknowledged, at most."""
    connector_outbox_messages: int = Field(200_000, ge=100)
    """Messages that wait for NATS at most; then quotes are dropped, then books, and trades last."""
    connector_outbox_bytes: int = Field(64 << 20, ge=1 << 16)
    """Their bytes at most."""
    connector_standby_seconds: float = Field(30.0, gt=0, le=600)
    """How much of what it hears a standby keeps, to publish at a takeover what the stream lacks."""
    connector_standby_bytes: int = Field(16 << 20, ge=1 << 16)
    """Its bytes at most."""
    connector_ack_seconds: float = Field(10.0, gt=0)
    """A message not acknowledged by then counts as lost and is resent."""
    connector_outage_budget_seconds: float = Field(3600.0, gt=0)
    """How long NATS may be away before the process ends; what is dropped meanwhile is counted."""
    connector_silence_seconds: float = Field(25.0, gt=0)
    """The exchange pings every 10 s; this long without anything is a dead connection."""
    connector_count_seconds: float = Field(5.0, gt=0, le=30)
    """How often a record says how far the capture is; after a crash nothing is known beyond it."""

    @model_validator(mode="after")
    def _shard_exists(self) -> Self:
        if self.shard >= self.shards:
            raise ValueError(
                f"CONNECTOR_SHARD is {self.connector_shard}: the first number counts from 0 and is "
                "less than the second"
            )
        return self

    @property
    def shard(self) -> int:
        """Which part of the books is ours."""
        return int(self.connector_shard.split("/")[0])

    @property
    def shards(self) -> int:
        """How many parts there are."""
        return int(self.connector_shard.split("/")[1])
