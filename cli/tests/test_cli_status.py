"""`ssmd status` and `ssmd doctor` of any deployment, from the table alone."""

import asyncio
import io
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from rich.console import Console

from ssmd_cli import picture
from ssmd_cli.checkup import deployment
from ssmd_cli.flow import Line, lines_here, lines_of, look_once
from ssmd_common.health import Health
from ssmd_common.parts import OLD_SECONDS, SERVICES
from ssmd_common.reporter import reporting
from ssmd_stack import forked
from ssmd_stack.claim import claim
from ssmd_stack.flow import MemberProcess
from ssmd_stack.ports import free_port


async def ssmd(
    folder: Path, url: str | None, *arguments: str
) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "COLUMNS": "200"}
    if url is not None:
        environment["DATABASE_URL"] = url
    return await asyncio.to_thread(forked.run, "ssmd_cli", *arguments, env=environment, cwd=folder)


@pytest_asyncio.fixture
async def running(database: Any) -> AsyncIterator[dict[str, Health]]:
    """Five services that are well, and a first sync that succeeded."""
    healths = {name: Health(name) for name in SERVICES}
    async with AsyncExitStack() as stack, database.connect() as connection:
        await connection.execute(
            "INSERT INTO sync_runs (job, scope, finished_at, outcome)"
            " VALUES ('everything', '{}', now(), 'ok')"
        )
        for health in healths.values():
            health.set("postgres", None)
            health.state = "leading"
            health.lag_seconds = 0.5
            await stack.enter_async_context(reporting(health, SecretStr(database.url)))
        await told(database.url, "leading", *SERVICES)
        yield healths


async def told(url: str, state: str, *services: str) -> None:
    """Wait until these services have said that state."""
    async with asyncio.timeout(180):
        while True:
            known = await look_once(SecretStr(url))
            if {line.name for line in lines_of(known) if line.state == state} >= set(services):
                return
            await asyncio.sleep(0.05)


async def silence(database: Any, service: str) -> None:
    """As if its process had been killed a while ago."""
    async with database.connect() as connection:
        await connection.execute(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
            f" 'BEGIN IF NEW.service = ''{service}'' THEN RETURN NULL; END IF; RETURN NEW; END'"
        )
        await connection.execute(
            "UPDATE service_status SET updated_at = now() - make_interval(secs => %s)"
            " WHERE service = %s",
            (OLD_SECONDS + 28, service),
        )
        await connection.execute(
            "CREATE TRIGGER keep BEFORE UPDATE ON service_status FOR EACH ROW EXECUTE"
            " FUNCTION keep()"
        )


@pytest.mark.usefixtures("running")
async def test_all_is_well_is_0(database: Any, tmp_path: Path) -> None:
    found = await ssmd(tmp_path, database.url, "status", "--json")
    assert found.returncode == 0, found.stderr
    document = json.loads(found.stdout)
    assert (document["state"], document["ready"]) == ("ready", True)
    assert list(document["services"]) == list(SERVICES)
    assert document["servers"] == {}
    assert document["services"]["cdc"]["lag_seconds"] == 0.5
    assert document["complete_since"] is not None
    assert document["sentence"].startswith("current as of ")
    table = await ssmd(tmp_path, database.url, "status")
    assert table.returncode == 0, table.stderr
    assert document["sentence"].partition(", ")[2] in table.stdout
    assert all(name in table.stdout for name in (*SERVICES, "exchange", "redis"))


async def test_a_service_that_says_nothing_is_1(
    database: Any, tmp_path: Path, running: dict[str, Health]
) -> None:
    running["cache"].degrade("poison", "2 messages were passed over")
    running["api"].ended(None)
    await told(database.url, "stopped", "api")
    await silence(database, "cdc")
    found = await ssmd(tmp_path, database.url, "status", "--json")
    assert found.returncode == 1
    document = json.loads(found.stdout)
    assert document["state"] == "not ready"
    states = {name: part["state"] for name, part in document["services"].items()}
    assert (states["cdc"], states["api"], states["sync"]) == ("no word", "stopped", "leading")
    assert document["services"]["cdc"]["note"].startswith("no word for ")
    table = await ssmd(tmp_path, database.url, "status")
    assert table.returncode == 1
    assert "cdc: no word for " in table.stdout
    assert "poison: 2 messages" in table.stdout
    findings = {finding.what: finding for finding in await deployment(SecretStr(database.url))}
    assert not findings["cdc"].ok
    assert "no word" in findings["cdc"].detail
    assert findings["sync"].ok
    assert findings["migrations"].what


async def test_nothing_here_is_3(tmp_path: Path) -> None:
    found = await ssmd(tmp_path, None, "status", "--json")
    assert found.returncode == 3
    assert json.loads(found.stdout)["state"] == "down"
    assert "DATABASE_URL" in found.stderr
    elsewhere = await ssmd(tmp_path, "postgresql://u@h/d", "status", "--dir", str(tmp_path))
    assert elsewhere.returncode == 3, "a directory that was named is what is looked at"


async def test_a_system_that_begins_to_start_is_1(tmp_path: Path) -> None:
    record = {
        "pid": os.getpid(), "state": "starting", "exchange": "sim", "started_at": "now",
        "api_url": None, "members": [{"name": "nats", "pid": os.getpid(), "restarts": 0}],
    }  # fmt: skip
    with claim(tmp_path):
        (tmp_path / "system.json").write_text(json.dumps(record))
        found = await ssmd(tmp_path, None, "status", "--json", "--dir", str(tmp_path))
        shown = await ssmd(tmp_path, None, "status", "--dir", str(tmp_path))
    assert (found.returncode, shown.returncode) == (1, 1), found.stderr
    document = json.loads(found.stdout)
    assert (document["state"], document["ready"]) == ("starting", False)
    assert document["servers"]["nats"]["state"] == "up"
    assert "starting" in shown.stdout


async def test_no_answer_is_4_and_a_missing_migration_6(
    empty_database: Any, tmp_path: Path
) -> None:
    found = await ssmd(tmp_path, f"postgresql://u@127.0.0.1:{free_port()}/d", "status")
    assert found.returncode == 4
    assert found.stderr.startswith("ssmd: PostgreSQL does not answer")
    assert found.stderr.count("\n") == 1
    found = await ssmd(tmp_path, empty_database.url, "status")
    assert found.returncode == 6
    assert "ssmd db migrate" in found.stderr


async def test_on_this_machine_only_the_process_that_runs_speaks(
    database: Any, running: dict[str, Health]
) -> None:
    running["sync"].failed("run", "the exchange was away")
    running["sync"].state = "syncing"
    await told(database.url, "syncing", "sync")
    known = await look_once(SecretStr(database.url))
    mine = os.getpid()
    members = [
        MemberProcess("postgres", True, 1, 0, 5_000_000),
        MemberProcess("sync", True, mine, 2, 80_000_000),
        MemberProcess("cdc", True, mine + 1, 1, 80_000_000),
        MemberProcess("cache", False, mine, 3, None),
    ]
    postgres, sync, cdc, cache = lines_here(known, members)
    assert (postgres.state, postgres.ready, postgres.memory_bytes) == ("up", True, 5_000_000)
    assert (sync.state, sync.ready, sync.restarts) == ("syncing", True, 2)
    assert str(sync.note).startswith("last error ")
    assert str(sync.note).endswith("s ago: the exchange was away")
    # Its row is the former process's.
    assert (cdc.state, cdc.ready) == ("starting", False)
    assert (cache.state, cache.ready) == ("down", False)
    lost = lines_here(None, members)
    assert [line.state for line in lost] == ["no answer", "no word", "no word", "down"]
    assert not any(line.ready for line in lost)
    line = picture.line([postgres, sync, cdc])
    assert line.startswith("sync syncing, ")
    assert "0.5 s behind" in line
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(
        picture.picture([postgres, sync, cdc], "title", ["10:00 it began"], "whole", width=100)
    )
    text = console.export_text()
    assert all(part in text for part in ("title", "syncing", "behind", "whole", "it began"))


@pytest.mark.parametrize("width", [40, 60, 100])
def test_a_picture_cuts_no_figure_however_narrow(width: int) -> None:
    rows = [Line("lifecycle", "following", True, work=1_234_567, rate=4321.0, lag_seconds=119.0,
                 memory_bytes=1_500_000_000, restarts=12)]  # fmt: skip
    shown = io.StringIO()
    console = Console(file=shown, width=width)
    console.print(picture.picture(rows, "title", width=width))
    assert "…" not in shown.getvalue()
    assert "following" in shown.getvalue()
    assert ("1500 MB" in shown.getvalue()) == (width == 100)
