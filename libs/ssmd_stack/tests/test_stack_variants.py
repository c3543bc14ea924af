"""SSMD_STACK: containers where there is an engine, and servers that run elsewhere."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import psycopg
import pytest

from ssmd_common.errors import ConfigurationError
from ssmd_stack.containers import (
    NatsContainer,
    PostgresContainer,
    ValkeyContainer,
    engine_is_missing,
)
from ssmd_stack.errors import ServerFailed
from ssmd_stack.external import external
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.servers import servers, stack_kind
from ssmd_stack.valkey import ValkeyServer

FIXTURES = Path(__file__).with_name("test_stack_fixtures.py")


async def run_fixture_tests(**env: str) -> str:
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", FIXTURES, "-q", "-p", "no:cacheprovider", "-rs",
        env={**os.environ, **env}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await run.communicate()
    text = output.decode()
    assert run.returncode == 0, text
    return text


@pytest.mark.slow
async def test_external_servers_serve_the_same_tests(
    private_postgres: PostgresServer, nats_server: NatsServer, valkey_server: ValkeyServer
) -> None:
    async with await psycopg.AsyncConnection.connect(private_postgres.admin_url) as connection:
        await connection.execute("ALTER ROLE ssmd CREATEDB")
    text = await run_fixture_tests(
        SSMD_STACK="external", DATABASE_URL=private_postgres.url, NATS_URL=nats_server.url,
        REDIS_URL=valkey_server.url, SSMD_STACK_MAY_ERASE="1",
    )  # fmt: skip
    assert "4 passed, 4 skipped" in text, text
    async with await psycopg.AsyncConnection.connect(private_postgres.url) as connection:
        found = await connection.execute("SELECT count(*) FROM pg_database WHERE datname ~ '_'")
        assert await found.fetchone() == (0,), "neither template nor databases are left"


async def test_external_servers_are_not_emptied_without_permission(
    nats_server: NatsServer,
) -> None:
    text = await run_fixture_tests(
        SSMD_STACK="external", NATS_URL=nats_server.url, SSMD_STACK_MAY_ERASE="",
        DATABASE_URL="postgresql://127.0.0.1:9/x", PYTEST_ADDOPTS="-k nats",
    )  # fmt: skip
    assert "SSMD_STACK_MAY_ERASE" in text


async def test_servers_in_containers() -> None:
    if reason := engine_is_missing():
        pytest.skip(reason)
    made = (PostgresContainer(), NatsContainer(), ValkeyContainer())
    async with contextlib.AsyncExitStack() as stack:
        for server in made:
            stack.callback(server.remove)
            await server.start()
            await server.stop()
            assert await server.wait() == 0, f"{server.name} was not stopped in order"
    text = await run_fixture_tests(SSMD_STACK="containers")
    assert "skipped" not in text


_START_ONE = """
import asyncio
from ssmd_stack.containers import ValkeyContainer
from ssmd_stack.errors import ServerFailed

try:
    asyncio.run(ValkeyContainer().start())
except ServerFailed as error:
    print(error)
"""


async def test_a_missing_engine_is_explained() -> None:
    # In a process of its own: the engine's client leaves sockets open when it cannot connect.
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", _START_ONE,
        env={**os.environ, "DOCKER_HOST": "tcp://127.0.0.1:9"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await run.communicate()
    assert "is a container engine running? Unset SSMD_STACK" in output.decode()


async def test_external_faults_name_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NATS_URL", raising=False)
    with pytest.raises(ConfigurationError, match="needs NATS_URL"):
        external("nats")
    monkeypatch.setenv("NATS_URL", f"nats://127.0.0.1:{free_port()}")
    with pytest.raises(ServerFailed, match="NATS_URL leads to"):
        await external("nats").start()


def test_an_unknown_stack_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSMD_STACK", "vm")
    with pytest.raises(ConfigurationError, match="SSMD_STACK=vm is not one of embedded"):
        stack_kind()


@pytest.mark.parametrize("kind", ["embedded", "containers", "external"])
def test_every_kind_makes_three_servers(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSMD_STACK", kind)
    for name in ("DATABASE_URL", "NATS_URL", "REDIS_URL"):
        monkeypatch.setenv(name, "postgresql://h/d")
    names = [name for name, _ in servers(tmp_path, {}, tmp_path).items()]
    assert names == ["postgres", "nats", "valkey"]
