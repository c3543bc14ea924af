"""`ssmd up`, `status`, `doctor` and `down`: the whole system, from the outside."""

import asyncio
import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import psutil
import psycopg
import pytest
from typer.testing import CliRunner

from ssmd_cli.up import app
from ssmd_common.parts import SERVICES
from ssmd_stack import account, forked
from ssmd_stack.envfile import read_env
from ssmd_stack.ports import free_port
from ssmd_stack.process import is_alive, wait_for_end
from ssmd_stream.subjects import STREAM

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

PARTS = {"postgres", "nats", "valkey", "exchange", *SERVICES}
_LENT = ("DATABASE_URL", "NATS_URL", "REDIS_URL", "SSMD_", "KALSHI_", "OPS_PORT")


def environment() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith(_LENT)}


class Place:
    """A folder in which commands are given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ssmd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return forked.run("ssmd_cli", *arguments, env=environment(), cwd=self.folder, seconds=280)

    def started(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """From nothing, as a user starts it."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "ssmd_cli", *arguments],
            cwd=self.folder, env=environment(), capture_output=True, text=True, check=False,
            timeout=280,
        )  # fmt: skip

    def background(self, *arguments: str, **more: Any) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "ssmd_cli", *arguments],
            cwd=self.folder, env=environment(), text=True, **more,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ssmd("status", "--json").stdout)
        return found

    def processes(self) -> list[psutil.Process]:
        """The supervisor and all below it."""
        document = json.loads((self.folder / ".ssmd/system.json").read_text())
        supervisor = psutil.Process(document["pid"])
        return [supervisor, *supervisor.children(recursive=True)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "a folder"
    folder.mkdir()
    made = Place(folder)
    yield made
    made.ssmd("down")
    account.remove(folder / ".ssmd" / "postgres")


def ports_of(processes: list[psutil.Process]) -> set[int]:
    found = set()
    for process in processes:
        # PostgreSQL's workers come and go.
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {
                connection.laddr.port
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            }
    return found


async def subjects(url: str, pattern: str) -> dict[str, int]:
    """How many messages SECMASTER_CDC has of each subject."""
    client = await nats.connect(url)
    try:
        info = await client.jetstream(timeout=60).stream_info(STREAM, subjects_filter=pattern)
    finally:
        await client.close()
    return info.state.subjects or {}


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run_documented_requests(folder: Path) -> None:
    """Every example of docs/api.md, one after the other, as a reader of the page has them."""
    page = (Path(__file__).parents[2] / "docs/api.md").read_text()
    examples = "".join(re.findall(r"(?s)```sh\n(.*?)```", page))
    assert examples.count("curl") >= 5
    script = f"""
        set -euo pipefail
        curl() {{ command curl -sS --fail-with-body -w '\\n' "$@"; }}
        {examples}
        test "$(wc -l < markets.csv)" -gt 1
    """
    done = subprocess.run(
        ["bash", "-c", textwrap.dedent(script)],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert '"missing":[]' in done.stdout, "the ticker that was looked up exists"


def test_up_down_and_everything_between(place: Place) -> None:
    # A file of the user's own with the name of a module changes nothing.
    (place.folder / "random.py").write_text("raise RuntimeError('not yours')")
    up = place.started("up", "--detach", "--tempo", "still")
    assert up.returncode == 0, up.stderr
    env = read_env(place.folder / ".ssmd")
    assert set(env) == {
        "DATABASE_URL", "NATS_URL", "REDIS_URL", "SSMD_API_URL", "SSMD_DATA_API_KEY",
        "KALSHI_BASE_URL", "KALSHI_WS_URL",
    }  # fmt: skip
    assert env["SSMD_DATA_API_KEY"] in up.stdout
    for word in ("psql", "nats ", "redis-cli", "curl", "secmaster list", "cdc tail"):
        assert word in up.stdout
    for log in (place.folder / ".ssmd/logs").iterdir():
        assert env["SSMD_DATA_API_KEY"] not in log.read_text(), log

    status = place.status()
    assert status["state"] == "ready"
    assert set(status["services"]) | set(status["servers"]) == PARTS
    assert all(part["ready"] for part in status["services"].values())
    assert status["sentence"].startswith("current as of ")
    assert status["services"]["lifecycle"]["position"]["listening"] is True
    # What programs elsewhere see is the same.
    asked = urllib.request.Request(
        f"{env['SSMD_API_URL']}/v1/status", headers={"X-API-Key": env["SSMD_DATA_API_KEY"]}
    )
    with urllib.request.urlopen(asked) as reply:
        told = json.load(reply)
    assert told["ready"]
    assert {name: part["state"] for name, part in told["services"].items()} == {
        name: part["state"] for name, part in status["services"].items()
    }
    table = place.ssmd("status")
    assert all(part in table.stdout for part in PARTS)
    assert env["SSMD_API_URL"] in table.stdout
    assert asyncio.run(subjects(env["NATS_URL"], "cdc.service_status.>")) == {}
    assert asyncio.run(subjects(env["NATS_URL"], "cdc.markets.>")) != {}

    doctor = place.ssmd("doctor")
    assert doctor.returncode == 0, doctor.stdout

    if shutil.which("curl"):
        run_documented_requests(place.folder)

    second = place.ssmd("up")
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1, "one sentence"
    assert f"process {status['pid']}" in second.stderr
    assert place.status()["state"] == "ready", "the first one is not disturbed"

    with psycopg.connect(env["DATABASE_URL"]) as connection:
        found = connection.execute(
            "SELECT rolsuper, (SELECT count(*) FROM markets) FROM pg_roles"
            " WHERE rolname = current_user"
        ).fetchone()
        assert found is not None
        assert found[0] is False

    processes = place.processes()
    ports = ports_of(processes)
    assert len(ports) >= len(PARTS)
    down = place.ssmd("down")
    assert down.returncode == 0, down.stderr
    assert not any(is_alive(process) for process in processes)
    assert not any(listens(port) for port in ports)
    assert not (place.folder / ".ssmd/env").exists()
    assert place.ssmd("status").returncode == 3
    assert place.ssmd("down").returncode == 0, "nothing to stop is no failure"


@pytest.mark.slow
def test_killed_and_started_again(place: Place) -> None:
    assert place.ssmd("up", "--detach").returncode == 0
    env = read_env(place.folder / ".ssmd")
    processes = place.processes()
    processes[0].send_signal(signal.SIGKILL)
    if sys.platform == "linux":
        assert wait_for_end(processes, 60)
    ill = place.ssmd("doctor")
    assert ill.returncode == 1
    assert "`ssmd up` starts it again" in ill.stdout

    again = place.ssmd("up", "--detach")
    assert again.returncode == 0, again.stderr
    assert read_env(place.folder / ".ssmd") == env
    assert "nothing to do" in again.stderr, "the data is still there"
    assert not any(is_alive(process) for process in processes)

    processes = place.processes()
    processes[0].send_signal(signal.SIGKILL)
    assert place.ssmd("down").returncode == 0
    assert wait_for_end(processes, 60)
    assert not (place.folder / ".ssmd/env").exists()


@pytest.mark.parametrize("option", ["nats", "postgres", "redis", "api", "exchange"])
def test_a_port_in_use_is_one_sentence(place: Place, option: str) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        # Both look before they start anything; a detached one looks before it leaves.
        for detach in ([], ["--detach"]) if option == "nats" else ([],):
            done = place.ssmd("up", *detach, f"--port-{option}", str(port))
            assert done.returncode == 2
            assert done.stderr.count("\n") == 1
            assert f"port {port}" in done.stderr
    assert not (place.folder / ".ssmd/system.json").exists()


def test_the_real_exchange_without_a_key_is_a_fault_of_configuration(place: Place) -> None:
    done = place.ssmd("up", "--exchange", "live")
    assert done.returncode == 2
    assert "KALSHI_API_KEY" in done.stderr


@pytest.mark.parametrize(
    "wrong", [("--size", "huge"), ("--tempo", "0"), ("--exchange", "paper"), ("--port-api", "0")]
)
def test_wrong_arguments_are_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, list(wrong))
    assert done.exit_code == 2
    assert wrong[0] in done.output


@pytest.mark.slow
def test_in_the_foreground_it_logs_lines_and_ctrl_c_stops_it(place: Place) -> None:
    up = place.background("up", stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert up.stderr is not None
    seen = []
    for line in up.stderr:
        seen.append(line)
        if "sync" in line and "behind" in line:
            break
    assert any("cdc is ready" in line for line in seen)
    processes = place.processes()
    up.send_signal(signal.SIGINT)
    _, errors = up.communicate(timeout=120)
    assert up.returncode == 0, errors
    assert "stopped" in errors
    assert not any(is_alive(process) for process in processes)


def test_ctrl_c_while_it_starts_leaves_nothing(place: Place) -> None:
    up = place.background("up", stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert up.stderr is not None
    assert "servers are up" in up.stderr.readline()
    processes = place.processes()
    up.send_signal(signal.SIGTERM)
    _, errors = up.communicate(timeout=120)
    assert up.returncode == 0, errors
    assert not any(is_alive(process) for process in processes)


# What it draws: test_cli_status.py.
@pytest.mark.slow
def test_on_a_terminal_it_draws_the_picture(place: Place) -> None:
    master, slave = pty.openpty()
    up = place.background("up", stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    seen = b""
    give_up = time.monotonic() + 200
    while not (b"lifecycle" in seen and b"behind" in seen and b"memory" in seen):
        assert time.monotonic() < give_up, seen.decode(errors="replace")[-3000:]
        if select.select([master], [], [], 1)[0]:
            seen += os.read(master, 65536)
    up.send_signal(signal.SIGINT)
    # Nobody reads the rest: the terminal must not make it wait.
    while up.poll() is None:
        assert time.monotonic() < give_up
        if select.select([master], [], [], 0.2)[0]:
            try:
                os.read(master, 65536)
            except OSError:
                break
    assert up.wait(timeout=60) == 0
    os.close(master)


@pytest.mark.slow
def test_a_standby_beside_it_takes_over_and_is_taken_for_no_fault(place: Place) -> None:
    """A second cdc on the same servers, as on another machine: it stands by, leads once the first
    is killed, and the one that `ssmd up` starts again stands by."""
    assert place.ssmd("up", "--detach").returncode == 0
    env = read_env(place.folder / ".ssmd")
    port = free_port()
    log = place.folder / "standby.log"
    with log.open("wb") as file:
        standby = subprocess.Popen(
            [Path(sys.executable).with_name("ssmd-cdc")],
            env=environment() | env | {"OPS_PORT": str(port), "OPS_HOST": "127.0.0.1"},
            stdout=file,
            stderr=file,
        )

    def told() -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as reply:
                found: dict[str, Any] = json.load(reply)
                return found
        except OSError as error:
            return {"error": str(error)}

    def until(what: str, holds: Any) -> None:
        give_up = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < give_up, (what, told(), log.read_text()[-2000:])
            time.sleep(0.2)

    try:
        until("it stands by", lambda: told().get("state") == "standby")
        assert told()["ready"] is True
        assert place.ssmd("status").returncode == 0
        first = place.status()["services"]["cdc"]["pid"]
        os.kill(first, signal.SIGKILL)
        until("it leads", lambda: told().get("state") == "leading" and told().get("ready"))

        def started_again() -> bool:
            cdc = place.status()["services"]["cdc"]
            return cdc["pid"] not in (None, first) and cdc["state"] == "standby"

        until("the first stands by", started_again)
        assert place.ssmd("status").returncode == 0, place.ssmd("status").stdout
    finally:
        standby.terminate()
        standby.wait(timeout=40)
    # `ssmd up`'s own leads again.
    until("all works", lambda: place.ssmd("status").returncode == 0)
