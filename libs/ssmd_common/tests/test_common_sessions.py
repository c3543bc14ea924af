"""A session's settings and what it finds out, on a real PostgreSQL."""

import asyncio
import time
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.connections import session as sessions
from ssmd_common.connections.retry import service_health
from ssmd_common.connections.rights import explained, missing_grants
from ssmd_common.connections.session import Login, look, open_session
from ssmd_common.errors import ConfigurationError
from ssmd_common.health import Health
from ssmd_common.rights import PostgresRights
from ssmd_common.tasks import end
from ssmd_stack.database import Database
from ssmd_stack.proxy import TcpProxy

ODD = {
    "datestyle": "SQL, DMY",
    "timezone": "Asia/Kolkata",
    "client_encoding": "LATIN1",
    "idle_session_timeout": "300ms",
    "tcp_keepalives_idle": "7000",
}
RELIED_ON = {
    "DateStyle": "ISO, DMY",
    "TimeZone": "UTC",
    "client_encoding": "UTF8",
    "idle_session_timeout": "0",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
}


@pytest.fixture
async def odd(database: Database) -> Database:
    """A database whose sessions have settings that are not ours."""
    async with database.connect() as connection:
        for name, value in ODD.items():
            await connection.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    sql.Identifier(database.name), sql.Identifier(name), sql.Literal(value)
                )
            )
    return database


async def test_settings_hold_whatever_the_database_says(odd: Database) -> None:
    async with await postgres.connect(SecretStr(odd.url), "test", budget_seconds=30) as session:
        assert await shown(session, RELIED_ON) == RELIED_ON
        # Longer than the database's limit.
        await asyncio.sleep(0.8)
        assert await shown(session, RELIED_ON) == RELIED_ON


@pytest.mark.parametrize("autocommit", [False, True])
async def test_settings_hold_in_a_pool(odd: Database, autocommit: bool) -> None:
    pool = await postgres.open_pool(
        SecretStr(odd.url), "test", budget_seconds=30, max_size=2, autocommit=autocommit
    )
    async with pool, pool.connection() as first, pool.connection() as second:
        for connection in (first, second):
            assert connection.autocommit is autocommit
            assert await shown(connection, RELIED_ON) == RELIED_ON
            await connection.rollback()
            assert await shown(connection, RELIED_ON) == RELIED_ON


async def test_options_in_the_url_are_kept_but_for_what_is_relied_on(odd: Database) -> None:
    options = "-c DateStyle=German -c statement_timeout=9s --tcp-keepalives-idle=60 -ctimezone=PRC"
    url = f"{odd.url}?options={options.replace(' ', '%20').replace('=', '%3D')}"
    wanted = {**RELIED_ON, "statement_timeout": "9s", "tcp_keepalives_idle": "60"}
    async with await postgres.connect(SecretStr(url), "test", budget_seconds=30) as session:
        found = await shown(session, wanted)
    assert found.pop("DateStyle").startswith("ISO")
    wanted.pop("DateStyle")
    assert found == wanted


async def test_the_clients_side_of_keepalives_is_the_urls_where_it_says_so() -> None:
    url = SecretStr("postgresql://u:p@h/d?keepalives_idle=77&client_encoding=latin1")
    info = conninfo_to_dict(Login.of(url, "test").info)
    assert info["keepalives_idle"] == "77"
    assert info["keepalives_count"] == "3"
    assert info["client_encoding"] == "UTF8"


async def test_a_login_shows_no_password() -> None:
    assert "hunter2" not in repr(Login.of(SecretStr("postgresql://u:hunter2@h/d"), "test"))


async def test_a_session_sees_that_writes_are_not_taken_any_more(database: Database) -> None:
    async with await postgres.connect(
        SecretStr(database.url), "test", budget_seconds=30
    ) as session:
        assert session.refuses_writes is None
        await session.execute("SET default_transaction_read_only = on")
        await look(session)
        assert "default_transaction_read_only is on" in str(session.refuses_writes)
        await session.execute("SET default_transaction_read_only = off")
        await look(session)
        assert session.refuses_writes is None


async def test_our_own_lateness_is_not_the_servers_silence(database: Database) -> None:
    """Its answer was there, and the deadline had passed on the clock."""
    login = Login.of(SecretStr(database.url), "test", connect_timeout=2)
    opening = asyncio.create_task(open_session(login))
    for _ in range(3):
        # As if the process was stopped while it connects.
        await asyncio.sleep(0)
        time.sleep(0.9)  # noqa: ASYNC251
    async with await opening as session:
        assert session.backend == session.info.backend_pid


@pytest.mark.slow
async def test_a_session_that_nobody_answers_is_given_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a pooler's is, which takes connections also while its server answers nothing."""
    monkeypatch.setattr(sessions, "SETTLE_SECONDS", 0.3)
    settle = sessions.settle
    async with TcpProxy(database.url) as between:

        async def frozen(session: Any, login: Login) -> None:
            between.freeze()
            await settle(session, login)

        monkeypatch.setattr(sessions, "settle", frozen)
        with pytest.raises(psycopg.OperationalError):
            await open_session(Login.of(SecretStr(between.url), "test"))
        between.thaw()


async def test_rights_are_looked_for_together(database: Database) -> None:
    """As a role that has none."""
    wanted = PostgresRights({"markets": ["SELECT", "UPDATE"], "fees": ["SELECT"]})
    async with database.connect() as connection:
        of_no_table = PostgresRights({"markets": ["SELECT"], "not_there": ["SELECT"]})
        assert await missing_grants(connection, of_no_table) == []
    async with await psycopg.AsyncConnection.connect(
        database.admin_url, autocommit=True
    ) as connection:
        await connection.execute("SET ROLE pg_monitor")
        assert await missing_grants(connection, wanted) == [
            "GRANT SELECT, UPDATE ON markets TO postgres;",
            "GRANT SELECT ON fees TO postgres;",
        ]
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            await connection.execute("SELECT FROM markets")
    told = explained(refused.value, SecretStr("postgresql://Ada:p@h/d"))
    assert isinstance(told, ConfigurationError)
    assert str(told).endswith('GRANT SELECT, INSERT, UPDATE, DELETE ON markets TO "Ada";')
    # A service says what it needs and no more.
    token = service_health.set(Health("cache"))
    told = explained(refused.value, SecretStr("postgresql://Ada:p@h/d"))
    service_health.reset(token)
    assert str(told).endswith('GRANT SELECT ON markets TO "Ada";')


async def test_ending_a_task_outlasts_being_cancelled_meanwhile() -> None:
    """A task left behind would speak after the service's last line."""
    release, ended = asyncio.Event(), False

    async def slow() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            await release.wait()
            ended = True

    work = asyncio.create_task(slow())
    await asyncio.sleep(0)
    ending = asyncio.create_task(end(work))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.sleep(0)
    assert not ending.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert ended


async def shown(connection: psycopg.AsyncConnection[Any], names: Any) -> dict[str, str]:
    found = {}
    for name in names:
        row = await (await connection.execute("SELECT current_setting(%s)", (name,))).fetchone()
        assert row is not None
        found[name] = row[0]
    return found
