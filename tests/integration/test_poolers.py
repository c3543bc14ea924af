"""Every service behind a pooler: refused where sessions are shared, at work where they are not."""

import asyncio
import subprocess
from pathlib import Path

import pytest
from topology import Topology, pooled

from ssmd_common.parts import SERVICES
from ssmd_stack import forked
from ssmd_stack.database import Database
from ssmd_stack.errors import BinaryMissing
from ssmd_stack.pgbouncer import pgbouncer_binary, pgbouncer_version

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REMEDY = "session pooling or a direct connection"

try:
    pgbouncer_binary()
    PASSES_REPLICATION = pgbouncer_version() >= (1, 23)
except BinaryMissing as missing:
    pytest.skip(str(missing), allow_module_level=True)


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_every_service_refuses_shared_sessions(
    services: Topology, database: Database, scratch: Path, mode: str
) -> None:
    async with pooled(scratch, database.url, pool_mode=mode) as pooler:
        started = await services.start_all(pooler.url)
        for service in started:
            code, sentence = await service.ended()
            assert code == 2, service.name
            assert REMEDY in sentence, service.name
        done = await asyncio.to_thread(migrate, pooler.url)
        assert done.returncode == 2
        assert REMEDY in done.stderr
    async with database.connect() as connection:
        cursor = await connection.execute("SELECT count(*) FROM pg_locks WHERE locktype='advisory'")
        assert await cursor.fetchone() == (0,), "a lock outlived its service"


async def test_every_service_works_with_session_pooling(
    services: Topology, database: Database, empty_database: Database, scratch: Path
) -> None:
    async with pooled(scratch, database.url, pool_mode="session", default_pool_size=60) as pooler:
        names = [name for name in SERVICES if name != "cdc"]
        started = await services.start_all(pooler.url, names)
        if PASSES_REPLICATION:
            started.append(await services.start("cdc", pooler.url))
        else:
            refused = await services.start("cdc", pooler.url)
            code, sentence = await refused.ended()
            assert code == 2
            assert "give cdc a direct connection" in sentence
            started.append(await services.start("cdc", database.url))
        for service in started:
            await service.ready()
        fresh = pooler.url.replace(database.name, empty_database.name)
        done = await asyncio.to_thread(migrate, fresh)
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(PASSES_REPLICATION, reason="this pgbouncer passes replication connections")
async def test_a_pooler_that_ignores_what_asks_for_a_walsender_is_told_too(
    services: Topology, database: Database, scratch: Path
) -> None:
    settings = {"pool_mode": "session", "ignore_startup_parameters": "options,replication"}
    async with pooled(scratch, database.url, **settings) as pooler:
        code, sentence = await (await services.start("cdc", pooler.url)).ended()
    assert code == 2
    assert "give cdc a direct connection" in sentence


def migrate(url: str) -> "subprocess.CompletedProcess[str]":
    return forked.run("ssmd_cli", "db", "migrate", env={"DATABASE_URL": url})
