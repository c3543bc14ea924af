"""PostgreSQL is there and says nothing: sync is not ready until it does again."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_sync_process import eventually, jobs, started

from ssmd_common.exitcodes import ExitCode
from ssmd_stack.postgres import PostgresServer


@pytest.mark.slow
async def test_a_frozen_database_is_told_while_it_is_frozen(
    private_postgres: Any, exchange: Any, tmp_path: Path
) -> None:
    if not isinstance(private_postgres, PostgresServer):
        pytest.skip("only a server of our own can be frozen")
    variables = {
        "DATABASE_URL": private_postgres.url,
        "KALSHI_BASE_URL": exchange.url,
        "SYNC_JOBS_FILE": jobs(tmp_path, "jobs: [{id: everything, mode: full, every: 1h}]\n"),
    }
    async with started(**variables) as process:
        await eventually(process.ready)
        # A job that sleeps asks nothing of the database, and a query that waits says nothing.
        with private_postgres.frozen():

            async def told() -> dict[str, Any]:
                status, text = await process.ask("/readyz")
                return json.loads(text) if status == 503 else {}

            document = await eventually(told)
            assert "PostgreSQL does not answer" in document["reasons"]["postgres"]
            assert (await process.ask("/livez"))[0] == 200
        await eventually(process.ready)
        code, log = await process.stop()
    assert code == ExitCode.OK, log[-1]
