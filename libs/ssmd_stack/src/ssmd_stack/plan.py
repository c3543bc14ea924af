"""The plan of `ssmd up`: which exchange, which ports, and each service's environment."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from ssmd_common.errors import ConfigurationError
from ssmd_common.manifests import manifest
from ssmd_stack.errors import PortInUse
from ssmd_stack.ports import refusal

PORTS: Final = ("postgres", "nats", "valkey", "api", "exchange")

_LOCAL_KEY: Final = "ssmd-local"
_MARKET_RATE: Final = "5"
"""Trades, quotes and changes of books a second of the simulated exchange: some to look at."""


class Exchange(StrEnum):
    """Where markets come from."""

    SIM = "sim"
    DEMO = "demo"
    LIVE = "live"


_HOSTS: Final = {
    Exchange.DEMO: (
        "https://external-api.demo.kalshi.co/trade-api/v2",
        "wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2",
    ),
    Exchange.LIVE: (
        "https://external-api.kalshi.com/trade-api/v2",
        "wss://external-api-ws.kalshi.com/trade-api/ws/v2",
    ),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """`ports` are those that were given; every other one is that of the last run, or a free one."""

    directory: Path
    exchange: Exchange = Exchange.SIM
    size: str = "small"
    tempo: str = "quick"
    seed: int = 7
    population: Path | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Python arguments of services that are replaced, for tests of the supervisor itself."""

    def check(self) -> None:
        """Report every fault at once, before anything is started.

        Raises:
            ConfigurationError: the exchange needs a key that is not set.
            PortInUse: a given port cannot be had, or is given twice.
        """
        needed = ("KALSHI_API_KEY", "KALSHI_PRIVATE_KEY_PATH")
        missing = [name for name in needed if not self.environment.get(name)]
        if self.exchange is not Exchange.SIM and missing:
            raise ConfigurationError(
                f"the {self.exchange} exchange's WebSocket needs a key: set {' and '.join(missing)}"
            )
        refused = [
            f"port {port} ({name}) {why}"
            for name, port in self.ports.items()
            if (why := self._refusal(name, port)) is not None
        ]
        if refused:
            raise PortInUse(f"{', '.join(refused)}: give another one, or none for a free one")

    def _refusal(self, name: str, port: int) -> str | None:
        first = next(other for other, given in self.ports.items() if given == port)
        return refusal(port) if first == name else f"is that of {first}"

    @property
    def key_file(self) -> Path:
        """The private key that the simulated exchange makes for its user."""
        return self.directory / "exchange-key.pem"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is; `variables` are the lines of `.ssmd/env`."""

    database_url: str
    nats_url: str
    redis_url: str
    api_url: str
    kalshi_base_url: str
    kalshi_ws_url: str

    def variables(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url,
            "NATS_URL": self.nats_url,
            "REDIS_URL": self.redis_url,
            "SSMD_API_URL": self.api_url,
            "KALSHI_BASE_URL": self.kalshi_base_url,
            "KALSHI_WS_URL": self.kalshi_ws_url,
        }


def exchange_urls(plan: Plan, port: int) -> tuple[str, str]:
    """The exchange's REST base and WebSocket; `port` is the simulator's."""
    if plan.exchange is Exchange.SIM:
        return (
            f"http://127.0.0.1:{port}/trade-api/v2",
            f"ws://127.0.0.1:{port}/trade-api/ws/v2",
        )
    return _HOSTS[plan.exchange]


def exchange_command(plan: Plan, port: int, anchor: str) -> list[str]:
    """The simulator's arguments after `python`; the same anchor day gives the same universe."""
    population = [] if plan.population is None else ["--population", str(plan.population)]
    rate = "0" if plan.tempo == "still" else _MARKET_RATE
    return [
        "-m", "ssmd_simulator", "--port", str(port), "--size", plan.size, "--seed", str(plan.seed),
        "--tempo", plan.tempo, "--anchor", anchor, "--market-rate", rate, *population,
        "--write-key", str(plan.key_file), "--key-id", _LOCAL_KEY, "--key-type", "ed25519",
    ]  # fmt: skip


def service_environment(
    plan: Plan, addresses: Addresses, name: str, ops_port: int, port: int
) -> dict[str, str]:
    """What a service reads (docs/contracts.md § 6); the caller's own settings
    stay, its URLs do not. `port` is for its users, if it has any."""
    described = manifest(name)
    ours = {
        **addresses.variables(),
        "OPS_HOST": "127.0.0.1",
        "OPS_PORT": str(ops_port),
        "LOG_FORMAT": "json",
    }
    if plan.exchange is Exchange.SIM:
        ours |= {"KALSHI_API_KEY": _LOCAL_KEY, "KALSHI_PRIVATE_KEY_PATH": str(plan.key_file)}
        ours |= {
            variable: plan.environment.get(variable, value)
            for variable, value in described.simulated.items()
        }
    ours |= {
        variable: plan.environment.get(variable, value.format(directory=plan.directory))
        for variable, value in described.local.items()
    }
    if described.port is not None:
        ours |= {f"{name.upper()}_HOST": "127.0.0.1", f"{name.upper()}_PORT": str(port)}
    return {**plan.environment, **ours}
