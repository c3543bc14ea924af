"""Settings from the environment (docs/contracts.md § 6).

A field's name in capitals is its variable: `database_url` is DATABASE_URL. `load` reports every
fault at once, before anything is opened, and never repeats a value: it may be a secret.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from ssmd_common.errors import ConfigurationError


def _url(*schemes: str) -> AfterValidator:
    def check(secret: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(secret.get_secret_value())
            _ = parts.port
        except ValueError:
            raise ValueError("is not a URL") from None
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"must be a URL such as {schemes[0]}://host:port")
        return secret

    return AfterValidator(check)


# URLs may carry passwords, so none of them is ever shown.
PostgresUrl = Annotated[SecretStr, _url("postgresql", "postgres")]
NatsUrl = Annotated[SecretStr, _url("nats", "tls")]
RedisUrl = Annotated[SecretStr, _url("redis", "rediss")]
HttpUrl = Annotated[SecretStr, _url("http", "https")]
WebSocketUrl = Annotated[SecretStr, _url("wss", "ws")]

Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """What every service has."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least severe lines that are written."""
    log_format: Literal["json", "console"] = "json"
    """`json` for machines, `console` for people."""
    ops_host: str = "0.0.0.0"  # noqa: S104 - probes and scrapes come from outside the container
    """The address that /livez, /readyz and /metrics listen on."""
    ops_port: Port = 9100
    """Where /livez, /readyz and /metrics are served."""
    startup_budget_seconds: float = Field(default=60.0, gt=0, le=3600)
    """How long a server that does not answer at start is tried again before the process ends."""


class PostgresSettings(Settings):
    database_url: PostgresUrl
    """`postgresql://user:password@host:port/database`; the role owns the database, which is encoded
    in UTF8. Behind a pooler: session pooling ([topologies.md](topologies.md))."""


class NatsSettings(Settings):
    nats_url: NatsUrl = SecretStr("nats://localhost:4222")
    """NATS with JetStream; `tls://` for TLS, credentials as user:password@."""


class RedisSettings(Settings):
    redis_url: RedisUrl = SecretStr("redis://localhost:6379/0")
    """Redis or Valkey; `rediss://` for TLS."""
    redis_key_prefix: str = ""
    """Put before every key, for example `kalshi-prod:`."""


class KalshiSettings(Settings):
    kalshi_base_url: HttpUrl = SecretStr("https://external-api.kalshi.com/trade-api/v2")
    """The exchange's REST API."""
    kalshi_ws_url: WebSocketUrl = SecretStr("wss://external-api-ws.kalshi.com/trade-api/ws/v2")
    """The exchange's WebSocket."""
    kalshi_api_key: SecretStr | None = None
    """The id of your key at the exchange."""
    kalshi_private_key_path: Path | None = Field(default=None, validate_default=True)
    """The private key's PEM file, RSA or Ed25519; without a key there is no WebSocket."""
    kalshi_read_budget: float = Field(default=200.0, gt=0)
    """Tokens a second; most calls cost 10."""

    @field_validator("kalshi_private_key_path")
    @classmethod
    def _belongs_to_a_key(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if "kalshi_api_key" not in info.data:
            return path
        if (path is None) != (info.data["kalshi_api_key"] is None):
            raise ValueError(
                "a key has an id and a file: set both KALSHI_API_KEY and this, or neither to work "
                "without the WebSocket"
            )
        if path is not None and not path.is_file():
            raise ValueError("there is no private key file at that path")
        return path


S = TypeVar("S", bound=Settings)


def load(settings_type: type[S]) -> S:
    """Read settings from the environment.

    Raises:
        ConfigurationError: names each variable that is missing or wrong.
    """
    try:
        return settings_type()
    except ValidationError as error:
        raise ConfigurationError(_faults(error)) from None


def _faults(error: ValidationError) -> str:
    lines = []
    for fault in error.errors(include_input=False, include_url=False):
        name = "_".join(str(part) for part in fault["loc"][:1]).upper() or "the settings"
        text = fault["msg"].removeprefix("Value error, ")
        lines.append(f"{name}: {'is missing' if fault['type'] == 'missing' else text}")
    return "the configuration has faults: " + "; ".join(lines)


def variables(settings_type: type[Settings]) -> dict[str, FieldInfo]:
    """Every variable that a service reads, for documentation and the chart's tests."""
    fields: dict[str, Any] = dict(settings_type.model_fields)
    return {name.upper(): field for name, field in fields.items()}
