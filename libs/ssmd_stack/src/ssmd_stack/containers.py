"""The servers in containers, through testcontainers: SSMD_STACK=containers.

testcontainers' own reaper removes them when this process ends, however it ends.
"""

import asyncio
import os
import secrets
import socket
import time
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg

from ssmd_stack.database import TEMPLATE, ensure_owner
from ssmd_stack.errors import ServerFailed
from ssmd_stack.ports import free_port

POSTGRES_IMAGE: Final = "postgres:18-alpine"
NATS_IMAGE: Final = "nats:2.12-alpine"
VALKEY_IMAGE: Final = "valkey/valkey:9-alpine"

_READY_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 60


class ContainerServer:
    """A container with one port, bound to the same free port of this machine at every start."""

    def __init__(
        self,
        name: str,
        image: str,
        inner_port: int,
        *,
        port: int | None,
        command: str = "",
        env: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.image = image
        self.inner_port = inner_port
        self.port = port or free_port()
        self.pid: int | None = None
        self._command = command
        self._env = env or {}
        self._container: Any = None

    @property
    def host(self) -> str:
        return str(self._container.get_container_host_ip()) if self._container else "127.0.0.1"

    @property
    def running(self) -> bool:
        """Whether the container runs; the engine is asked."""
        if self._container is None:
            return False
        found = self._container.get_wrapped_container()
        found.reload()
        return str(found.status) == "running"

    async def start(self) -> None:
        """Start it, making it first, and wait until it accepts connections."""
        try:
            await asyncio.to_thread(self._start)
        except Exception as error:
            raise ServerFailed(
                f"the container {self.image} did not start ({error}): is a container engine"
                " running? Unset SSMD_STACK for embedded servers"
            ) from error
        await self._until_ready()

    def last_words(self) -> str:
        """Its log is the engine's."""
        return ""

    async def wait(self) -> int:
        """Wait until the container has stopped, and return its exit code."""
        found = await asyncio.to_thread(self._container.get_wrapped_container().wait)
        return int(found["StatusCode"])

    async def stop(self) -> None:
        """Stop it in order; its data stays for the next start."""
        if self._container is not None:
            # Said, since podman's socket takes a time that is not said for none, and kills at once.
            found = self._container.get_wrapped_container()
            await asyncio.to_thread(found.stop, timeout=_STOP_SECONDS)

    async def kill(self) -> None:
        """End it at once."""
        if self._container is not None:
            await asyncio.to_thread(self._container.get_wrapped_container().kill)

    async def ready(self) -> bool:
        """Whether it accepts connections."""
        try:
            _, writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            return False
        writer.close()
        return True

    def remove(self) -> None:
        """Remove the container and its data."""
        if self._container is not None:
            self._container.stop()
            self._container = None

    def _start(self) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().start()
            return
        from testcontainers.core.container import DockerContainer

        container = DockerContainer(self.image).with_bind_ports(self.inner_port, self.port)
        if self._command:
            container = container.with_command(self._command)
        for variable, text in self._env.items():
            container = container.with_env(variable, text)
        container.start()
        self._container = container

    async def _until_ready(self) -> None:
        give_up = time.monotonic() + _READY_SECONDS
        while not await self.ready():
            if time.monotonic() > give_up:
                raise ServerFailed(
                    f"the container {self.image} was not ready in {_READY_SECONDS:.0f} s"
                )
            await asyncio.sleep(_POLL_SECONDS)


class PostgresContainer(ContainerServer):
    """PostgreSQL with logical replication; the same role and database as the embedded one."""

    def __init__(self, *, port: int | None = None, durable: bool = True) -> None:
        self._superuser_password = secrets.token_hex(16)
        self._role_password = secrets.token_hex(16)
        self.role = "ssmd"
        self.database = "ssmd"
        self.template = TEMPLATE
        super().__init__(
            "postgres",
            POSTGRES_IMAGE,
            5432,
            port=port,
            command="postgres -c wal_level=logical -c max_replication_slots=60"
            " -c max_wal_senders=60 -c max_connections=200"
            + ("" if durable else " -c fsync=off -c full_page_writes=off"),
            env={"POSTGRES_PASSWORD": self._superuser_password, "TZ": "UTC"},
        )

    @property
    def url(self) -> str:
        return self.url_of(self.database)

    @property
    def admin_url(self) -> str:
        return self.admin_url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql://{self.role}:{self._role_password}@{self.host}:{self.port}/{database}"

    def admin_url_of(self, database: str) -> str:
        return (
            f"postgresql://postgres:{self._superuser_password}@{self.host}:{self.port}/{database}"
        )

    async def start(self) -> None:
        await super().start()
        await ensure_owner(self.admin_url, self.role, self._role_password, self.database)

    async def ready(self) -> bool:
        # The image starts a first server that listens on its socket only; this is the second.
        try:
            connection = await psycopg.AsyncConnection.connect(self.admin_url, connect_timeout=5)
        except psycopg.OperationalError:
            return False
        await connection.close()
        return True


class NatsContainer(ContainerServer):
    """NATS with JetStream."""

    def __init__(self, *, port: int | None = None) -> None:
        super().__init__("nats", NATS_IMAGE, 4222, port=port, command="-js -sd /data")

    @property
    def url(self) -> str:
        return f"nats://{self.host}:{self.port}"


class ValkeyContainer(ContainerServer):
    """Valkey, which starts empty."""

    def __init__(self, *, port: int | None = None) -> None:
        super().__init__(
            "valkey",
            VALKEY_IMAGE,
            6379,
            port=port,
            command="valkey-server --save '' --appendonly no",
        )

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"


def engine_is_missing() -> str | None:
    """Why no container engine can be used here; None if something listens where one should."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    parts = urlsplit(address)
    with socket.socket(socket.AF_INET if parts.hostname else socket.AF_UNIX) as probe:
        try:
            probe.connect((parts.hostname, parts.port or 2375) if parts.hostname else parts.path)
        except OSError as error:
            return f"no container engine answers at {address} ({error.strerror})"
    return None
