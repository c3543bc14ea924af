"""The three servers of a system: embedded by default, or as SSMD_STACK says."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ssmd_common.errors import ConfigurationError
from ssmd_stack.external import external
from ssmd_stack.nats import NatsServer
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.valkey import ValkeyServer

KINDS: Final = ("embedded", "containers", "external")


class Server(Protocol):
    """PostgreSQL, NATS or Valkey, wherever it runs."""

    @property
    def url(self) -> str: ...

    @property
    def port(self) -> int | None: ...

    @property
    def pid(self) -> int | None: ...

    def last_words(self) -> str: ...

    async def start(self) -> None: ...

    async def wait(self) -> int: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Servers:
    """By name, in the order in which the picture shows them."""

    postgres: Server
    nats: Server
    valkey: Server

    def items(self) -> list[tuple[str, Server]]:
        return [("postgres", self.postgres), ("nats", self.nats), ("valkey", self.valkey)]


def stack_kind() -> str:
    """`embedded`, `containers` or `external`.

    Raises:
        ConfigurationError: SSMD_STACK is none of them.
    """
    kind = os.environ.get("SSMD_STACK") or "embedded"
    if kind not in KINDS:
        raise ConfigurationError(
            f"SSMD_STACK={kind} is not one of {', '.join(KINDS)}: set one, or unset it"
        )
    return kind


def servers(directory: Path, ports: Mapping[str, int], logs: Path) -> Servers:
    """Servers that keep what they acknowledged, with their data in the directory."""
    kind = stack_kind()
    if kind == "external":
        return Servers(external("postgres"), external("nats"), external("valkey"))
    if kind == "containers":
        from ssmd_stack.containers import NatsContainer, PostgresContainer, ValkeyContainer

        return Servers(
            PostgresContainer(port=ports.get("postgres")),
            NatsContainer(port=ports.get("nats")),
            ValkeyContainer(port=ports.get("valkey")),
        )
    return Servers(
        PostgresServer(
            directory / "postgres", port=ports.get("postgres"), log=logs / "postgres.log"
        ),
        NatsServer(directory / "nats", port=ports.get("nats"), log=logs / "nats.log"),
        ValkeyServer(directory / "valkey", port=ports.get("valkey"), log=logs / "valkey.log"),
    )
