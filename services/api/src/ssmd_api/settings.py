"""The API's settings."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from ssmd_api import tierfile
from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import NatsSettings, PostgresSettings, RedisSettings

_ORIGIN: Final = r"https?://[A-Za-z0-9.\[\]:-]+"
_ORIGINS: Final = rf"^(?:|\*|{_ORIGIN}(?:,{_ORIGIN})*)$"


def _has_tiers(path: Path) -> Path:
    try:
        tierfile.load(path)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
    return path


class ApiSettings(PostgresSettings, RedisSettings, NatsSettings):
    """NATS is needed by /v1/changes and /v1/snapshot only, Redis by nothing."""

    api_host: str = "0.0.0.0"  # noqa: S104 - users come from outside the container
    """The address that users reach; health is served there too."""
    api_port: int = Field(8080, ge=0, le=65535)
    """The port that users reach."""
    api_pool_size: int = Field(10, ge=2, le=1000)
    """PostgreSQL connections at most; one is for looking up keys and the service's own check."""
    api_exports: int = Field(4, ge=1)
    """Exports and snapshots at once; each holds a connection, so fewer than the pool has. A key
    that has one does not take the last place."""
    api_streams: int = Field(100, ge=1)
    """Readers of /v1/changes at once; each takes about 20 KB. No key takes the last tenth if it has
    one."""
    api_statement_timeout_seconds: float = Field(10.0, gt=0, le=3600)
    """A query that takes longer is cancelled and answered with 503."""
    api_key_environment: str = Field("live", pattern=r"^[a-z0-9-]{1,32}$")
    """The second part of the keys that POST /v1/keys makes."""
    api_default_rate_limit_per_minute: int = Field(600, ge=1, le=1_000_000)
    """Of a key that is made without a limit."""
    api_key_memory_seconds: float = Field(5.0, ge=0, le=300)
    """How long a key that was found good is trusted: a revocation reaches every replica by then, a
    stream of changes within half a second where this is less. A replica that does not reach
    PostgreSQL trusts keys, those of streams too, for five minutes after it last found them good."""
    api_recent_seconds: float = Field(0.05, ge=0, le=5)
    """How long a page of a list, or a market, that was read is not read again: it is given to all
    who ask for the same with the same parameters. With 0 each reads for itself."""
    api_failed_logins_per_minute: int = Field(20, ge=1)
    """Wrong keys from one address before it is turned away."""
    api_fee_tiers_file: Annotated[Path, AfterValidator(_has_tiers)] | None = None
    """A JSON file of fee tiers beyond the exchange's:
    `{"tiers": [{"tier": "…", "maker_fee": 0.01, "taker_fee": 0.05, "source": "…"}]}`, read at the
    start."""
    api_cors_origins: str = Field("", pattern=_ORIGINS)
    """Origins whose pages may ask from within a browser, with commas between, such as
    `https://desk.example.com,http://localhost:5173`; `*` is any, empty none. A page needs a key
    like everybody else."""
    api_ui: bool = True
    """Whether people have pages at /ui, after a login with an API key."""
    api_trust_forwarded_for: bool = False
    """Behind a proxy that appends to X-Forwarded-For: take the client's address from there, and
    from X-Forwarded-Proto whether pages are read over TLS."""

    @property
    def origins(self) -> frozenset[str]:
        """The origins of `api_cors_origins`."""
        return frozenset(filter(None, self.api_cors_origins.split(",")))
