"""The API's settings."""

from ssmd_common.settings import NatsSettings, PostgresSettings, RedisSettings


class ApiSettings(PostgresSettings, RedisSettings, NatsSettings):
    """`API_HOST` and `API_PORT` serve users; health is served there too, and on OPS_PORT."""

    api_host: str = "0.0.0.0"  # noqa: S104 - users come from outside the container
    api_port: int = 8080
    api_pool_size: int = 10
    """PostgreSQL connections at most."""
    api_exports: int = 4
    """Exports at once; each holds a connection, so fewer than the pool has."""
    api_streams: int = 100
    """Readers of /v1/changes at once."""
    api_statement_timeout_seconds: float = 10.0
    """A query that takes longer is cancelled and answered with 503."""
    api_key_environment: str = "live"
    """The second part of the keys that POST /v1/keys makes."""
    api_default_rate_limit_per_minute: int = 600
    api_key_memory_seconds: float = 5.0
    """How long a key that was found good is trusted: a revocation reaches every replica by then."""
    api_failed_logins_per_minute: int = 20
    """Wrong keys from one address before it is turned away."""
    api_trust_forwarded_for: bool = False
    """Behind a proxy that appends to X-Forwarded-For: take the client's address from there."""
