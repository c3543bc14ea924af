"""Settings from the environment (docs/contracts.md § 6).

A field's name in capitals is its variable: `database_url` is DATABASE_URL. The text below a field
is what docs/settings.md says of it. `load` reports every fault of the variables at once, before
anything is opened, and never repeats a value: it may be a secret.
"""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar
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

T = TypeVar("T")


def _checked(secret: SecretStr, *schemes: str, several: bool = False) -> SecretStr:
    text = secret.get_secret_value()
    for url in text.split(",") if several else [text]:
        try:
            parts = urlsplit(url.strip())
            _ = parts.port
        except ValueError:
            raise ValueError("is not a URL") from None
        if parts.scheme not in schemes or not parts.hostname:
            more = ", or several with a comma between them" if several else ""
            raise ValueError(f"must be a URL such as {schemes[0]}://host:port{more}")
    return secret


def _url(*schemes: str, several: bool = False) -> AfterValidator:
    return AfterValidator(lambda secret: _checked(secret, *schemes, several=several))


def _check_postgres(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if text.partition("://")[0] not in ("postgresql", "postgres"):
        raise ValueError("must be a URL such as postgresql://host:port")
    # It loads psycopg, which not every service has.
    from ssmd_common.connections.hosts import check_url

    check_url(text)
    return secret


def _check_redis(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text.partition("://")[0].endswith("+sentinel"):
        return _checked(secret, "redis", "rediss")
    # It loads redis-py, which not every service has.
    from ssmd_common.connections.redis_place import SentinelPlace

    SentinelPlace.parse(text)
    return secret


# URLs may carry passwords, so none of them is ever shown.
PostgresUrl = Annotated[SecretStr, AfterValidator(_check_postgres)]
NatsUrl = Annotated[SecretStr, _url("nats", "tls", several=True)]
RedisUrl = Annotated[SecretStr, AfterValidator(_check_redis)]
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
    """`postgresql://user:password@host:port/database`, several hosts with commas between them; the
    role owns the database, which is encoded in UTF8. Behind a pooler: session pooling
    ([topologies.md](topologies.md))."""


class NatsSettings(Settings):
    nats_url: NatsUrl = SecretStr("nats://localhost:4222")
    """NATS with JetStream, `tls://` for TLS; nodes of a cluster with commas between them."""
    nats_user: str | None = None
    """The user at NATS, where NATS_URL does not name one."""
    nats_password: SecretStr | None = None
    """The user's password."""
    nats_token: SecretStr | None = None
    """A token instead of a user."""
    nats_creds_path: Path | None = None
    """A `.creds` file: a user's JWT with its seed."""
    nats_nkey_path: Path | None = None
    """A file with the seed of an nkey."""
    nats_ca_path: Path | None = None
    """The authorities, in PEM form, that sign NATS' certificate; default: the system's."""
    nats_cert_path: Path | None = None
    """Our certificate in PEM form, where NATS asks for one."""
    nats_key_path: Path | None = None
    """Its key, where it does not stand in the same file."""
    nats_inbox_prefix: str = Field(default="_INBOX", pattern=r"^[^\s.*>]+(\.[^\s.*>]+)*$")
    """What subjects for replies begin with, where rights at NATS depend on it."""

    @field_validator(
        "nats_creds_path", "nats_nkey_path", "nats_ca_path", "nats_cert_path", "nats_key_path"
    )
    @classmethod
    def _is_a_file(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError("there is no file at that path")
        return path

    @field_validator("nats_token", "nats_creds_path", "nats_nkey_path")
    @classmethod
    def _is_the_only_identity(cls, value: T, info: ValidationInfo) -> T:
        identities = ("nats_user", "nats_token", "nats_creds_path", "nats_nkey_path")
        others = [name.upper() for name in identities if info.data.get(name) is not None]
        if value is not None and others:
            raise ValueError(f"{others[0]} says already who we are to NATS: set one of them")
        return value

    @field_validator("nats_password", "nats_key_path")
    @classmethod
    def _belongs_to_another(cls, value: T, info: ValidationInfo) -> T:
        other = "nats_user" if info.field_name == "nats_password" else "nats_cert_path"
        if value is not None and other in info.data and info.data[other] is None:
            raise ValueError(f"set {other.upper()} too")
        return value


class RedisSettings(Settings):
    redis_url: RedisUrl = SecretStr("redis://localhost:6379/0")
    """Redis or Valkey, `rediss://` for TLS; or `redis+sentinel://host:26379,host:26379/master/0`."""
    redis_sentinel_user: str | None = None
    """The user at the Sentinels, where they ask for one."""
    redis_sentinel_password: SecretStr | None = None
    """The password at the Sentinels; that of the master stands in REDIS_URL."""
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

# By pydantic's name for a fault, with its values.
_FORMS: Final = {
    "missing": "is missing",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "json_invalid": "must be JSON",
}


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
        lines.append(f"{name}: {_sentence(fault)}")
    return "the configuration has faults: " + "; ".join(lines)


def _sentence(fault: Any) -> str:
    """What is wrong with a value, in our words: what a validator of ours says, or by its kind."""
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    given = fault.get("ctx", {})
    form = _FORMS.get(fault["type"])
    return form.format(**given) if form else f"is wrong ({fault['type'].replace('_', ' ')})"


def variables(settings_type: type[Settings]) -> dict[str, FieldInfo]:
    """Every variable that a service reads, described, for documentation and the chart's tests."""
    described: dict[str, str] = {}
    for base in reversed(settings_type.__mro__):
        if issubclass(base, Settings):
            described |= _docstrings(base)
    fields: dict[str, Any] = dict(settings_type.model_fields)
    return {
        name.upper(): FieldInfo.merge_field_infos(field, description=described.get(name))
        for name, field in fields.items()
    }


def default_text(field: FieldInfo) -> str:
    """What a variable that is not required is when it is not set, as one writes it; empty: not."""
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _docstrings(settings_type: type[Settings]) -> dict[str, str]:
    """The text below each field of a class. pydantic could read it, too, but at every start."""
    import ast
    import inspect
    import textwrap

    (body,) = ast.parse(textwrap.dedent(inspect.getsource(settings_type))).body
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(body.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
