"""The supervisor, with stand-ins for the services: real servers, real signals."""

import asyncio
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from ssmd_common.errors import ConfigurationError
from ssmd_common.parts import SERVICES
from ssmd_stack import account
from ssmd_stack.claim import claim, holder_of
from ssmd_stack.envfile import read_env
from ssmd_stack.errors import DirectoryInUse, DirectoryUnusable, PortInUse, ServerFailed
from ssmd_stack.flow import SystemRecord, processes
from ssmd_stack.nats import NatsServer
from ssmd_stack.plan import Exchange, Plan
from ssmd_stack.ports import free_port, is_taken
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.process import is_alive
from ssmd_stack.system import System
from ssmd_stack.valkey import ValkeyServer

# Answers /readyz as a service does.
STAND_IN = """
import http.server, json, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"service": "x", "ready": True, "state": "running", "reasons": {}})
        self.send_response(200); self.end_headers(); self.wfile.write(body.encode())
    def log_message(self, *_):
        pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = http.server.HTTPServer(("127.0.0.1", int(os.environ["OPS_PORT"])), Handler)
server.serve_forever()
"""
REFUSES = """
import json
print(json.dumps({"level": "critical", "event": "configuration refused", "error": "FOO: is wrong"}))
raise SystemExit(2)
"""


@pytest.fixture(autouse=True)
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is watched and killed here are the embedded servers' processes."""
    monkeypatch.delenv("SSMD_STACK", raising=False)


def plan(directory: Path, **more: object) -> Plan:
    commands = {name: ["-c", STAND_IN] for name in SERVICES}
    environment = {**os.environ, "KALSHI_API_KEY": "a", "KALSHI_PRIVATE_KEY_PATH": "b"}
    merged = {"exchange": Exchange.DEMO, "commands": commands, "environment": environment, **more}
    return Plan(directory, **merged)  # type: ignore[arg-type]


async def prepare(_: str) -> str:
    return "sk_local_x_it's"


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., System]]:
    made: list[System] = []

    def build(directory: Path = tmp_path / "a b" / ".ssmd", **more: object) -> System:
        heard: list[str] = []
        system = System(plan(directory, **more), prepare=prepare, say=heard.append)
        system.heard = heard  # type: ignore[attr-defined]
        made.append(system)
        return system

    yield build
    for system in made:
        await system.stop()
        account.remove(system.plan.directory / "postgres")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(180):
        while not condition():  # noqa: ASYNC110 - files and logs have no event
            await asyncio.sleep(0.02)


def member_of(system: System, name: str) -> object:
    return next(member for member in system.members if member.name == name)


async def test_starts_everything_and_leaves_nothing(make: Callable[..., System]) -> None:
    system = make()
    await system.start()
    directory = system.plan.directory
    env = read_env(directory)
    assert env["SSMD_DATA_API_KEY"] == "sk_local_x_it's"
    assert (directory / "env").stat().st_mode & 0o777 == 0o600
    sourced = await asyncio.create_subprocess_exec(
        "sh", "-c", '. "$0"; printf %s "$SSMD_DATA_API_KEY $DATABASE_URL"', directory / "env",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await sourced.communicate()
    assert output.decode() == f"sk_local_x_it's {env['DATABASE_URL']}"
    async with await psycopg.AsyncConnection.connect(env["DATABASE_URL"]) as connection:
        found = await connection.execute("SELECT current_setting('fsync')")
        assert await found.fetchone() == ("on",)

    record = SystemRecord.read(directory)
    assert record is not None
    assert (record.state, record.pid) == ("ready", os.getpid())
    running = [psutil.Process(member["pid"]) for member in record.members]
    ports = [connection.laddr.port for process in running for connection in
             process.net_connections("tcp") if connection.status == "LISTEN"]  # fmt: skip
    assert len(ports) >= len(running)
    found = {each.name: each for each in processes([m.record() for m in system.members])}
    assert list(found) == ["postgres", "nats", "valkey", *SERVICES]
    assert all(each.alive for each in found.values())
    assert found["cdc"].memory_bytes
    gone = {**member_of(system, "cdc").record(), "pid": 2**22 - 1}  # type: ignore[attr-defined]
    assert not processes([gone])[0].alive
    await system.stop()
    assert not any(is_alive(process) for process in running)
    assert not any(is_taken(port) for port in ports)
    assert read_env(directory) == {}

    # Addresses in shells and bookmarks stay good; of a port that is taken meanwhile it is said.
    before, lost = addresses(env), urlsplit(env["NATS_URL"]).port
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", lost)
    again = make()
    await again.start()
    now = addresses(read_env(directory))
    assert {name for name in now if now[name] != before[name]} == {"NATS_URL"}
    said = f"port {lost}, which nats had last time, is taken: nats gets another one"
    assert said in again.heard  # type: ignore[attr-defined]
    await again.stop()
    taken.close()
    third = make()
    await third.start()
    assert addresses(read_env(directory)) == now
    assert not any("last time" in text for text in third.heard)  # type: ignore[attr-defined]


def addresses(env: dict[str, str]) -> dict[str, str]:
    """Those of this machine."""
    return {name: text for name, text in env.items() if "127.0.0.1" in text}


async def test_whoever_dies_is_started_again(make: Callable[..., System]) -> None:
    system = make()
    await system.start()
    for name in ("cdc", "valkey", "nats", "postgres"):
        member = member_of(system, name)
        before = member.keeper.runnable.pid  # type: ignore[attr-defined]
        os.kill(before, signal.SIGKILL)
        await until(lambda again=f"{name} was started again": again in system.heard)  # type: ignore[misc]
        assert any(text.startswith(f"{name} was ended by signal 9") for text in system.heard)  # type: ignore[attr-defined]
        record = SystemRecord.read(system.plan.directory)
        assert record is not None
        found = next(entry for entry in record.members if entry["name"] == name)
        assert found["pid"] != before
        assert (found["restarts"], found["last_exit"]) == (1, -9)


async def test_a_service_that_refuses_its_configuration_ends_the_start(
    make: Callable[..., System],
) -> None:
    commands = {**{name: ["-c", STAND_IN] for name in SERVICES}, "cache": ["-c", REFUSES]}
    system = make(commands=commands)
    with pytest.raises(ServerFailed, match="cache ended: FOO: is wrong"):
        await system.start()


async def test_a_port_in_use_is_named_before_anything_starts(make: Callable[..., System]) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", free_port())
    port = taken.sockets[0].getsockname()[1]
    system = make(ports={"nats": port})
    with pytest.raises(PortInUse, match=rf"{port} \(nats\)"):
        await system.start()
    assert system.members == []
    taken.close()


def test_a_port_that_cannot_be_had_says_why(tmp_path: Path) -> None:
    port, privileged = free_port(), 80
    with pytest.raises(PortInUse, match=rf"^port {port} \(valkey\) is that of nats: give another"):
        plan(tmp_path, ports={"nats": port, "valkey": port}).check()
    with socket.socket() as probe:
        found = 0
        try:
            probe.bind(("127.0.0.1", privileged))
        except OSError as error:
            found = error.errno
    if found != errno.EACCES:
        pytest.skip("this user may have every port")
    with pytest.raises(PortInUse, match=r"port 80 \(api\) is not for this user"):
        plan(tmp_path, ports={"api": privileged}).check()


async def test_the_real_exchange_needs_a_key(make: Callable[..., System]) -> None:
    with pytest.raises(ConfigurationError, match="KALSHI_PRIVATE_KEY_PATH"):
        await make(exchange=Exchange.LIVE, environment={"KALSHI_API_KEY": "a"}).start()


def test_a_second_system_is_refused_with_the_holders_pid(tmp_path: Path) -> None:
    with claim(tmp_path):
        found = holder_of(tmp_path)
        assert found is not None
        assert found.pid == os.getpid()
        with pytest.raises(DirectoryInUse, match=f"process {os.getpid()} since"), claim(tmp_path):
            pass
    assert holder_of(tmp_path) is None
    with claim(tmp_path):
        pass


def test_a_directory_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DirectoryUnusable, match="--dir"), claim(tmp_path / "file" / ".ssmd"):
        pass
    assert holder_of(tmp_path / "file" / ".ssmd") is None


async def test_external_servers_are_used_and_left_alone(
    make: Callable[..., System],
    monkeypatch: pytest.MonkeyPatch,
    private_postgres: PostgresServer,
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
) -> None:
    monkeypatch.setenv("SSMD_STACK", "external")
    urls = (private_postgres.url, nats_server.url, valkey_server.url)
    for name, url in zip(("DATABASE_URL", "NATS_URL", "REDIS_URL"), urls, strict=True):
        monkeypatch.setenv(name, url)
    system = make()
    await system.start()
    env = read_env(system.plan.directory)
    assert (env["DATABASE_URL"], env["NATS_URL"], env["REDIS_URL"]) == urls
    await system.stop()
    assert private_postgres.running
    assert nats_server.running
    assert valkey_server.running


_SUPERVISE = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_stack_system import plan, prepare
from ssmd_stack.claim import claim
from ssmd_stack.system import System

async def main():
    directory = Path(sys.argv[1])
    system = System(plan(directory), prepare=prepare, say=lambda _: None)
    with claim(directory):
        await system.start()
        print("ready", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_killed_supervisor_is_cleaned_up_by_the_next_start(
    make: Callable[..., System], tmp_path: Path
) -> None:
    directory = tmp_path / "killed" / ".ssmd"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SUPERVISE, directory, Path(__file__).parent,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    assert (await child.stdout.readline()).strip() == b"ready"
    env = read_env(directory)
    url = env["DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("CREATE TABLE kept (a int)")
    document = json.loads((directory / "system.json").read_text())
    before = [psutil.Process(member["pid"]) for member in document["members"]]
    child.send_signal(signal.SIGKILL)
    await child.wait()

    system = make(directory)
    with claim(directory):
        await system.start()
        assert not any(is_alive(process) for process in before)
        assert read_env(directory) == env
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute("SELECT FROM kept")
