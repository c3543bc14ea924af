"""Servers that already run elsewhere: SSMD_STACK=external and their URLs."""

import asyncio
import os
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict

from ssmd_common.errors import ConfigurationError
from ssmd_stack.errors import ServerFailed

VARIABLES = {"postgres": "DATABASE_URL", "nats": "NATS_URL", "valkey": "REDIS_URL"}
_PORTS = {"postgres": 5432, "nats": 4222, "valkey": 6379}
_CONNECT_SECONDS = 10.0


@dataclass(slots=True)
class ExternalServer:
    """Neither started nor stopped by us; `start` checks that something answers at its address."""

    name: str
    url: str
    pid: int | None = None

    @property
    def port(self) -> None:
        """None that is ours to choose."""

    async def start(self) -> None:
        """Raises ServerFailed if nothing listens there."""
        host, port = self._address()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError) as error:
            raise ServerFailed(
                f"{VARIABLES[self.name]} leads to {host}:{port}, where nothing answers ({error}):"
                " start that server, or unset SSMD_STACK"
            ) from error
        writer.close()

    def last_words(self) -> str:
        """Its log is not ours."""
        return ""

    async def wait(self) -> int:
        """It never ends as far as we know."""
        await asyncio.Event().wait()
        return 0

    async def stop(self) -> None:
        """It is not ours to stop."""

    def _address(self) -> tuple[str, int]:
        if self.name == "postgres":
            found = conninfo_to_dict(self.url)
            # Of several hosts the first: it is only asked whether anything is there.
            host, port = (str(found.get(name) or "").split(",")[0] for name in ("host", "port"))
            return host or "localhost", int(port or 5432)
        parts = urlsplit(self.url)
        return parts.hostname or "localhost", parts.port or _PORTS[self.name]


@dataclass(slots=True)
class ExternalPostgres(ExternalServer):
    """For tests: its role makes databases, so it needs CREATEDB beside REPLICATION.

    Its template has a name of its own, so that two runs can share the server.
    """

    template: str = field(default_factory=lambda: f"ssmd_template_{secrets.token_hex(4)}")

    @property
    def admin_url(self) -> str:
        return self.url

    def url_of(self, database: str) -> str:
        return urlsplit(self.url)._replace(path=f"/{database}").geturl()

    def admin_url_of(self, database: str) -> str:
        return self.url_of(database)


def external(name: str) -> ExternalServer:
    """The server whose URL stands in the environment.

    Raises:
        ConfigurationError: the variable is not set.
    """
    url = os.environ.get(VARIABLES[name])
    if not url:
        raise ConfigurationError(f"SSMD_STACK=external needs {VARIABLES[name]}: it is not set")
    return ExternalPostgres(name, url) if name == "postgres" else ExternalServer(name, url)
