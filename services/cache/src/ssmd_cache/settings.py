"""Settings of the cache."""

import zlib

from pydantic import Field

from ssmd_common.connections.redis_place import place_of
from ssmd_common.settings import NatsSettings, PostgresSettings, RedisSettings


class CacheSettings(PostgresSettings, NatsSettings, RedisSettings):
    """CACHE_* and the addresses of PostgreSQL, NATS and Redis."""

    cache_consumer: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]+$")
    """The consumer's name on the stream; by default one for this Redis database and prefix."""
    cache_batch_changes: int = Field(500, ge=1, le=10_000)
    """Changes written in one atomic step, at most."""
    cache_batch_seconds: float = Field(0.0, ge=0, le=10)
    """How long a batch waits to fill beyond what is already there; 0 for the least latency."""
    cache_warm_batch_rows: int = Field(500, ge=1, le=10_000)
    """Rows that a warm-up writes in one atomic step, at most."""
    cache_snapshot_wait_seconds: float = Field(30.0, ge=0)
    """How long a warm-up waits for older transactions before it joins the stream early."""
    cache_check_seconds: float = Field(1.0, gt=0)
    """How often Redis is asked what it holds, and expired keys are swept."""
    cache_reconcile_seconds: float = Field(3600.0, ge=0)
    """How often everything is compared with PostgreSQL; 0 for never."""
    cache_patrol_seconds: float = Field(10.0, ge=0)
    """How long one look at every index entry and key takes, again and again; 0 for never."""
    cache_ready_lag_seconds: float = Field(30.0, gt=0)
    """Further behind the stream than this is not ready."""

    @property
    def lock(self) -> str:
        """The lock by which one replica is elected: one for each Redis database and key prefix.

        Replicas must name their Redis alike. Should they not, two lead, and the fencing token ends
        the earlier one.
        """
        return f"cache:{place_of(self.redis_url.get_secret_value())}:{self.redis_key_prefix}"

    @property
    def consumer(self) -> str:
        """No two caches share a consumer, nor do they share a lock."""
        return self.cache_consumer or f"ssmd_cache_{zlib.crc32(self.lock.encode()):08x}"
