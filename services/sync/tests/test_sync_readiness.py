"""Sync is ready as long as its runs keep the tables current, and says which one does not."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from test_sync_process import eventually, jobs, started

from ssmd_common.exitcodes import ExitCode
from ssmd_simulator.faults import Fault
from ssmd_sync.pastrun import STOPPED, PastRun
from ssmd_sync.readiness import Setback, reason, setback

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)


def run(minute: int, outcome: str, error: str | None = None) -> PastRun:
    at = NOON + timedelta(minutes=minute)
    return PastRun(at, None if outcome == "running" else at, outcome, error)


GOOD, BAD, GOES_ON = run(0, "ok"), run(1, "failed", "HTTP 500"), run(2, "running")
STOP = run(3, "failed", STOPPED)


@pytest.mark.parametrize(
    ("runs", "in_a_row"),
    [
        ([], 0),
        ([GOOD, BAD], 0),
        ([run(2, "partial", "a page was short"), BAD], 0),
        ([run(2, "refused", "60 rows vanished"), BAD], 0),
        ([BAD, GOOD], 1),
        ([BAD], 1),
        ([BAD, BAD, BAD, GOOD, BAD], 3),
        # One that goes on has not mended anything yet, nor broken it.
        ([GOES_ON, BAD, GOOD], 1),
        ([GOES_ON, GOOD], 0),
        ([GOES_ON], 0),
        # A rollout is no failure, and does not end one.
        ([STOP, GOOD], 0),
        ([STOP, BAD, GOOD], 1),
    ],
)
def test_a_job_is_behind_from_a_failed_run_to_a_good_one(
    runs: list[PastRun], in_a_row: int
) -> None:
    found = setback("quotes", runs, LATER)
    assert (found.in_a_row if found else 0) == in_a_row


def test_the_reason_names_the_run_its_time_its_fault_and_the_next_try() -> None:
    once = setback("quotes", [BAD, GOOD], LATER)
    assert once is not None
    assert reason([], NOON) is None
    assert reason([once], NOON) == (
        "the run of quotes at 2026-11-21T12:01:00Z failed: HTTP 500; "
        "it is tried again at 2026-11-21T12:05:00Z"
    )
    others = [Setback(job, NOON, 2, "HTTP 502", LATER) for job in ("other", "fees")]
    late = Setback("updates", LATER, 12, "HTTP 503", LATER)
    assert reason([*others, once, late], LATER) == (
        "the run of updates at 2026-11-21T12:05:00Z failed, the 12th in a row: HTTP 503; "
        "it is tried again now; so did the last of fees, other, quotes"
    )


async def test_one_job_that_fails_keeps_sync_from_being_ready_until_it_succeeds(
    database: Any, sync: Any, exchange: Any, tmp_path: Path
) -> None:
    """From the start on, if it failed before, under another name too, and while others succeed."""
    path = jobs(
        tmp_path,
        "jobs:\n  - {id: updates, mode: incremental, every: 1s}\n"
        "  - {id: fees, formerly: charges, mode: fees, every: 1s}\n",
    )
    variables = {
        "DATABASE_URL": database.url,
        "KALSHI_BASE_URL": exchange.url,
        "SYNC_JOBS_FILE": path,
    }
    await sync()
    await sync.store.connection.execute(
        "INSERT INTO sync_runs (job, scope, started_at, finished_at, outcome, error)"
        " VALUES ('charges', '{}', now() - interval '1 h', now(), 'failed', 'HTTP 500')"
    )
    fault = exchange.simulator.faults.start(Fault("garbage", path="/series/fee_changes"))
    told: list[str] = []
    async with started(**variables) as process:

        async def updates_succeed_and_fees_fail() -> bool:
            status, text = await process.ask("/readyz")
            assert status != 200, text
            if text and "runs" in (reasons := json.loads(text)["reasons"]):
                told.append(reasons["runs"])
            [row] = await sync.rows(
                "SELECT count(*) FILTER (WHERE job = 'updates' AND outcome = 'ok') AS good,"
                " count(*) FILTER (WHERE job = 'fees' AND outcome = 'failed') AS bad FROM sync_runs"
            )
            return row["good"] >= 2 and row["bad"] >= 2 and "2nd in a row" in told[-1]

        await eventually(updates_succeed_and_fees_fail)
        assert all(text.startswith("the run of fees at 20") for text in told)
        exchange.simulator.faults.clear(fault.id)
        await eventually(process.ready)
        code, log = await process.stop()
    assert code == ExitCode.OK, log[-1]
    assert not await sync.rows("SELECT 1 FROM sync_runs WHERE job = 'charges'")
