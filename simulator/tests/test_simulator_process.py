"""`python -m ssmd_simulator`: it says when it is ready, stops cleanly, says why it cannot start."""

import asyncio
import json
import signal
import socket
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ssmd_simulator import maintenance


async def _start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ssmd_simulator", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def _line(process: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(180):
        while raw := await process.stdout.readline():
            line: dict[str, Any] = json.loads(raw)
            if line["event"] == event:
                return line
    raise AssertionError(f"it never said {event}")


async def test_ready_then_healthy_then_stopped(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    process = await _start("--tempo", "quick", "--write-key", str(key), "--key-type", "ed25519")
    ready = await _line(process, "ready")
    assert ready["key_id"] == "simulator"
    assert key.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    root = ready["base_url"].removesuffix("/trade-api/v2")
    async with http.get(root + "/healthz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})
    async with http.get(ready["base_url"] + "/markets?limit=1") as response:
        assert len((await response.json())["markets"]) == 1
    process.send_signal(signal.SIGTERM)
    await _line(process, "stopped")
    assert await process.wait() == 0


async def test_a_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await _start("--port", str(port))
        line = await _line(process, "cannot start")
        assert str(port) in line["error"]
        assert await process.wait() == 2


@pytest.mark.parametrize("option", ["--replay", "--population"])
async def test_a_directory_without_the_files(tmp_path: Path, option: str) -> None:
    process = await _start(option, str(tmp_path))
    line = await _line(process, "cannot start")
    assert str(tmp_path) in line["error"]
    assert await process.wait() == 2


@pytest.mark.parametrize(
    "arguments", [("--tempo", "slowish"), ("--tempo", "-1"), ("--size", "huge"), ("--dance",)]
)
async def test_wrong_arguments(arguments: tuple[str, ...]) -> None:
    process = await _start(*arguments)
    _, error = await process.communicate()
    assert process.returncode == 2
    assert arguments[0].encode() in error


def test_maintenance_is_on_thursdays() -> None:
    start = maintenance.next_start(1_795_230_000.0)
    # 2026-11-26, 03:00 Eastern.
    assert start == 1_795_680_000
    assert not maintenance.is_on(start - 1)
    assert maintenance.is_on(start)
    assert maintenance.is_on(start + 7199)
    assert not maintenance.is_on(start + 7200)
    assert maintenance.next_start(start) == start + 7 * 86400


@pytest.mark.parametrize(
    ("start", "before"),
    [
        # 2026: summer time from 8 March to 1 November.
        ("2026-03-05T08:00:00+00:00", "2026-03-01"),
        ("2026-03-12T07:00:00+00:00", "2026-03-06"),
        ("2026-10-29T07:00:00+00:00", "2026-10-29"),
        ("2026-11-05T08:00:00+00:00", "2026-10-30"),
    ],
)
def test_maintenance_follows_the_clocks_of_new_york(start: str, before: str) -> None:
    began = datetime.fromisoformat(f"{before}T00:00:00+00:00").timestamp()
    assert maintenance.next_start(began) == datetime.fromisoformat(start).timestamp()
