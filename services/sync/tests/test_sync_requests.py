"""A job that is asked for runs now, once, whichever replica does it and whatever ends one."""

from pathlib import Path
from typing import Any

import pytest
from test_sync_process import eventually, jobs, started

from ssmd_simulator.faults import Fault
from ssmd_sync import retention

SCHEDULE = "jobs: [{id: fees, mode: fees, every: 365d}, {id: quotes, every: 365d}]"


@pytest.fixture
def variables(database: Any, exchange: Any, tmp_path: Path) -> dict[str, str]:
    """Of a sync with jobs that are not due this year."""
    return {
        "DATABASE_URL": database.url,
        "KALSHI_BASE_URL": exchange.url,
        "SYNC_JOBS_FILE": jobs(tmp_path, SCHEDULE),
    }


async def ask(database: Any, task: str) -> int:
    async with database.connect() as connection:
        cursor = await connection.execute(
            "INSERT INTO requests (service, task, asked_by, key_id) VALUES ('sync', %s, 'x', 1)"
            " RETURNING id, pg_notify('ssmd_requests', 'sync')",
            (task,),
        )
        return int((await cursor.fetchone())[0])


async def test_one_of_two_replicas_runs_what_is_asked_for_and_survives_a_death(
    variables: dict[str, str], sync: Any, exchange: Any, database: Any
) -> None:
    fault = exchange.simulator.faults.start(
        Fault("hang", path="/series/fee_changes", times=1, seconds=600)
    )

    async def row() -> dict[str, Any]:
        found = await sync.rows("SELECT * FROM requests")
        return dict(found[0])

    async with started(**variables) as one:
        await eventually(one.ready)
        await ask(database, "fees")

        async def runs() -> bool:
            return fault.hits > 0 and (await row())["state"] == "running"

        await eventually(runs)
        one.process.kill()
        await one.process.wait()
        assert (await row())["finished_at"] is None
        exchange.simulator.faults.clear()
    async with started(**variables) as two, started(**variables) as three:

        async def answered() -> dict[str, Any] | None:
            found = await row()
            return found if found["finished_at"] else None

        found = await eventually(answered)
        assert (found["state"], found["attempts"], found["error"]) == ("done", 2, None)
        assert found["result"]["outcome"] == "ok"
        assert found["result"]["job"] == "fees"
        # What is asked of one that runs already is answered by a run that began later.
        await ask(database, "fees")

        async def both() -> bool:
            return not await sync.rows("SELECT FROM requests WHERE finished_at IS NULL")

        await eventually(both)
        for process in (two, three):
            await process.stop()
    runs = await sync.rows("SELECT outcome, error FROM sync_runs ORDER BY id")
    assert [run["outcome"] for run in runs] == ["failed", "ok", "ok"]
    assert runs[0]["error"] == "the process was killed"


async def test_many_requests_are_answered_by_one_run_and_a_failed_one_says_so(
    variables: dict[str, str], sync: Any, exchange: Any, database: Any
) -> None:
    for _ in range(3):
        await ask(database, "fees")
    await ask(database, "nobodys")
    exchange.simulator.faults.start(Fault("garbage"))
    async with started(**variables) as process:

        async def answered() -> list[Any]:
            found = await sync.rows(
                "SELECT * FROM requests WHERE task = 'fees' AND finished_at IS NOT NULL"
            )
            return found if len(found) == 3 else []

        found = await eventually(answered)
        assert {row["state"] for row in found} == {"failed"}
        assert all(row["error"] and row["result"]["outcome"] == "failed" for row in found)

        async def counted() -> bool:
            _, text = await process.ask("/metrics")
            return 'ssmd_sync_requests_total{state="failed",sync_job="fees"} 3.0' in text

        # It is counted after it is answered.
        assert await eventually(counted)
        await process.stop()
    [row] = await sync.rows("SELECT state, attempts FROM requests WHERE task = 'nobodys'")
    assert row == {"state": "waiting", "attempts": 0}


async def test_old_requests_expire_answered_or_not(sync: Any) -> None:
    await sync.rows(
        "INSERT INTO requests (service, task, asked_by, key_id, asked_at)"
        " SELECT 'cache', 'verify', 'x', 1, now() - interval '1 day' * age"
        " FROM unnest(ARRAY[1, 29, 31, 400]) age RETURNING 1"
    )
    await retention.expire(sync.store, 30)
    assert len(await sync.rows("SELECT FROM requests")) == 2
