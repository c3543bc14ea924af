"""Settings with all faults at once, logs without secrets, and how a service ends."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from ssmd_common.connections import nats as nats_connection
from ssmd_common.connections import postgres, redis
from ssmd_common.errors import ConfigurationError, UpstreamUnavailable
from ssmd_common.settings import NatsSettings, PostgresSettings, RedisSettings, load


class Both(PostgresSettings, NatsSettings):
    """A service's settings, for these tests."""


def test_every_fault_is_named_and_no_value_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("NATS_URL", "http://user:hunter2@host:4222")
    monkeypatch.setenv("OPS_PORT", "many")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    with pytest.raises(ConfigurationError) as caught:
        load(Both)
    sentence = str(caught.value)
    for name in ("DATABASE_URL", "NATS_URL", "OPS_PORT", "LOG_LEVEL"):
        assert name in sentence
    assert "hunter2" not in sentence
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("url", ["localhost", "postgresql://", "postgresql://h:port/db", "x://h"])
def test_a_wrong_url_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        load(PostgresSettings)


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def test_servers_that_do_not_answer_are_named_with_what_to_check() -> None:
    port = unused_port()
    with pytest.raises(UpstreamUnavailable, match=r"PostgreSQL .* check DATABASE_URL"):
        url = SecretStr(f"postgresql://u:hunter2@127.0.0.1:{port}/d")
        await postgres.connect(url, "test", budget_seconds=0.2)
    with pytest.raises(UpstreamUnavailable, match=r"NATS .* check NATS_URL"):
        settings = NatsSettings(nats_url=SecretStr(f"nats://127.0.0.1:{port}"))
        await nats_connection.connect(settings, "test", budget_seconds=0.2)
    with pytest.raises(UpstreamUnavailable, match=r"Redis .* check REDIS_URL"):
        place = RedisSettings(redis_url=SecretStr(f"redis://127.0.0.1:{port}"))
        await redis.connect(place, "test", budget_seconds=0.2)


async def test_a_nats_that_goes_away_while_it_greets_is_tried_again(nats_server: Any) -> None:
    met = 0

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal met
        met += 1
        if met == 1:
            writer.close()
            return
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", nats_server.port)
        await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    port = unused_port()
    async with await asyncio.start_server(meet, "127.0.0.1", port):
        settings = NatsSettings(nats_url=SecretStr(f"nats://127.0.0.1:{port}"))
        client = await nats_connection.connect(settings, "test", budget_seconds=60)
        await client.flush()
        await nats_connection.close(client)
    assert met == 2


SERVICE = """
import asyncio, os, sys
from ssmd_common.errors import SsmdError
from ssmd_common.runtime import Runtime, run
from ssmd_common.settings import Settings
import structlog

async def side():
    await asyncio.sleep(0.05)
    raise SsmdError("the side task broke: look at its log")

async def deaf():
    # As a library does that swallows a cancellation.
    for _ in range(2):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def serve(runtime: Runtime, settings: Settings) -> None:
    mode = os.environ["MODE"]
    structlog.get_logger().info("hello", database_password="hunter2")
    runtime.health.set("loop", None)
    if mode == "side":
        runtime.spawn("side", side())
    if mode == "deaf":
        runtime.spawn("deaf", deaf())
        runtime.spawn("side", side())
        await deaf()
    if mode == "ends":
        return
    if mode == "crash":
        raise RuntimeError("a bug")
    await runtime.stop.wait()

sys.exit(run("example", Settings, serve))
"""


def start(mode: str, port: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVICE)],
        stdout=subprocess.PIPE,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "OPS_PORT": str(port),
            "OPS_HOST": "127.0.0.1",
            "MODE": mode,
        },
        cwd=Path(__file__).parent,
    )


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("side", "the side task broke"),
        ("deaf", "the side task broke"),
        ("ends", "ended without being asked"),
        ("crash", "a bug"),
    ],
)
def test_a_service_that_breaks_ends_with_a_clear_last_line(mode: str, message: str) -> None:
    process = start(mode, unused_port())
    out, _ = process.communicate(timeout=60)
    lines = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 1
    assert lines[-1]["level"] == "critical"
    assert message in lines[-1]["error"]
    assert "hunter2" not in out


def test_a_port_in_use_is_named_with_its_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start("wait", taken.getsockname()[1])
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "OPS_PORT" in json.loads(out.splitlines()[-1])["error"]


async def test_probes_metrics_and_a_clean_stop() -> None:
    port = unused_port()
    process = start("wait", port)
    base = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as http:
            for _ in range(600):
                try:
                    async with http.get(f"{base}/readyz") as reply:
                        document = await reply.json()
                        if reply.status == 200:
                            break
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.05)
            assert document["ready"] is True
            async with http.get(f"{base}/livez") as reply:
                assert reply.status == 200
            async with http.get(f"{base}/metrics") as reply:
                assert "ssmd_work_total" in await reply.text()
        process.send_signal(signal.SIGTERM)
        out, _ = await asyncio.to_thread(process.communicate, timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert json.loads(out.splitlines()[-1])["event"] == "service stopped"
