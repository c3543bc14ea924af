"""A pooler before PostgreSQL: pgbouncer in its three modes."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from ssmd_common.connections import pooler, postgres, session
from ssmd_common.connections.session import look
from ssmd_common.errors import ConfigurationError, SsmdError
from ssmd_common.health import Health
from ssmd_common.leader import lead
from ssmd_common.runtime import Runtime
from ssmd_stack.database import Database
from ssmd_stack.errors import BinaryMissing
from ssmd_stack.pgbouncer import Pgbouncer, pgbouncer_binary, pgbouncer_version

Make = Callable[..., Any]

try:
    pgbouncer_binary()
    VERSION = pgbouncer_version()
except BinaryMissing as missing:
    pytest.skip(str(missing), allow_module_level=True)

PREPARED = [
    pytest.param({}, id="prepared-off"),
    pytest.param(
        {"max_prepared_statements": 100},
        id="prepared-on",
        marks=pytest.mark.skipif(
            VERSION < (1, 21), reason="this pgbouncer follows no prepared statements"
        ),
    ),
]


@pytest.fixture
async def pgbouncer(scratch: Path, database: Database) -> AsyncIterator[Make]:
    session._proven.clear()
    async with AsyncExitStack() as stack:

        @asynccontextmanager
        async def running(**settings: Any) -> AsyncIterator[Pgbouncer]:
            server = Pgbouncer(
                scratch / f"pgbouncer-{secrets.token_hex(4)}", database.url, **settings
            )
            try:
                async with server:
                    yield server
            finally:
                server.remove()

        async def make(**settings: Any) -> Pgbouncer:
            return await stack.enter_async_context(running(**settings))

        yield make


async def connect(url: str) -> session.Session:
    return await postgres.connect(SecretStr(url), "test", budget_seconds=10)


@asynccontextmanager
async def traffic(url: str, clients: int) -> AsyncIterator[None]:
    """Others, each with one short statement after the other."""

    async def one() -> None:
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, prepare_threshold=None
        ) as other:
            while True:
                await other.execute("SELECT pg_sleep(0.005)")
                await asyncio.sleep(0.005)

    tasks = [asyncio.create_task(one()) for _ in range(clients)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("prepared", PREPARED)
@pytest.mark.parametrize("round_robin", [0, 1])
@pytest.mark.parametrize("size", [1, 20])
@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_shared_sessions_are_refused(
    pgbouncer: Make, mode: str, size: int, round_robin: int, prepared: dict[str, int]
) -> None:
    """A client that is alone gets the same session again and again: that must not look like one
    of its own."""
    server = await pgbouncer(
        pool_mode=mode, default_pool_size=size, server_round_robin=round_robin, **prepared
    )
    with pytest.raises(ConfigurationError, match="session pooling or a direct connection"):
        await connect(server.url)


@pytest.mark.parametrize("clients", [1, 8])
async def test_shared_sessions_are_refused_among_others(pgbouncer: Make, clients: int) -> None:
    server = await pgbouncer(pool_mode="transaction", default_pool_size=4)
    async with traffic(server.url, clients):
        with pytest.raises(ConfigurationError, match="session pooling"):
            await connect(server.url)


@pytest.mark.parametrize("prepared", PREPARED)
@pytest.mark.parametrize("size", [1, 20])
async def test_session_pooling_is_taken(
    pgbouncer: Make, size: int, prepared: dict[str, int]
) -> None:
    """This pgbouncer refuses start-up options; what they would set is set all the same."""
    server = await pgbouncer(pool_mode="session", default_pool_size=size, **prepared)
    async with await connect(server.url) as connection:
        assert connection.backend != connection.info.backend_pid
        await look(connection)
        assert await settings(
            connection, "tcp_user_timeout", "TimeZone", "idle_session_timeout"
        ) == (
            "12000",
            "UTC",
            "0",
        )
        if size > 1:
            pool = await postgres.open_pool(
                SecretStr(server.url), "test", budget_seconds=10, max_size=2
            )
            async with pool, pool.connection() as lent:
                assert await settings(lent, "DateStyle") == ("ISO, MDY",)


async def test_options_in_the_url_pass_a_pooler_that_refuses_them(pgbouncer: Make) -> None:
    server = await pgbouncer(pool_mode="session")
    url = server.url + "?options=-c%20statement_timeout%3D7s%20--tcp-keepalives-idle%3D60"
    async with await connect(url) as connection:
        found = await settings(
            connection, "statement_timeout", "tcp_keepalives_idle", "tcp_keepalives_count"
        )
    assert found == ("7s", "60", "3")


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_leader_whose_pooler_begins_to_share_ends(
    pgbouncer: Make, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Its mode is changed while the service leads: the lock's session goes to others."""
    monkeypatch.setattr("ssmd_common.leader.WATCH_SECONDS", 0.2)
    server = await pgbouncer(pool_mode="session")

    async def leader() -> None:
        async with asyncio.TaskGroup() as tasks:
            runtime = Runtime(Health("test"), tasks)
            async with lead(runtime, SecretStr(server.url), "test", budget_seconds=10) as found:
                assert found is not None
                leading.set()
                await runtime.stop.wait()

    leading = asyncio.Event()
    task = asyncio.create_task(leader())
    await asyncio.wait({task, asyncio.ensure_future(leading.wait())}, return_when="FIRST_COMPLETED")
    server.reload(pool_mode=mode)
    async with traffic(server.url, 3):
        with pytest.raises(BaseExceptionGroup) as caught:
            await asyncio.wait_for(task, 180)
    [error] = caught.value.exceptions
    assert isinstance(error, ConfigurationError)
    assert str(error) == pooler.SHARED


async def test_a_standby_never_takes_a_lock_on_the_leaders_session(
    pgbouncer: Make, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one session the lock would be granted to both, and both would lead."""
    monkeypatch.setattr("ssmd_common.leader.WATCH_SECONDS", 0.2)
    server = await pgbouncer(pool_mode="session", default_pool_size=2)
    # Each believes what was proven before the mode was changed.
    async with await connect(server.url):
        pass
    server.reload(pool_mode="transaction")
    leaders: list[int] = []

    async def replica() -> None:
        async with asyncio.TaskGroup() as tasks:
            runtime = Runtime(Health("test"), tasks)
            async with lead(runtime, SecretStr(server.url), "test", budget_seconds=10) as found:
                assert found is not None
                leaders.append(found.token)
                await runtime.stop.wait()

    tasks = [asyncio.create_task(replica()) for _ in range(3)]
    async with traffic(server.url, 3):
        done, _ = await asyncio.wait(tasks, timeout=60)
    assert len(done) == 3
    assert len(leaders) <= 1
    for task in tasks:
        error = task.exception()
        found = error.exceptions if isinstance(error, BaseExceptionGroup) else [error]
        assert all(isinstance(one, SsmdError) for one in found), found


async def settings(connection: psycopg.AsyncConnection[Any], *names: str) -> tuple[str, ...]:
    found = []
    for name in names:
        row = await (await connection.execute("SELECT current_setting(%s)", (name,))).fetchone()
        assert row is not None
        found.append(row[0])
    return tuple(found)
