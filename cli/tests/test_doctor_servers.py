"""What `ssmd doctor --service` finds at real servers, well and ill."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis
import structlog
from least_rights import acl_users, nats_url, redis_url, roles, users
from pydantic import SecretStr
from typer.testing import CliRunner

from ssmd_cli.__main__ import app
from ssmd_cli.checkup import deployment
from ssmd_cli.checkup_service import examine, examine_all, settings_of
from ssmd_cli.finding import Finding
from ssmd_common.granting import nats_permissions
from ssmd_common.parts import SERVICES
from ssmd_common.rights import RIGHTS, NatsRights
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stack.servers import stack_kind
from ssmd_stack.valkey import ValkeyServer

Give = Callable[..., None]


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch, database: Database) -> Give:
    """Set variables of the environment, DATABASE_URL among them."""

    def given(**values: str) -> None:
        for name, value in {"database_url": database.url, **values}.items():
            monkeypatch.setenv(name.upper(), value)

    # Slots belong to the whole server, which tests share.
    monkeypatch.setenv("CDC_SLOT", f"s_{secrets.token_hex(4)}")
    return given


async def found(service: str) -> dict[str, Finding]:
    return {finding.what: finding for finding in await examine({service: settings_of(service)})}


async def test_servers_that_are_well(
    give: Give, nats_server: NatsServer, valkey_server: ValkeyServer
) -> None:
    give(nats_url=nats_server.url, redis_url=valkey_server.url)
    findings = await examine_all()
    assert {f.level for f in findings if f.what.endswith((" rights at NATS", "Redis"))} == {"ok"}
    assert [f for f in findings if not f.ok] == []
    # What all services find alike is said once.
    assert len([f for f in findings if f.what == "PostgreSQL"]) == 1
    assert {f.what for f in findings if f.warns} == {
        *(f"{service} itself" for service in SERVICES),
        "migrations",
        "stream SECMASTER_CDC",
        "stream SECMASTER_DLQ",
    }


async def test_servers_that_are_not_there(give: Give) -> None:
    port = free_port()
    give(
        database_url=f"postgresql://x@127.0.0.1:{port}/x",
        nats_url=f"nats://127.0.0.1:{port}",
        redis_url=f"redis://127.0.0.1:{port}/0",
    )
    findings = await found("cache")
    assert {what: f.level for what, f in findings.items()} == {
        "PostgreSQL": "FAIL",
        "NATS": "FAIL",
        "Redis": "FAIL",
    }
    assert findings["PostgreSQL"].mend == "check DATABASE_URL and that PostgreSQL runs"
    assert findings["NATS"].mend == "check NATS_URL and that NATS runs with JetStream"
    assert findings["Redis"].mend == "check REDIS_URL and that Redis or Valkey runs"


async def test_a_server_that_never_answers_is_waited_for_once_and_beside_the_others(
    give: Give,
) -> None:
    """Seven services would wait for each of three servers, one after the other, else."""
    happened: list[str] = []

    def silent(name: str) -> Callable[..., Any]:
        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            happened.append(f"{name} is asked")
            while await reader.read(4096):
                pass
            happened.append(f"{name} is left")
            writer.close()

        return hear

    async with contextlib.AsyncExitStack() as stack:
        ports: dict[str, int] = {}
        for name in ("postgres", "nats", "redis"):
            server = await asyncio.start_server(silent(name), "127.0.0.1", free_port())
            await stack.enter_async_context(server)
            ports[name] = server.sockets[0].getsockname()[1]
        url = f"postgresql://x@127.0.0.1:{ports['postgres']}/x"
        give(
            database_url=url,
            nats_url=f"nats://127.0.0.1:{ports['nats']}",
            redis_url=f"redis://127.0.0.1:{ports['redis']}/0",
        )
        findings = await examine_all(partial(deployment, SecretStr(url)))
    assert [(f.what, f.level) for f in findings] == [
        ("PostgreSQL", "FAIL"),
        ("NATS", "FAIL"),
        ("Redis", "FAIL"),
    ]
    asked = {f"{name} is asked" for name in ports}
    assert set(happened[:3]) == asked, "at once"
    assert [text for text in happened[3:] if text in asked] == [], "nor a second time"


async def test_users_without_some_rights(
    give: Give, database: Database, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    """What is needed at once fails; what is needed now and then is a warning."""
    if stack_kind() != "embedded":
        pytest.skip("users are made: the servers must be the test's own")
    rights = RIGHTS["cdc"].nats
    assert rights is not None
    create, info = "$JS.API.STREAM.CREATE.SECMASTER_CDC", "$JS.API.STREAM.INFO.SECMASTER_DLQ"
    left = [each for each in rights.publish if each.pattern not in (create, info)]
    options = users(cdc=nats_permissions(NatsRights(left)))
    await acl_users(valkey_server.url)
    async with (
        aioredis.Redis.from_url(valkey_server.url) as admin,
        NatsServer(tmp_path / "nats", options=options) as nats,
        roles(database) as made,
        database.connect() as connection,
    ):
        give(database_url=made.url("cdc"), nats_url=nats_url(nats, "cdc"))
        await connection.execute(f"REVOKE INSERT ON cdc_state FROM {made.name('cdc')}")  # type: ignore[arg-type]
        findings = await found("cdc")
        table = findings["cdc rights at PostgreSQL"]
        assert table.level == "FAIL"
        assert table.mend == f"GRANT INSERT ON cdc_state TO {made.name('cdc')};"
        assert findings["replication"].level == "ok"
        assert findings["migrations"].level == "warn"
        at_nats = [
            f for f in await examine({"cdc": settings_of("cdc")}) if f.what == "cdc rights at NATS"
        ]
        assert [(f.level, info in f.detail, create in f.mend) for f in at_nats] == [
            ("FAIL", True, False),
            ("warn", False, True),
        ]
        assert findings["stream SECMASTER_DLQ"].level == "FAIL"
        assert "may not publish" in findings["stream SECMASTER_DLQ"].detail

        await admin.execute_command("ACL", "SETUSER", "cache", "-hset", "-exec")
        await admin.config_set("maxmemory", 100_000_000)
        await admin.config_set("maxmemory-policy", "allkeys-lru")
        give(redis_url=redis_url(valkey_server.url, "cache"), nats_url=nats_url(nats, "cache"))
        findings = await found("cache")
        assert findings["cache rights at Redis"].mend.startswith("ACL SETUSER cache +hset +exec;")
        assert findings["maxmemory-policy"].level == "FAIL"


@pytest.fixture
def log_as_before() -> Iterator[None]:
    """A command says where the log goes, which here is gone with its runner."""
    yield
    structlog.reset_defaults()


def run(*words: str) -> tuple[int, Any]:
    result = CliRunner().invoke(app, ["doctor", *words])
    return result.exit_code, result


@pytest.mark.usefixtures("log_as_before")
def test_exit_codes_and_what_is_printed(
    give: Give, nats_server: NatsServer, valkey_server: ValkeyServer, monkeypatch: Any
) -> None:
    give(nats_url=nats_server.url, redis_url=valkey_server.url)
    code, result = run("--service", "sync", "--service", "cache")
    assert code == 0, result.output
    assert "ok    cache rights at NATS: 6 subjects, and replies\n" in result.stdout
    assert "warn  sync itself: it was never started here\n      → start it\n" in result.stdout
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    code, result = run("--service", "cache", "--json")
    assert code == 1
    levels = {finding["what"]: finding["level"] for finding in json.loads(result.stdout)}
    assert levels["Redis"] == "FAIL"
    assert run("--service", "postgres")[0] == 2
    monkeypatch.setenv("NATS_URL", "http://x")
    code, result = run("--service", "cache")
    assert "NATS_URL" in str(result.exception)
    assert getattr(result.exception, "exit_code", None) == 2
