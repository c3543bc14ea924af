"""DATABASE_URL with several hosts, and one that leads to another server than before."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr, ValidationError

from ssmd_common import placewatch
from ssmd_common.connections import hosts, postgres
from ssmd_common.connections.session import Login, open_session
from ssmd_common.errors import ConfigurationError
from ssmd_common.health import Health
from ssmd_common.settings import PostgresSettings
from ssmd_common.tasks import end
from ssmd_stack.database import Database
from ssmd_stack.ports import free_port
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.proxy import TcpProxy
from ssmd_stack.servers import stack_kind
from ssmd_stack.standby import promote, standby_of

# Two servers and a copy are made first.
pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@a:5432,b:5432/db?target_session_attrs=read-write",
        "postgresql://u:p@a,b/db",
        "postgres://u:p@[::1]:5432,b:5433/db?target_session_attrs=primary",
        "postgresql:///db?host=a,b&port=5432",
        "postgresql://u:p@a/db?target_session_attrs=any",
    ],
)
def test_several_hosts_are_taken_in_the_form_of_libpq(url: str) -> None:
    given = PostgresSettings(database_url=SecretStr(url)).database_url
    assert given.get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@a:5432,:5432/db",
        "postgresql://u:hunter2@a:5432,b:x/db",
        "postgresql://u:hunter2@a:70000/db",
        "postgresql://u:hunter2@a,b,c/db?port=1,2",
        "postgresql://u:hunter2@a,b/db?target_session_attrs=standby",
        "postgresql://u:hunter2@a/db?no_such_parameter=1",
    ],
)
def test_what_leads_to_no_primary_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PostgresSettings(database_url=SecretStr(url))
    [fault] = caught.value.errors(include_input=False)
    assert "hunter2" not in fault["msg"]


def test_of_several_hosts_the_primary_is_looked_for_unless_one_is_named() -> None:
    for url, looked in (
        ("postgresql://a,b/db", True),
        ("postgresql://a/db?target_session_attrs=primary", True),
        ("postgresql://a/db", False),
    ):
        info = Login.of(SecretStr(url), "test").info
        assert (f"target_session_attrs={hosts.PRIMARY}" in info) is looked


@pytest.fixture
async def standby(primary: PostgresServer, scratch: Path) -> AsyncIterator[PostgresServer]:
    async with standby_of(primary, scratch / f"standby-{secrets.token_hex(4)}") as server:
        yield server


def through(url: str, *ports: int | None, password: str | None = None) -> SecretStr:
    """The URL with these ports in place of its own, in this order; None is its own."""
    given = urlsplit(url)
    addresses = ",".join(f"127.0.0.1:{port or given.port}" for port in ports)
    password = password or given.password
    return SecretStr(f"postgresql://{given.username}:{password}@{addresses}{given.path}")


async def port(connection: psycopg.AsyncConnection[Any]) -> int:
    row = await (await connection.execute("SELECT inet_server_port()")).fetchone()
    assert row is not None
    return int(row[0])


async def test_every_connection_is_to_the_primary_also_while_the_old_one_lives(
    primary: PostgresServer, standby: PostgresServer
) -> None:
    old, new = primary.port, standby.port
    url = through(primary.url, new, old, free_port())
    pool = await postgres.open_pool(url, "test", budget_seconds=30, max_size=4, autocommit=True)
    async with pool, await postgres.connect(url, "test", budget_seconds=30) as held:
        async with pool.connection() as lent:
            assert await port(lent) == old
        assert await port(held) == old
        replication = Login.of(url, "test", replication="database")
        # As cdc opens its own.
        for each in (replication.at(held), Login.of(url, "test")):
            async with await open_session(each, row_factory=dict_row) as session:
                assert session.server == held.server
        await promote(standby)
        # The old primary still takes writes, and a standing connection tells nothing.
        assert held.refuses_writes is None
        # libpq would take the first.
        for ports in (new, old), (old, new):
            login = Login.of(through(primary.url, *ports), "test")
            async with await open_session(login) as fresh:
                assert await port(fresh) == new
                assert fresh.server.timeline == 2
        async with await open_session(Login.of(url, "test")) as fresh:
            left = postgres.leave_others(fresh)
            assert [server.timeline for server in left] == [1]
            assert await port(fresh) == new
        with pytest.raises(psycopg.OperationalError):
            await held.execute("SELECT 1")
        async with pool.connection() as lent:
            assert await port(lent) == new
        await standby.stop()
        with pytest.raises(psycopg.OperationalError, match="replaced by the primary of timeline 2"):
            await open_session(Login.of(url, "test"))


async def test_connections_leave_a_server_that_the_address_leads_to_no_more(
    primary: PostgresServer, standby: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placewatch, "EVERY_SECONDS", 0.1)
    health = Health("test")
    async with TcpProxy(primary.url) as address:
        url = SecretStr(address.url)
        held = await postgres.connect(url, "test", budget_seconds=30)
        other = await postgres.connect(SecretStr(primary.url), "test", budget_seconds=30)
        watch = asyncio.create_task(placewatch.follow_the_url(health, Login.of(url, "test")))
        try:
            # A standby takes no writes: nothing is left for it.
            address.lead_to(standby.url)
            async with await open_session(Login.of(url, "test")) as fresh:
                assert postgres.leave_others(fresh) == []
            await held.execute("SELECT 1")
            await promote(standby)
            async with asyncio.timeout(180):
                with pytest.raises(psycopg.OperationalError):
                    while True:
                        await held.execute("SELECT pg_sleep(0.05)")
                while "leads to" not in (health.last_error or ""):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            # It has another URL.
            await other.execute("SELECT 1")
        finally:
            await end(watch)
            await held.close()
            await other.close()


@pytest.fixture
def own_database(database: Database) -> Database:
    if stack_kind() != "embedded":
        pytest.skip("its server may not be where a second host can be named")
    return database


async def test_a_host_that_refuses_is_no_fault_of_the_configuration_while_another_is_away(
    own_database: Database,
) -> None:
    wrong = through(own_database.url, None, None, password="wrong")
    with pytest.raises(ConfigurationError):
        await postgres.connect(wrong, "test", budget_seconds=30)
    away = through(own_database.url, None, free_port(), password="wrong")
    with pytest.raises(psycopg.OperationalError) as caught:
        await open_session(Login.of(away, "test"))
    assert "password authentication failed" in str(caught.value)
    assert not postgres.is_refused(caught.value)


async def test_a_server_that_does_not_tell_its_timeline_is_one_like_others(
    own_database: Database,
) -> None:
    """As those of some clouds."""
    async with await psycopg.AsyncConnection.connect(
        own_database.admin_url, autocommit=True
    ) as admin:
        await admin.execute("REVOKE EXECUTE ON FUNCTION pg_walfile_name FROM public")
    login = Login.of(through(own_database.url, None, free_port()), "test")
    async with await open_session(login) as session:
        assert session.server.timeline is None
        assert session.refuses_writes is None
