"""A whole system in one directory: servers, exchange and every service, kept running."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp

from ssmd_common.exitcodes import ExitCode
from ssmd_common.parts import SERVICES
from ssmd_stack.envfile import remove_env, write_env
from ssmd_stack.errors import NotReady, ServerFailed
from ssmd_stack.keeper import Keeper
from ssmd_stack.kept_ports import keep_ports, ports_to_use
from ssmd_stack.leftovers import end_processes
from ssmd_stack.plan import (
    Addresses,
    Exchange,
    Plan,
    exchange_command,
    exchange_urls,
    service_environment,
)
from ssmd_stack.ports import free_port
from ssmd_stack.servers import Servers, servers
from ssmd_stack.service import Service

READY_SECONDS: Final = 180.0
_POLL_SECONDS: Final = 0.2
_HOPELESS_RESTARTS: Final = 3
_HTTP = aiohttp.ClientTimeout(total=3)


@dataclass(slots=True)
class Member:
    """One line of the picture."""

    name: str
    keeper: Keeper
    service: Service | None = None
    was_ready: bool = False

    def record(self) -> dict[str, Any]:
        """What another process needs to look at it."""
        return {
            "name": self.name,
            "pid": self.keeper.runnable.pid,
            "restarts": self.keeper.restarts,
            "last_exit": self.keeper.last_exit,
            "log": self.service and str(self.service.log),
        }


class System:
    """`prepare` migrates the database and returns an API key's text; `say` takes what happens.

    The caller holds the directory's claim. `state` is starting, ready or stopping.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        prepare: Callable[[str], Awaitable[str]],
        say: Callable[[str], None],
    ) -> None:
        self.plan = plan
        self.state = "starting"
        self.members: list[Member] = []
        self.addresses: Addresses | None = None
        self.api_key = ""
        self._prepare = prepare
        self._say_to = say
        self._started_at = datetime.now(UTC)
        self._logs = plan.directory / "logs"
        self._run = plan.directory / "run"

    def say(self, text: str) -> None:
        """Write the state that others read, then pass on what happened."""
        self.write_state()
        self._say_to(text)

    async def start(self) -> None:
        """Start everything and return when every service is ready. After an error call `stop`.

        Raises:
            StackError, ConfigurationError: what did not start, and why.
        """
        self.plan.check()
        for folder in (self._logs, self._run):
            folder.mkdir(parents=True, exist_ok=True)
        _rotate(self._logs)
        self.plan.directory.chmod(0o700)
        # What a killed run left still has its ports.
        await asyncio.to_thread(end_processes, self.plan.directory)
        ports = ports_to_use(self.plan.directory, self.plan.ports, self.say)
        api_port, exchange_port = (ports.get(name) or free_port() for name in ("api", "exchange"))
        stores = servers(self.plan.directory, ports, self._logs)
        exchange = self._exchange(exchange_port)
        for name, server in stores.items():
            self.members.append(Member(name, Keeper(name, server, self.say)))
        if exchange is not None:
            self.members.append(
                Member("exchange", Keeper("exchange", exchange, self.say), exchange)
            )
        await _together(member.keeper.start() for member in self.members)
        self.addresses = self._addresses(stores, api_port, exchange_port)
        own = {name: server.port for name, server in stores.items() if server.port is not None}
        keep_ports(self.plan.directory, {**own, "api": api_port, "exchange": exchange_port})
        self.say("servers are up")
        self.api_key = await self._prepare(self.addresses.database_url)
        write_env(
            self.plan.directory,
            {**self.addresses.variables(), "SSMD_DATA_API_KEY": self.api_key},
        )
        if exchange is not None:
            await self._until_ready([self.members[-1]])
        services = [
            self._service(name, api_port if name == "api" else free_port()) for name in SERVICES
        ]
        self.members.extend(services)
        await _together(member.keeper.start() for member in services)
        self.say("services are starting")
        await self._until_ready(services)
        self.state = "ready"
        self.say("everything is ready")

    async def stop(self) -> None:
        """Stop services, then the exchange, then the servers; each in order, whatever happened."""
        if not self.members:
            return
        self.state = "stopping"
        self.say("stopping")
        services = [member for member in self.members if member.name in SERVICES]
        others = [member for member in self.members if member.name == "exchange"]
        stores = [member for member in self.members if member not in services + others]
        for group in (services, others, stores):
            await asyncio.gather(
                *(member.keeper.stop() for member in group), return_exceptions=True
            )
        remove_env(self.plan.directory)
        (self.plan.directory / "system.json").unlink(missing_ok=True)
        self._say_to("stopped")

    def write_state(self) -> None:
        """What `ssmd status`, `down` and `doctor` read."""
        document = {
            "pid": os.getpid(),
            "state": self.state,
            "exchange": self.plan.exchange.value,
            "started_at": self._started_at.isoformat(timespec="seconds"),
            "api_url": self.addresses and self.addresses.api_url,
            "members": [member.record() for member in self.members],
        }
        path = self.plan.directory / "system.json"
        beside = path.with_suffix(".tmp")
        beside.write_text(json.dumps(document, indent=1))
        beside.replace(path)

    def _exchange(self, port: int) -> Service | None:
        if self.plan.exchange is not Exchange.SIM:
            return None
        return Service(
            "exchange",
            exchange_command(self.plan, port, self._anchor()),
            env=self.plan.environment,
            ready_url=f"http://127.0.0.1:{port}/healthz",
            log=self._logs / "exchange.log",
            pid_file=self._run / "exchange.pid",
        )

    def _anchor(self) -> str:
        """The simulated universe's day: the same at every start in this directory."""
        path = self.plan.directory / "exchange-anchor"
        if not path.exists():
            path.write_text(f"{self._started_at:%Y-%m-%d}")
        return path.read_text().strip()

    def _addresses(self, stores: Servers, api_port: int, exchange_port: int) -> Addresses:
        base, websocket = exchange_urls(self.plan, exchange_port)
        return Addresses(
            database_url=stores.postgres.url,
            nats_url=stores.nats.url,
            redis_url=stores.valkey.url,
            api_url=f"http://127.0.0.1:{api_port}",
            kalshi_base_url=base,
            kalshi_ws_url=websocket,
        )

    def _service(self, name: str, port: int) -> Member:
        assert self.addresses is not None
        ops_port = free_port()
        service = Service(
            name,
            self.plan.commands.get(name, ["-m", f"ssmd_{name}"]),
            env=service_environment(self.plan, self.addresses, name, ops_port, port),
            ready_url=f"http://127.0.0.1:{ops_port}/readyz",
            log=self._logs / f"{name}.log",
            pid_file=self._run / f"{name}.pid",
        )
        return Member(name, Keeper(name, service, self.say), service)

    async def _until_ready(self, members: list[Member]) -> None:
        waiting = {member.name: "no answer yet" for member in members}
        give_up = time.monotonic() + READY_SECONDS
        async with aiohttp.ClientSession(timeout=_HTTP) as http:
            while waiting:
                for member in (member for member in members if member.name in waiting):
                    assert member.service is not None
                    found = await member.service.readiness(http)
                    if found.ready:
                        del waiting[member.name]
                        member.was_ready = True
                        self.say(f"{member.name} is ready")
                        continue
                    _give_up_on(member)
                    why = "; ".join(f"{name}: {text}" for name, text in found.reasons.items())
                    waiting[member.name] = why or found.last_error or found.state
                if waiting and time.monotonic() > give_up:
                    listed = ", ".join(f"{name} ({why})" for name, why in waiting.items())
                    raise NotReady(
                        f"not ready after {READY_SECONDS:.0f} s: {listed}; see {self._logs}"
                    )
                if waiting:
                    await asyncio.sleep(_POLL_SECONDS)


def _give_up_on(member: Member) -> None:
    """Raise if a service that was never ready will not be: it refuses its configuration, or dies.

    The pauses between its starts have by then grown to some seconds.
    """
    keeper, service = member.keeper, member.service
    assert service is not None
    if keeper.last_exit == ExitCode.USAGE or keeper.restarts >= _HOPELESS_RESTARTS:
        raise ServerFailed(f"{member.name} ended: {service.last_words()} (see {service.log})")


async def _together(starts: Any) -> None:
    """All at once; the first error ends the wait for the others and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for start in starts:
                tasks.create_task(start)
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def _rotate(logs: Path) -> None:
    """Keep the logs of the run before this one as *.log.1."""
    for log in logs.glob("*.log"):
        if log.name != "supervisor.log":
            log.replace(log.with_suffix(".log.1"))
