"""Which runs count for freshness, and which rows of theirs."""

from datetime import UTC, datetime, timedelta
from typing import Any

from api_testbed import Client
from api_universe import insert

from ssmd_stack.database import Database


async def test_the_last_whole_run_and_those_after_it(api: Client, database: Database) -> None:
    """Of each job and scope; a run of an older sync has no `unread`, and covers all if it is ok."""
    now = datetime.now(UTC)

    async def run(minutes_ago: int, outcome: str, unread: list[str] | None, job: str = "j") -> None:
        at = now - timedelta(minutes=minutes_ago)
        row: dict[str, Any] = {"started_at": at, "finished_at": at, "outcome": outcome}
        async with database.connect() as connection:
            await insert(connection, "sync_runs", job=job, scope={}, unread=unread, **row)

    await run(180, "ok", None)
    await run(120, "ok", [])
    await run(60, "partial", ["X"])
    await run(50, "refused", ["Y"])
    await run(40, "partial", None)
    await run(30, "failed", None)
    await run(20, "ok", None, job="older sync")
    await run(10, "partial", ["Z"], job="never whole")
    found = await api.context.store.covering_runs()
    ages = [
        (round((now - datetime.fromisoformat(started)).total_seconds() / 60), unread)
        for _, started, _, unread in found
    ]
    assert ages == [(10, ["Z"]), (20, []), (50, ["Y"]), (60, ["X"]), (120, [])]
