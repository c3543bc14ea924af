"""Sync on a machine whose clock is wrong: it writes nothing, and goes on once the clocks agree."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from test_sync_process import eventually, jobs, started

from ssmd_common.connections.clock import Clock
from ssmd_common.exitcodes import ExitCode
from ssmd_kalshi.rest import KalshiRest
from ssmd_stack.faketime import WrongClock
from ssmd_sync.meter import Meter
from ssmd_sync.report import Report
from ssmd_sync.run import Run
from ssmd_sync.scope import Mode, Scope

AHEAD = "SELECT ticker FROM markets WHERE observed_at > now() + interval '60 s'"


@pytest.mark.slow
async def test_the_service_holds_and_goes_on_by_itself(
    database: Any, exchange: Any, sync: Any, tmp_path: Path, wrong_clock: WrongClock
) -> None:
    variables = {
        "DATABASE_URL": database.url,
        "KALSHI_BASE_URL": exchange.url,
        "SYNC_JOBS_FILE": jobs(
            tmp_path,
            "jobs:\n  - {id: everything, mode: full, every: 1h}\n  - {id: quotes, every: 1s}\n",
        ),
        **wrong_clock.environment,
    }
    wrong_clock.set(300)
    async with started(**variables) as process:

        async def held(sentence: str) -> bool:
            code, text = await process.ask("/readyz")
            return code == 503 and sentence in json.loads(text)["reasons"].get("clock", "")

        async def runs() -> int:
            [row] = await sync.rows("SELECT count(*)::int AS n FROM sync_runs")
            return int(row["n"])

        await eventually(lambda: held("300 s ahead of PostgreSQL's: which"))
        assert await runs() == 0
        wrong_clock.set(0)
        await eventually(process.ready)

        async def more(than: int = 0) -> bool:
            return await runs() > than + 2

        await eventually(more)
        # While it runs; a run that goes on is ended, and those that are due wait.
        wrong_clock.set(-300)
        await eventually(lambda: held("300 s behind PostgreSQL's: which"))
        before = await runs()
        wrong_clock.set(300)
        await eventually(lambda: held("300 s ahead of PostgreSQL's: which"))
        assert await runs() == before
        wrong_clock.set(0)
        await eventually(process.ready)
        await eventually(lambda: more(before))
        code, log = await process.stop()
    assert code == ExitCode.OK, log
    assert await sync.rows(AHEAD) == []
    late = "SELECT id FROM sync_runs WHERE abs(extract(epoch FROM finished_at - started_at)) > 200"
    assert await sync.rows(late) == []


async def test_a_single_run_refuses(
    database: Any, exchange: Any, sync: Any, wrong_clock: WrongClock
) -> None:
    variables = {"DATABASE_URL": database.url, "KALSHI_BASE_URL": exchange.url}
    wrong_clock.set(300)
    async with started("run", "everything", **variables, **wrong_clock.environment) as process:
        code, log = await process.ended()
    assert code == ExitCode.UPSTREAM, log
    assert "300 s ahead of PostgreSQL's" in str(log)
    assert await sync.rows("SELECT id FROM sync_runs") == []


async def test_a_clock_that_is_set_under_a_run_ends_it_before_anything_is_stamped(
    sync: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had read before is dropped, too: nobody knows which of it has a right stamp."""
    ahead = 0.0
    clock = Clock(wall=lambda: time.time() + ahead)
    for module in ("ssmd_sync.run", "ssmd_store.staging"):
        monkeypatch.setattr(f"{module}.CLOCK", clock)

    def set_it(report: Report) -> None:
        nonlocal ahead
        if report.fetched.get("markets"):
            ahead = 300.0

    scope = Scope(mode=Mode.FULL)
    meter = Meter(sync.budget)
    async with KalshiRest(sync.url, budget=meter) as rest:
        run = Run(
            job="test", scope=scope, store=sync.store, rest=rest, meter=meter, progress=set_it
        )
        report = await run()
    assert report.outcome == "failed"
    assert "300 s ahead of PostgreSQL's" in (report.error or "")
    assert report.of_clock
    assert report.exit_code == ExitCode.UPSTREAM
    [row] = await sync.rows("SELECT outcome, error FROM sync_runs")
    assert (row["outcome"], row["error"]) == ("failed", report.error)
    assert await sync.rows("SELECT * FROM sync_watermarks") == []


async def test_a_stamp_that_is_still_to_come_makes_no_right_row_stale(
    sync: Any, exchange: Any
) -> None:
    """A wrong clock left it there, of a former version or of a machine with PostgreSQL's."""
    await sync()
    connection = sync.store.connection
    wrong = "UPDATE markets SET observed_at = now() + interval '5 min', observed_via = 'clock'"
    await connection.execute(f"{wrong}, status = 'closed' WHERE status = 'active'")
    await sync(Mode.ACTIVE)
    assert await sync.rows("SELECT ticker FROM markets WHERE status = 'active'")
    assert await sync.rows(AHEAD) == []
    # One that may be right outweighs what was asked before it.
    at = datetime.now(UTC) + timedelta(seconds=20)
    await connection.execute(
        "UPDATE markets SET observed_at = %s, observed_via = 'ws', title = 'said since'"
        " WHERE status = 'active'",
        (at,),
    )
    await sync(Mode.ACTIVE)
    titles = await sync.rows("SELECT DISTINCT title FROM markets WHERE status = 'active'")
    assert [row["title"] for row in titles] == ["said since"]
