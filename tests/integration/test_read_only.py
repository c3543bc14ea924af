"""A PostgreSQL that takes no writes: not ready for one reason everywhere, and back by itself."""

import asyncio
import secrets
from pathlib import Path

import psycopg
import pytest
from topology import Topology, execute

from ssmd_common.parts import SERVICES
from ssmd_stack import forked
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.standby import promote, standby_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WRITERS = [name for name in SERVICES if name != "archiver"]
"""archiver writes files; only a day's state has to wait, and it says so beside being ready."""
REASON = "PostgreSQL is read-only"
QUIET_SECONDS = 8.0
"""Longer than it takes each service to look at its database."""


async def test_services_wait_for_a_standby_to_be_promoted(
    primary: PostgresServer, services: Topology, scratch: Path
) -> None:
    async with standby_of(primary, scratch / f"standby-{secrets.token_hex(4)}") as standby:
        started = await services.start_all(standby.url, WRITERS)
        for service in started:
            await service.says(REASON)
        done = await asyncio.to_thread(
            forked.run, "ssmd_cli", "db", "migrate", env={"DATABASE_URL": standby.url}
        )
        assert done.returncode == 4
        assert REASON in done.stderr
        assert "Traceback" not in done.stderr
        await promote(standby)
        for service in started:
            await service.ready()
            assert service.codes == [], "it waited, and was not restarted"


async def test_services_say_that_their_database_has_become_read_only(
    primary: PostgresServer, services: Topology
) -> None:
    """As servers of the cloud do whose disk is full; sessions that stand are told at once."""
    started = await services.start_all(primary.url, WRITERS, restarts=True)
    for service in started:
        await service.ready()
    await execute(
        primary.admin_url,
        "ALTER SYSTEM SET default_transaction_read_only = on",
        "SELECT pg_reload_conf()",
    )
    for service in started:
        await service.says(REASON)
    # It stays so: nothing limps on, nothing ends for good.
    await asyncio.sleep(QUIET_SECONDS)
    for service in started:
        await service.says(REASON)
    async with await psycopg.AsyncConnection.connect(primary.admin_url, autocommit=True) as admin:
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await admin.execute("SELECT pg_reload_conf()")
    for service in started:
        await service.ready()
        assert set(service.codes) <= {4}, service.name
    assert [service.name for service in started] == WRITERS
