"""`ssmd db migrate`: equal to psql, safe twice at once, repaired after a kill at any point."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from ssmd_cli.migrate import MigrationFailed, migrate, states
from ssmd_common.errors import ConfigurationError
from ssmd_common.migrations import migration_files
from ssmd_stack import forked
from ssmd_stack.database import Database, new_database
from ssmd_stack.ports import free_port
from ssmd_stack.postgres import PostgresServer

NAMES = [file.stem for file in migration_files()]


def dump(server: PostgresServer, url: str) -> list[str]:
    """Schema and data without yoyo's books, without when history began, and without pg_dump's
    random restrict key."""
    text = subprocess.run(
        [
            server.bin_dir / "pg_dump", "--exclude-table=_yoyo*", "--exclude-table=yoyo_*",
            "--exclude-table-data=history.spans", url,
        ],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return [line for line in text.splitlines() if "restrict " not in line]


def ssmd(
    *args: str, url: str, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "DATABASE_URL": url, "STARTUP_BUDGET_SECONDS": "5", **env}
    return forked.run("ssmd_cli", *args, env=given, cwd=cwd)


@pytest.mark.embedded
async def test_equals_psql_file_by_file(
    empty_database: Database, postgres_server: PostgresServer
) -> None:
    assert await migrate(SecretStr(empty_database.url)) == NAMES
    async with new_database(postgres_server, template="template1") as by_psql:
        for file in migration_files():
            await asyncio.to_thread(
                subprocess.run,
                [
                    postgres_server.bin_dir / "psql", "-1", "-q", "-v", "ON_ERROR_STOP=1",
                    "-d", by_psql.url, "-f", file,
                ],
                check=True,
            )  # fmt: skip
        expected = dump(postgres_server, by_psql.url)
    found = dump(postgres_server, empty_database.url)
    assert any("CREATE PUBLICATION secmaster_cdc" in line for line in found)
    assert found == expected


async def test_second_run_does_nothing(empty_database: Database) -> None:
    url = SecretStr(empty_database.url)
    assert [state.applied_at for state in await states(url)] == [None] * len(NAMES)
    await migrate(url)
    before = await states(url)
    assert await migrate(url) == []
    assert await states(url) == before
    assert [state.name for state in before if state.applied_at] == NAMES


async def test_two_at_once_apply_everything_once(empty_database: Database) -> None:
    url = SecretStr(empty_database.url)
    runs = await asyncio.gather(*(migrate(url) for _ in range(4)))
    assert sorted(name for run in runs for name in run) == NAMES


async def test_a_view_that_is_not_ours_is_named(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would have to be made again after the change, which only its owner can do."""
    for file in migration_files():
        if file.name < "006":
            shutil.copy(file, tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv("SSMD_MIGRATIONS", str(tmp_path))
        await migrate(SecretStr(empty_database.url))
    async with empty_database.connect() as connection:
        await connection.execute("CREATE VIEW my_words AS SELECT exchange_status FROM markets")
        with pytest.raises(MigrationFailed, match=r"006.*view my_words.*docs/operations.md"):
            await migrate(SecretStr(empty_database.url))
        await connection.execute("DROP VIEW my_words")
    assert "006_unknown_words" in await migrate(SecretStr(empty_database.url))


async def test_clears_the_lock_row_of_a_killed_run(empty_database: Database) -> None:
    url = SecretStr(empty_database.url)
    await migrate(url)
    async with empty_database.connect() as connection:
        await connection.execute("INSERT INTO yoyo_lock VALUES (1, now(), 12345)")
        await connection.execute("DELETE FROM _yoyo_migration WHERE migration_id LIKE '003%'")
        await connection.execute("DROP PUBLICATION secmaster_cdc")
    assert await migrate(url) == NAMES[2:3]


async def test_bad_migration_leaves_nothing_and_says_why(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "001_good.sql").write_text("CREATE TABLE good (a int);")
    (tmp_path / "002_bad.sql").write_text("CREATE TABLE half (a int);\nSELECT 1/0; -- 100% : no")
    monkeypatch.setenv("SSMD_MIGRATIONS", str(tmp_path))
    url = SecretStr(empty_database.url)
    with pytest.raises(MigrationFailed, match=r"002_bad failed.*division by zero"):
        await migrate(url)
    (tmp_path / "002_bad.sql").write_text("CREATE TABLE half (a int);")
    assert await migrate(url) == ["002_bad"]


async def test_no_migrations_is_a_fault_of_configuration(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSMD_MIGRATIONS", str(tmp_path))
    with pytest.raises(ConfigurationError, match="SSMD_MIGRATIONS"):
        await migrate(SecretStr(empty_database.url))


# Runs the migration in a child that ends itself with SIGKILL before its n-th statement, then once
# more undisturbed, for every n or every so many. It forks: one process, one thread, no second start
# of Python.
_KILL_AT_EVERY_STATEMENT = """
import json, os, signal, sys
import psycopg
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr
from ssmd_cli import migrate
from ssmd_common.connections.session import Login
from ssmd_common.migrations import migration_files

admin, owner, url, step = sys.argv[1:]
execute = psycopg.Cursor.execute

def run(url, kill_before):
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    count = 0
    def counting(self, *args, **more):
        nonlocal count
        count += 1
        if count == kill_before:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(self, *args, **more)
    psycopg.Cursor.execute = counting
    try:
        migrate._apply_missing(Login.of(SecretStr(url), "test"), migration_files(), lambda: None)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)

kill_before, outcomes = 1, []
while True:
    name = f"testdb_kill_{os.getpid()}_{kill_before}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} OWNER {owner}")
    target = make_conninfo(url, dbname=name)
    was_killed = run(target, kill_before) == signal.SIGKILL
    repaired = run(target, 0) == 0
    with psycopg.connect(target) as connection:
        marks = connection.execute(
            "SELECT array_agg(migration_id::text ORDER BY 1), to_regclass('markets') IS NOT NULL,"
            " (SELECT count(*) FROM pg_publication), (SELECT count(*) FROM fees),"
            " (SELECT count(*) FROM yoyo_lock) FROM _yoyo_migration"
        ).fetchone()
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    outcomes.append([kill_before, repaired, marks])
    if not was_killed:
        break
    kill_before += int(step)
print(json.dumps(outcomes))
"""


# Every one is too slow for the default run; a prime of them meets each part of a migration's life.
@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.slow)])
async def test_kill_before_any_statement_is_repaired(
    empty_database: Database, postgres_server: PostgresServer, step: int
) -> None:
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILL_AT_EVERY_STATEMENT,
        postgres_server.admin_url, postgres_server.role, empty_database.url, str(step),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await run.communicate()
    outcomes = json.loads(output)
    assert outcomes[-1][0] > 20, "the kills must reach into the migrations"
    good = [NAMES, True, 1, 1, 0]
    assert [outcome for outcome in outcomes if outcome[1:] != [True, good]] == []


async def test_command_line(empty_database: Database) -> None:
    status = ssmd("db", "status", url=empty_database.url)
    assert status.returncode == 6, status.stderr
    assert "missing" in status.stdout
    done = ssmd("db", "migrate", "--json", url=empty_database.url)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"applied": NAMES}), done.stderr
    again = ssmd("db", "migrate", url=empty_database.url)
    assert (again.returncode, again.stdout) == (0, ""), again.stderr
    status = ssmd("db", "status", "--json", url=empty_database.url)
    assert status.returncode == 0, status.stderr
    assert [row["migration"] for row in json.loads(status.stdout)["migrations"]] == NAMES


def test_unreachable_database_is_one_sentence_and_4() -> None:
    done = ssmd(
        "db", "migrate", url="postgresql://a:hunter2@127.0.0.1:9/x", STARTUP_BUDGET_SECONDS="0.1"
    )
    assert done.returncode == 4
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ssmd: PostgreSQL did not answer")
    assert "hunter2" not in done.stderr


def test_missing_configuration_says_what_is_missing_and_how_to_get_a_system(tmp_path: Path) -> None:
    done = ssmd("db", "migrate", url="", cwd=tmp_path)
    assert done.returncode == 2
    fault, advice = done.stderr.strip().splitlines()
    assert fault == "ssmd: the configuration has faults: DATABASE_URL: is missing"
    assert "make up" in advice


def test_a_shell_with_the_addresses_of_an_earlier_system_is_told(tmp_path: Path) -> None:
    url = f"postgresql://u@127.0.0.1:{free_port()}/d"
    (tmp_path / ".ssmd").mkdir()
    env = tmp_path / ".ssmd" / "env"
    for here, is_told in ((url, False), (f"{url}2", True)):
        env.write_text(f"DATABASE_URL={here}\n")
        done = ssmd("status", url=url, cwd=tmp_path)
        assert done.returncode == 4
        assert ("DATABASE_URL in this shell is not that of the system" in done.stderr) is is_told


async def test_role_is_no_superuser(empty_database: Database) -> None:
    async with await psycopg.AsyncConnection.connect(empty_database.url) as connection:
        found = await connection.execute(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        )
        assert await found.fetchone() == (False,)


async def test_a_copied_database_is_noticed(
    empty_database: Database, postgres_server: PostgresServer
) -> None:
    """From then on its history is known, though nothing has changed yet."""
    told = "SELECT count(*) FROM markets_as_of(clock_timestamp())"
    await migrate(SecretStr(empty_database.url))
    async with (
        new_database(postgres_server, template=empty_database.name) as copy,
        copy.connect() as connection,
    ):
        with pytest.raises(psycopg.Error) as error:
            await connection.execute(told)
        assert error.value.sqlstate == "SH003"
        assert await migrate(SecretStr(copy.url)) == []
        await connection.execute(told)
