"""Databases with settings, encodings and roles that are not the usual ones."""

import asyncio
import secrets
import subprocess

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from topology import Topology, execute

from ssmd_stack import forked
from ssmd_stack.database import Database, DatabaseServer
from ssmd_stack.servers import stack_kind

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = {
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kolkata",
    "client_encoding": "LATIN1",
    "bytea_output": "escape",
    "extra_float_digits": "-3",
    # Shorter than any of our connections is quiet.
    "idle_session_timeout": "700ms",
}
QUIET_SECONDS = 6.0
KEPT = {"ssmd-lifecycle-listen", "ssmd-lifecycle-leader", "ssmd-cache-leader", "ssmd-sync-watch"}


async def test_settings_of_the_database_and_options_in_the_url_change_nothing(
    services: Topology, database: Database
) -> None:
    async with database.connect() as connection:
        for name, value in SETTINGS.items():
            await connection.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    sql.Identifier(database.name), sql.Identifier(name.lower()), sql.Literal(value)
                )
            )
    url = f"{database.url}?options=-c%20statement_timeout%3D60s%20-c%20DateStyle%3DGerman"
    started = await services.start_all(url)
    for service in started:
        await service.ready()
    # Whoever is cut off in the quiet time ends, or opens a connection anew.
    before = await backends(database)
    while not {name for name, _ in before} >= KEPT:
        await asyncio.sleep(0.2)
        before = await backends(database)
    await asyncio.sleep(QUIET_SECONDS)
    for service in started:
        await service.ready()
        assert "Traceback" not in service.log.read_text(), service.name
    kept = before & await backends(database)
    assert {name for name, _ in kept} >= KEPT
    async with database.connect() as connection:
        cursor = await connection.execute("SELECT outcome FROM sync_runs ORDER BY id DESC LIMIT 1")
        assert await cursor.fetchone() == ("ok",)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_another_encoding_is_refused_in_words(
    services: Topology, postgres_server: DatabaseServer, encoding: str
) -> None:
    name = f"testdb_{secrets.token_hex(4)}"
    owner = conninfo_to_dict(postgres_server.url_of(name))["user"]
    await execute(
        postgres_server.admin_url,
        f"CREATE DATABASE {name} OWNER {owner} ENCODING '{encoding}' LOCALE_PROVIDER libc"
        " LOCALE 'C' TEMPLATE template0",
    )
    url = postgres_server.url_of(name)
    try:
        for service in await services.start_all(url):
            code, sentence = await service.ended()
            assert code == 2, service.name
            assert f"encoded in {encoding} and ssmd needs UTF8" in sentence, service.name
        done = await asyncio.to_thread(migrate, url)
        assert done.returncode == 2
        assert f"encoded in {encoding}" in done.stderr
    finally:
        await execute(postgres_server.admin_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(
    ("service", "lacks", "grant"),
    [
        ("cache", "fencing_tokens", "GRANT USAGE ON SEQUENCE fencing_tokens TO {role};"),
        ("lifecycle", "fencing_tokens", "GRANT USAGE ON SEQUENCE fencing_tokens TO {role};"),
        ("cache", "markets", "GRANT SELECT ON markets TO {role};"),
        ("lifecycle", "markets", "GRANT SELECT, INSERT, UPDATE ON markets TO {role};"),
        ("sync", "markets", "GRANT SELECT, INSERT, UPDATE ON markets TO {role};"),
        ("sync", "sync_runs", "GRANT SELECT, INSERT, UPDATE, DELETE ON sync_runs TO {role};"),
        ("cdc", "cdc_state", "GRANT SELECT, INSERT, UPDATE ON cdc_state TO {role};"),
        ("cdc", "markets", "GRANT SELECT ON markets TO {role};"),
        ("api", "markets", "GRANT SELECT ON markets TO {role};"),
        ("api", "api_keys", "GRANT SELECT, INSERT, UPDATE ON api_keys TO {role};"),
    ],
)
async def test_a_right_that_is_missing_is_told_with_its_grant(
    services: Topology, database: Database, service: str, lacks: str, grant: str
) -> None:
    if stack_kind() == "external":
        pytest.skip("roles are made: the server must be ours")
    role = f"role_{secrets.token_hex(4)}"
    kind = "SEQUENCE" if lacks == "fencing_tokens" else "TABLE"
    await execute(
        database.admin_url,
        f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'secret'",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}",
        f"GRANT ALL ON DATABASE {database.name} TO {role}",
        f"REVOKE ALL ON {kind} {lacks} FROM {role}",
    )
    given = conninfo_to_dict(database.url)
    url = f"postgresql://{role}:secret@{given['host']}:{given['port']}/{database.name}"
    try:
        code, sentence = await (await services.start(service, url)).ended()
        assert code == 2
        assert grant.format(role=role) in sentence
        assert "secret" not in sentence
    finally:
        await services.close()
        await execute(database.admin_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


async def backends(database: Database) -> set[tuple[str, int]]:
    """(application name, process) of the sessions that ours have there."""
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        cursor = await admin.execute(
            "SELECT application_name, pid FROM pg_stat_activity"
            " WHERE datname = %s AND application_name LIKE 'ssmd-%%'",
            (database.name,),
        )
        return set(await cursor.fetchall())


def migrate(url: str) -> "subprocess.CompletedProcess[str]":
    return forked.run("ssmd_cli", "db", "migrate", env={"DATABASE_URL": url})
