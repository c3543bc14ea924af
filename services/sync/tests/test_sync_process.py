"""The service as a process: killed, doubled, stopped, misconfigured."""

import asyncio
import itertools
import json
import os
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any

import aiohttp
import pytest

from ssmd_common.exitcodes import ExitCode
from ssmd_simulator.faults import Fault
from ssmd_stack import forked
from ssmd_stack.ports import free_port

DEADLINE_SECONDS = 180.0
FOUNDED = 'ssmd_sync_runs_total{outcome="ok",sync_job="everything"}'


async def eventually(condition: Any) -> Any:
    """The first true value of an async condition."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (value := await condition()):  # noqa: ASYNC110 - it asks another process
            await asyncio.sleep(0.05)
        return value


class Process:
    """`ssmd-sync` with its log."""

    def __init__(self, process: forked.Started, port: int, log: IO[bytes]) -> None:
        self.process = process
        self.port = port
        self._log = log

    async def ended(self) -> tuple[int, list[dict[str, Any]]]:
        async with asyncio.timeout(DEADLINE_SECONDS):
            code = await self.process.wait()
        self._log.seek(0)
        return code, [json.loads(line) for line in self._log]

    async def stop(self) -> tuple[int, list[dict[str, Any]]]:
        self.process.terminate()
        return await self.ended()

    async def ask(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session:
            try:
                async with session.get(f"http://127.0.0.1:{self.port}{path}") as reply:
                    return reply.status, await reply.text()
            except aiohttp.ClientError:
                return 0, ""

    async def ready(self) -> bool:
        return (await self.ask("/readyz"))[0] == 200


@asynccontextmanager
async def started(*arguments: str, **variables: str) -> AsyncIterator[Process]:
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KALSHI")},
        "OPS_PORT": str(port),
        "OPS_HOST": "127.0.0.1",
        **variables,
    }
    with tempfile.TemporaryFile() as log:
        process = await forked.start("ssmd_sync", *arguments, env=environment, stdout=log)
        try:
            yield Process(process, port, log)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@pytest.fixture
def variables(database: Any, exchange: Any) -> dict[str, str]:
    return {"DATABASE_URL": database.url, "KALSHI_BASE_URL": exchange.url}


def jobs(folder: Path, text: str) -> str:
    path = folder / "jobs.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("deaths", [5, pytest.param(20, marks=pytest.mark.slow)])
async def test_a_run_killed_at_random_points_is_finished_by_the_next(
    variables: dict[str, str], sync: Any, exchange: Any, deaths: int
) -> None:
    """Some deaths by SIGKILL; whatever they left, the last run ends in the truth."""
    dice = random.Random(4)
    simulator = exchange.simulator
    for death in range(deaths):
        for market in dice.sample(simulator.universe.unsettled, 30):
            edit = {"title": f"Title {dice.random()}"}
            simulator.exchange.edit(market, edit, simulator.clock())
        # Either some request never gets an answer, or the last one does and the rest is writing.
        if death % 2:
            fault = Fault("hang", after=dice.randrange(12), times=1, seconds=600)
        else:
            fault = Fault("latency", path="/series/fee_changes", seconds=0.1)
        simulator.faults.start(fault)
        async with started("run", "everything", **variables) as process:

            async def is_there(fault: Fault = fault, process: Process = process) -> bool:
                return fault.hits > 0 or process.process.returncode is not None

            await eventually(is_there)
            await asyncio.sleep(dice.uniform(0, 0.4))
            if process.process.returncode is None:
                process.process.kill()
            await process.process.wait()
        simulator.faults.clear()
        # What is there is whole: no event without its series, no market without its event.
        orphans = await sync.rows(
            "SELECT 1 FROM markets m LEFT JOIN events e USING (event_ticker, series_ticker)"
            " WHERE e.event_ticker IS NULL"
        )
        assert not orphans
    async with started("run", "everything", **variables) as process:
        code, _ = await process.ended()
    assert code == ExitCode.OK
    runs = await sync.rows("SELECT outcome, error FROM sync_runs ORDER BY id")
    assert runs[-1]["outcome"] == "ok"
    assert not [run for run in runs if run["outcome"] == "running"]
    assert [run for run in runs if run["error"] == "the process was killed"]
    raw = await exchange.markets()
    found = {
        row["ticker"]: row["title"] for row in await sync.rows("SELECT ticker, title FROM markets")
    }
    live = {t for t, m in raw.items() if m["status"] != "finalized"}
    assert live <= found.keys()
    assert all(raw[ticker]["title"] == title for ticker, title in found.items())
    before = await sync.tuples_written()
    await sync()
    assert await sync.tuples_written() == before


async def rows_written(sync: Any) -> int:
    [row] = await sync.rows("SELECT count(*) AS n FROM markets")
    return int(row["n"])


async def test_two_replicas_share_the_jobs_and_never_overlap(
    variables: dict[str, str], sync: Any, tmp_path: Path
) -> None:
    path = jobs(
        tmp_path,
        "jobs:\n"
        "  - {id: everything, mode: full, every: 1h}\n"
        "  - {id: updates, mode: incremental, every: 1s}\n"
        "  - {id: quotes, every: 1s}\n",
    )
    variables = {**variables, "SYNC_JOBS_FILE": path}
    async with started(**variables) as one, started(**variables) as two:
        await eventually(one.ready)
        await eventually(two.ready)

        async def enough() -> bool:
            [row] = await sync.rows(
                "SELECT count(*) AS n FROM sync_runs WHERE job <> 'everything' AND outcome = 'ok'"
            )
            return bool(row["n"] >= 10)

        await eventually(enough)
        for process in (one, two):
            code, log = await process.stop()
            assert code == ExitCode.OK, log
    runs = await sync.rows(
        "SELECT * FROM sync_runs WHERE finished_at IS NOT NULL ORDER BY job, started_at"
    )
    assert len([run for run in runs if run["job"] == "everything"]) == 1
    for run, following in itertools.pairwise(runs):
        if run["job"] == following["job"]:
            assert run["finished_at"] <= following["started_at"]
            # One run in each period.
            if run["outcome"] == "ok":
                assert int(run["started_at"].timestamp()) < int(following["started_at"].timestamp())


async def test_sigterm_commits_the_batch_and_records_the_run_as_stopped(
    variables: dict[str, str], sync: Any, exchange: Any
) -> None:
    fault = exchange.simulator.faults.start(Fault("latency", path="/markets", seconds=2))
    async with started(**variables) as process:

        async def reads_on() -> bool:
            # The pages before the one that took two seconds are taken by now.
            return fault.hits > 1

        await eventually(reads_on)
        code, log = await process.stop()
    assert code == ExitCode.OK
    assert log[-1]["event"] == "service stopped"
    [run] = await sync.rows("SELECT * FROM sync_runs")
    assert run["outcome"] == "failed"
    assert "stopped before its end" in run["error"]
    # The markets of the pages that had been read are there.
    assert await rows_written(sync) > 0


@pytest.mark.slow
async def test_health_and_metrics_tell_what_happens(
    variables: dict[str, str], exchange: Any, sync: Any
) -> None:
    variables = {**variables, "SYNC_JOBS_FILE": "jobs-local.yaml"}
    async with started(**variables) as process:

        async def measured() -> dict[str, float]:
            _, text = await process.ask("/metrics")
            lines = [line.rpartition(" ") for line in text.splitlines() if line[:1] != "#"]
            return {name: float(value) for name, _, value in lines}

        async def done() -> dict[str, float]:
            found = await measured()
            return found if found.get(FOUNDED) else {}

        await eventually(process.ready)
        before = await eventually(done)
        assert before["ssmd_lag_seconds"] < DEADLINE_SECONDS
        assert before['ssmd_sync_rows_total{outcome="inserted",table="markets"}'] > 0
        assert before['ssmd_sync_last_success_timestamp_seconds{sync_job="everything"}'] > 0
        assert before['ssmd_sync_interval_seconds{sync_job="everything"}'] == 300

        async def told() -> dict[str, Any]:
            found = await sync.rows("SELECT position FROM service_status WHERE service = 'sync'")
            position: dict[str, Any] = found[0]["position"] if found else {}
            jobs = position.get("jobs", {})
            return position if jobs.get("everything", {}).get("last_success_at") else {}

        position = await eventually(told)
        # What it read, it knew.
        assert position["drift"] == []
        jobs = position["jobs"]
        assert jobs["everything"]["every_seconds"] == 300
        assert jobs["everything"]["last_outcome"] == "ok"
        assert before["ssmd_work_total"] > 0
        assert before["ssmd_kalshi_tokens_total"] > 0
        assert [name for name in before if name.startswith("ssmd_kalshi_requests_total{")]
        # The exchange fails: the service lives, is not ready, says why, and comes back.
        fault = exchange.simulator.faults.start(Fault("garbage"))

        async def complains() -> dict[str, Any]:
            status, text = await process.ask("/readyz")
            return json.loads(text) if status == 503 else {}

        document = await eventually(complains)
        assert "failed" in document["reasons"]["runs"]
        assert (await process.ask("/livez"))[0] == 200
        exchange.simulator.faults.clear(fault.id)
        await eventually(process.ready)
        code, _ = await process.stop()
        assert code == ExitCode.OK


async def test_a_job_that_does_not_exist(variables: dict[str, str]) -> None:
    async with started("run", "evrything", **variables) as process:
        code, log = await process.ended()
    assert code == ExitCode.USAGE
    assert "there is no job evrything: everything" in log[-1]["error"]


@pytest.mark.parametrize("name", ["fees", "charges"])
async def test_one_job_by_hand_says_how_it_ended(
    variables: dict[str, str], sync: Any, exchange: Any, tmp_path: Path, name: str
) -> None:
    """By the name that it had in the version before, too."""
    path = jobs(tmp_path, "jobs: [{id: fees, formerly: charges, mode: fees, every: 1d}]\n")
    async with started("run", name, **variables, SYNC_JOBS_FILE=path) as process:
        code, log = await process.ended()
    assert code == ExitCode.OK
    assert log[-1]["event"] == "run finished"
    assert "error" not in log[-1]
    [run] = await sync.rows("SELECT job, outcome FROM sync_runs")
    assert run == {"job": "fees", "outcome": "ok"}


async def test_a_mass_disappearance_is_exit_code_5(
    variables: dict[str, str], sync: Any, exchange: Any
) -> None:
    await sync()
    for market in [m for m in exchange.simulator.universe.unsettled if not m.event.multivariate][
        :60
    ]:
        exchange.simulator.exchange.vanish(market)
    async with started("run", "everything", **variables) as process:
        code, log = await process.ended()
    assert code == ExitCode.PARTIAL == 5
    assert log[-1]["outcome"] == "refused"
    assert "60 of" in log[-1]["error"]


async def test_a_refused_run_is_said_until_one_is_good(
    variables: dict[str, str], sync: Any, exchange: Any, tmp_path: Path
) -> None:
    await sync()
    for market in [m for m in exchange.simulator.universe.unsettled if not m.event.multivariate][
        :60
    ]:
        exchange.simulator.exchange.vanish(market)
    path = jobs(tmp_path, "jobs: [{id: everything, mode: full, every: 1d}]\n")
    async with started(**variables, SYNC_JOBS_FILE=path) as process:

        async def degraded() -> dict[str, str]:
            status, text = await process.ask("/readyz")
            found: dict[str, str] = json.loads(text)["degraded"] if status == 200 else {}
            return found

        assert "60 of" in (await eventually(degraded))["refused_everything"]
    async with started("run", "everything", **variables, SYNC_DELETABLE_SHARE="1") as process:
        code, log = await process.ended()
    assert (code, log[-1]["outcome"]) == (ExitCode.OK, "ok")
    assert len(await sync.rows("SELECT 1 FROM markets WHERE deleted_at IS NOT NULL")) == 60


async def test_a_job_that_runs_elsewhere_is_left_to_it(
    variables: dict[str, str], database: Any, sync: Any
) -> None:
    from ssmd_common.leader import lock_key

    async with database.connect() as other:
        await other.execute("SELECT pg_advisory_lock(%s, %s)", lock_key("sync:fees"))
        async with started("run", "fees", **variables) as process:
            code, log = await process.ended()
    assert code == ExitCode.OK
    assert log[-1]["event"] == "job runs elsewhere"
    assert not await sync.rows("SELECT 1 FROM sync_runs")
