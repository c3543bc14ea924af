"""What REDIS_URL names: a server, or the master that Sentinels know by a name."""

from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import unquote

from redis.asyncio.connection import parse_url

_SENTINEL_PORT: Final = 26379
SENTINEL_SCHEMES: Final = ("redis+sentinel", "rediss+sentinel")


@dataclass(frozen=True, slots=True)
class SentinelPlace:
    """`redis+sentinel://user:password@host:26379,host:26379/master/0`, with `rediss` for TLS."""

    sentinels: tuple[tuple[str, int], ...]
    master: str
    database: int
    user: str | None
    password: str | None
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Self:
        """ValueError, with a sentence that holds no secret, where it is none."""
        scheme, _, rest = url.partition("://")
        place, _, path = rest.partition("/")
        credentials, _, hosts = place.rpartition("@")
        user, _, password = credentials.partition(":")
        master, _, database = path.partition("/")
        if scheme not in SENTINEL_SCHEMES or not master or not hosts:
            raise ValueError(f"must be like {SENTINEL_SCHEMES[0]}://host:26379,host:26379/master/0")
        if database and not database.isdecimal():
            raise ValueError("the database behind the master's name must be a number")
        return cls(
            sentinels=tuple(_address(host) for host in hosts.split(",")),
            master=unquote(master),
            database=int(database or 0),
            user=unquote(user) or None,
            password=unquote(password) or None,
            tls=scheme.startswith("rediss"),
        )

    def __str__(self) -> str:
        return f"sentinel:{self.master}/{self.database}"


def place_of(url: str) -> str:
    """Where rows go, without secrets: the same for all replicas that name their Redis alike."""
    if url.startswith(SENTINEL_SCHEMES):
        return str(SentinelPlace.parse(url))
    parts = parse_url(url)
    host = str(parts.get("host", "localhost")).lower()
    return f"{host}:{parts.get('port', 6379)}/{parts.get('db', 0)}"


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.strip().rpartition(":")
    if not colon or text.strip().endswith("]"):
        host, port = text.strip(), str(_SENTINEL_PORT)
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("a Sentinel is named by host:port")
    return host.strip("[]"), int(port)
