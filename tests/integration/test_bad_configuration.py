"""Every service, started with something wrong: one clear last sentence, the right exit code."""

import asyncio
import json
import os
import socket
import tempfile
from pathlib import Path
from typing import IO, Any

import pytest

from ssmd_common.errors import ConfigurationError
from ssmd_common.manifests import Need, manifest, settings_type
from ssmd_common.parts import SERVICES
from ssmd_common.settings import load
from ssmd_stack.database import Database
from ssmd_stack.forked import Forked
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stack.valkey import ValkeyServer

SCHEMES = {"DATABASE_URL": "postgresql", "NATS_URL": "nats", "REDIS_URL": "redis"}
SERVERS: dict[Need, str] = {"postgres": "DATABASE_URL", "nats": "NATS_URL", "redis": "REDIS_URL"}
# A service that serves users starts without these, and says in its answers what it lacks.
LATER = {("api", "NATS_URL"), ("api", "REDIS_URL")}
each_server = pytest.mark.parametrize(
    ("service", "variable"),
    [
        (service, variable)
        for need, variable in SERVERS.items()
        for service in SERVICES
        if need in manifest(service).needs and (service, variable) not in LATER
    ],
)


_WRONG_KEY = {"KALSHI_READ_BUDGET": "0", "KALSHI_PRIVATE_KEY_PATH": "/nowhere/key.pem"}
WRONG = {
    "sync": {**_WRONG_KEY, "SYNC_JOBS_FILE": "/nowhere/jobs.yaml"},
    "lifecycle": {**_WRONG_KEY, "LIFECYCLE_POLL_SECONDS": "inf"},
    "cdc": {"CDC_SLOT": "No Slot", "CDC_WINDOW_MESSAGES": "0"},
    "cache": {"CACHE_CHECK_SECONDS": "inf"},
    "archiver": {"ARCHIVER_ROTATE_SECONDS": "0", "ARCHIVER_KEEP_BYTES": "1"},
    "api": {"API_PORT": "-1"},
}


class Environment:
    """A working configuration of every service, for tests to break."""

    def __init__(self, folder: Path, **urls: str) -> None:
        self.variables = {
            "PATH": os.environ["PATH"],
            **urls,
            "KALSHI_BASE_URL": f"http://127.0.0.1:{free_port()}/trade-api/v2",
            "KALSHI_WS_URL": f"ws://127.0.0.1:{free_port()}/trade-api/ws/v2",
            "OPS_PORT": str(free_port()),
            "OPS_HOST": "127.0.0.1",
            "API_PORT": str(free_port()),
            "API_HOST": "127.0.0.1",
            "ARCHIVER_ROOT": str(folder / "archive"),
            "STARTUP_BUDGET_SECONDS": "1",
        }

    def run(self, service: str, **changed: str | None) -> tuple[int, dict[str, Any], str]:
        """The exit code, the last log line and all output of a service that must end by itself."""
        with tempfile.TemporaryFile() as output:
            code = self.start(service, output, **changed).ended()
            text = said(output)
        return code, json.loads(text.splitlines()[-1]), text

    def start(self, service: str, output: IO[bytes], **changed: str | None) -> Forked:
        merged = {**self.variables, **changed}
        variables = {name: value for name, value in merged.items() if value is not None}
        return Forked(f"ssmd_{service}", env=variables, stdout=output)


def said(output: IO[bytes]) -> str:
    """All of it until now; the process goes on where it stood in the file."""
    return os.pread(output.fileno(), 1 << 20, 0).decode()


@pytest.fixture
def environment(
    database: Database, nats_server: NatsServer, valkey_server: ValkeyServer, tmp_path: Path
) -> Environment:
    urls = (database.url, nats_server.url, valkey_server.url)
    return Environment(tmp_path, **dict(zip(SCHEMES, urls, strict=True)))


@pytest.fixture
def without_servers(tmp_path: Path) -> Environment:
    """For what is told before any server is asked."""
    urls = {name: f"{scheme}://127.0.0.1:{free_port()}" for name, scheme in SCHEMES.items()}
    return Environment(tmp_path, **urls)


def refusal(
    service: str, monkeypatch: pytest.MonkeyPatch, environment: Environment, **changed: str | None
) -> str:
    """What a service's settings are refused with, without a process of its own."""
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in {**environment.variables, **changed}.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        load(settings_type(service))
    return str(refused.value)


@pytest.mark.parametrize("service", SERVICES)
async def test_all_faults_are_named_at_once(without_servers: Environment, service: str) -> None:
    wrong = {
        "DATABASE_URL": "mysql://u:hunter2@h/d",
        "OPS_PORT": "70001",
        "LOG_LEVEL": "LOUD",
        "STARTUP_BUDGET_SECONDS": "nan",
        **WRONG.get(service, {}),
    }
    code, last, output = without_servers.run(service, **wrong)
    assert code == 2
    assert output.count("\n") == 1
    for name in wrong:
        assert name in last["error"]
    assert "hunter2" not in output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"include: [", "include and exclude"),
        (b"include: {series: 5}", "include and exclude"),
        (b"\xff", "UTF-8"),
        (b"[" * 5000, "include and exclude"),
        (None, "No such file"),
    ],
)
async def test_what_files_hold_is_told_with_all_other_faults(
    without_servers: Environment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: bytes | None,
    says: str,
) -> None:
    """Before anything is opened: the port to listen on is taken, and that is not what is told."""
    filter_path, key_path = tmp_path / "filter.yaml", tmp_path / "key.pem"
    if text is not None:
        filter_path.write_bytes(text)
    key_path.write_text("no key")
    wrong = {
        "LIFECYCLE_FILTER_PATH": str(filter_path),
        "KALSHI_PRIVATE_KEY_PATH": str(key_path),
        "LIFECYCLE_BATCH_MESSAGES": "0",
    }
    if text is None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            more = {"KALSHI_API_KEY": "k", "OPS_PORT": str(taken.getsockname()[1])}
            code, last, _ = without_servers.run("lifecycle", **more, **wrong)
        assert code == 2
        told = last["error"]
    else:
        # What a process makes of it is the same for all.
        told = refusal("lifecycle", monkeypatch, without_servers, KALSHI_API_KEY="k", **wrong)
    for name in wrong:
        assert name in told
    assert says in told
    assert "is not a private key in PEM" in told
    assert told.count(str(filter_path)) == 1


@pytest.mark.parametrize("service", SERVICES)
def test_a_missing_database_url_is_named(
    without_servers: Environment, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    told = refusal(service, monkeypatch, without_servers, DATABASE_URL=None)
    assert told == "the configuration has faults: DATABASE_URL: is missing"


@each_server
async def test_a_server_that_is_not_there_is_named(
    environment: Environment, service: str, variable: str
) -> None:
    dead = f"{SCHEMES[variable]}://u:hunter2@127.0.0.1:{free_port()}"
    code, last, output = environment.run(service, **{variable: dead})
    assert code == 4
    assert f"check {variable}" in last["error"]
    assert "hunter2" not in output


@each_server
async def test_a_stop_ends_the_wait_for_a_server(
    environment: Environment, service: str, variable: str
) -> None:
    dead = f"{SCHEMES[variable]}://127.0.0.1:{free_port()}"
    patient = {variable: dead, "STARTUP_BUDGET_SECONDS": "3600"}
    with tempfile.TemporaryFile() as output:
        process = environment.start(service, output, **patient)
        while '"level": "warning"' not in said(output):
            assert process.returncode is None
            await asyncio.sleep(0.01)
        process.terminate()
        assert await process.wait() == 0, said(output)
        assert json.loads(said(output).splitlines()[-1])["event"] == "service stopped"


@pytest.mark.parametrize("service", SERVICES)
async def test_a_refused_password_is_told_from_silence(
    environment: Environment, service: str
) -> None:
    wrong = environment.variables["DATABASE_URL"].replace("ssmd:", "ssmd:wrong")
    code, last, output = environment.run(service, DATABASE_URL=wrong)
    assert code == 2
    assert "DATABASE_URL" in last["error"]
    assert "wrong" not in output.replace("wrong password", "")


@pytest.mark.parametrize("service", SERVICES)
async def test_a_port_in_use_is_named_with_its_setting(
    without_servers: Environment, service: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, last, _ = without_servers.run(service, OPS_PORT=str(taken.getsockname()[1]))
    assert code == 2
    assert "OPS_PORT" in last["error"]


async def test_the_api_names_its_own_port(environment: Environment) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, last, _ = environment.run("api", API_PORT=str(taken.getsockname()[1]))
    assert code == 2
    assert "API_PORT" in last["error"]
