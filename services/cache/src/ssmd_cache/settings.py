"""Settings of the cache."""

from pydantic import Field

from ssmd_common.settings import NatsSettings, PostgresSettings, RedisSettings


class CacheSettings(PostgresSettings, NatsSettings, RedisSettings):
    """CACHE_* and the addresses of PostgreSQL, NATS and Redis."""

    cache_consumer: str = Field("ssmd_cache", pattern=r"^[A-Za-z0-9_-]+$")
    """The durable consumer's name on the stream; it is made anew at every start."""
    cache_batch_changes: int = Field(500, ge=1, le=10_000)
    """Changes written in one atomic step, at most."""
    cache_batch_seconds: float = Field(0.0, ge=0, le=10)
    """How long a batch waits to fill beyond what is already there; 0 for the least latency."""
    cache_warm_batch_rows: int = Field(500, ge=1, le=10_000)
    """Rows that a warm-up writes in one atomic step, at most."""
    cache_snapshot_wait_seconds: float = Field(30.0, ge=0)
    """How long a warm-up waits for older transactions before it reads the stream from its start."""
    cache_check_seconds: float = Field(1.0, gt=0)
    """How often Redis is asked what it holds, and expired keys are swept."""
    cache_reconcile_seconds: float = Field(3600.0, ge=0)
    """How often everything is compared with PostgreSQL; 0 for never."""
    cache_ready_lag_seconds: float = Field(30.0, gt=0)
    """Further behind the stream than this is not ready."""
