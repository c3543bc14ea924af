"""The schedule, carried out: each job waits until it is due, takes its lock, and runs.

Any number of replicas share the jobs through advisory locks; whoever has the lock looks again
whether the job is still due, so that no period runs twice.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import psycopg
import structlog

from ssmd_common import requests
from ssmd_common.connections.clock import CLOCK
from ssmd_common.connections.retry import first_line
from ssmd_common.exitcodes import ExitCode
from ssmd_common.leader import lock_key
from ssmd_common.metrics import LAG_SECONDS, LEADER
from ssmd_common.runtime import Runtime
from ssmd_store.pages import Store
from ssmd_store.sessions import Sessions
from ssmd_sync import memory, metrics
from ssmd_sync.exchange import Exchange
from ssmd_sync.pastrun import PastRun
from ssmd_sync.plan import watermark_name
from ssmd_sync.readiness import Setback, reason, setback
from ssmd_sync.report import Report
from ssmd_sync.retention import Retention
from ssmd_sync.run import Progress, Run
from ssmd_sync.runlog import QUERIES, RunLog
from ssmd_sync.schedule import Job, due_at
from ssmd_sync.scope import Mode, Scope
from ssmd_sync.settings import SyncSettings

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 5.0
"""A sleeping job looks up so often, to show that the service lives."""
LOG_SECONDS: Final = 10.0
"""How often a long run says how far it is."""
GARBAGE: Final = 200_000
"""Objects that gather before Python looks for cycles among them."""
UNRECORDED_SECONDS: Final = 10.0
"""How long after a run that the database could not even take note of."""
ELSEWHERE_SECONDS: Final = 1.0
"""How long after finding a job's lock taken it is tried again."""
SHOWN_DRIFT: Final = 50
"""Of what the exchange sends and we do not know, what `service_status` has."""
LEARN_SECONDS: Final = 60.0
"""How often a job that waits looks at what became of its runs in other replicas."""


class Service:
    """Runs the jobs of a schedule until it is asked to stop."""

    def __init__(
        self,
        runtime: Runtime,
        sessions: Sessions,
        exchange: Exchange,
        jobs: Sequence[Job],
        retention: Retention,
    ) -> None:
        self._runtime = runtime
        self._sessions = sessions
        self._exchange = exchange
        self._jobs = jobs
        self._retention = retention
        self._since = datetime.now(UTC)
        self._fresh_at = time.time()
        self._setbacks: dict[str, Setback] = {}
        self._asked: dict[str, asyncio.Event] = {}

    def wake(self, job: str) -> None:
        """Let a job look at once whether there is something to do; unknown ones are nobody's."""
        self._asked_for(job).set()

    def _asked_for(self, job: str) -> asyncio.Event:
        return self._asked.setdefault(job, asyncio.Event())

    async def __call__(self) -> None:
        async with self._sessions.borrow() as store:
            # A database that cannot be used is found before anything else is done, and who starts
            # after failures is not ready until they are over.
            now = datetime.now(UTC)
            for job in self._jobs:
                await _take_over_runs(job, store)
                runs = await RunLog(store.connection).last_runs(job.id)
                self._known(job, runs, due_at(job, runs, self._since, now))
        self._tell_setbacks()
        self._runtime.health.set("postgres", None)
        self._runtime.health.state = "leading"
        LEADER.set(1)
        LAG_SECONDS.set_function(lambda: time.time() - self._fresh_at)
        for job in self._jobs:
            metrics.INTERVAL.labels(job.id).set(job.period.total_seconds())
            self._runtime.spawn(f"job-{job.id}", self._keep(job.id, partial(self._turn, job)))
        # From now on it is due: that it never succeeds has to be seen, too.
        metrics.HISTORY_MAINTAINED.set_to_current_time()
        self._runtime.spawn("retention", self._keep("retention", self._expire))
        await self._runtime.stop.wait()
        # What runs commits its batch and records that it was stopped.
        await self._sessions.all_returned()

    async def _keep(self, name: str, turn: Callable[[Store], Awaitable[float]]) -> None:
        """One job, for ever: a turn with a session, then a pause as long as the turn says."""
        while not self._runtime.stop.is_set():
            # What is asked from here on, this turn may not see.
            self._asked_for(name).clear()
            try:
                async with self._sessions.borrow() as store:
                    pause = await turn(store)
            except psycopg.OperationalError as error:
                # The next borrower connects again, within its budget or not at all.
                self._runtime.health.failed("postgres", error)
                log.warning("database connection lost", job=name, error=first_line(error))
                pause = ELSEWHERE_SECONDS
            except psycopg.errors.ReadOnlySqlTransaction as error:
                # The watch says when it takes writes again; the job is due until then.
                self._runtime.health.failed("postgres", error)
                log.warning("the database takes no writes", job=name, error=first_line(error))
                pause = LOOK_SECONDS
            await self._sleep(name, pause)

    async def _sleep(self, name: str, seconds: float) -> None:
        """Not beyond that time, nor longer than that: the clock may be set meanwhile. Whoever asks
        for the job ends it."""
        until, at = time.monotonic() + seconds, time.time() + seconds
        while not self._runtime.stop.is_set():
            self._runtime.health.progress()
            left = min(until - time.monotonic(), at - time.time())
            if left <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK_SECONDS)):
                    await self._runtime.until_stop(self._asked_for(name).wait())
                    return

    async def _turn(self, job: Job, store: Store) -> float:
        """Run the job if it is due and free; the seconds after which to look again."""
        if await CLOCK.differs(store.connection):
            # Neither what is due nor what would be stamped is known; its health says so.
            return LOOK_SECONDS
        if self._runtime.stop.is_set() or not await _try_lock(store, job.id):
            return ELSEWHERE_SECONDS
        try:
            now = datetime.now(UTC)
            # It may have begun by a clock that was ahead.
            self._since = min(self._since, now)
            self._fresh_at = min(self._fresh_at, now.timestamp())
            if not await self._bootstrapped(job, store):
                return ELSEWHERE_SECONDS
            runs = await RunLog(store.connection).last_runs(job.id)
            due = due_at(job, runs, self._since, now)
            self._known(job, runs, due)
            self._tell_setbacks()
            asked = await requests.take(store.connection, "sync", job.id)
            if due > now and not asked:
                return min((due - now).total_seconds(), LEARN_SECONDS)
            report = await run_job(
                job.id,
                job.scope,
                store,
                self._exchange,
                alone=True,
                progress=lambda _: self._runtime.health.progress(),
            )
            self._finished(job, report, runs)
            self._runtime.health.position["drift"] = self._exchange.drift.document(SHOWN_DRIFT)
            if asked:
                await self._answer(store, job, asked, report)
            # What is not recorded is due at once.
            return 0.0 if report.recorded else UNRECORDED_SECONDS
        finally:
            await _unlock(store, job.id)

    async def _answer(self, store: Store, job: Job, asked: Sequence[int], report: Report) -> None:
        """A run that was stopped, or that nothing took note of, is no answer."""
        stopped = self._runtime.stop.is_set() and report.error is not None
        if stopped or report.of_clock or not report.recorded:
            await requests.give_back(store.connection, asked)
            return
        await requests.answer(store.connection, asked, report.summary(), report.error)
        metrics.REQUESTS.labels(job.id, "failed" if report.error else "done").inc(len(asked))
        log.info("requests answered", job=job.id, requests=list(asked), outcome=report.outcome)

    def _known(self, job: Job, runs: Sequence[PastRun], due: datetime) -> None:
        """What is known of a job's runs, whichever replica made them."""
        match setback(job.id, runs, due):
            case None:
                self._setbacks.pop(job.id, None)
            case found:
                self._setbacks[job.id] = found
        last = next((run for run in runs if run.telling), None)
        refusal = last.error if last is not None and last.outcome == "refused" else None
        self._runtime.health.degrade(f"refused_{job.id}", refusal)
        good = next((run for run in runs if run.succeeded), None)
        if good is not None:
            metrics.LAST_SUCCESS.labels(job.id).set(good.started_at.timestamp())
        jobs = self._runtime.health.position.setdefault("jobs", {})
        assert isinstance(jobs, dict)
        jobs[job.id] = {
            "every_seconds": job.period.total_seconds(),
            "last_run_at": runs[0].started_at if runs else None,
            "last_outcome": runs[0].outcome if runs else None,
            "last_success_at": good and good.started_at,
        }

    async def _expire(self, store: Store) -> float:
        if await CLOCK.differs(store.connection):
            return LOOK_SECONDS
        return await self._retention(store)

    async def _bootstrapped(self, job: Job, store: Store) -> bool:
        """Whether the job has what it builds upon: the first full run comes before all others."""
        if job.is_bootstrap or not any(other.is_bootstrap for other in self._jobs):
            return True
        return watermark_name("events", Scope()) in await RunLog(store.connection).watermarks()

    def _finished(self, job: Job, report: Report, before: Sequence[PastRun]) -> None:
        if report.error is None:
            if report.scope.mode not in (Mode.SERIES, Mode.FEES):
                self._fresh_at = report.started_at.timestamp()
        elif not self._runtime.stop.is_set():
            self._runtime.health.failed("run", report.error)
        if report.of_clock:
            # It is no run's fault, and the clock's own condition says it.
            CLOCK.tell(self._runtime.health)
            return
        # Also where `sync_runs` could not take it.
        runs = [PastRun(report.started_at, report.finished_at, report.outcome, report.sentence)]
        runs += before
        due = due_at(job, runs, self._since, datetime.now(UTC))
        if not report.recorded:
            due = datetime.now(UTC) + timedelta(seconds=UNRECORDED_SECONDS)
        self._known(job, runs, due)
        self._tell_setbacks()

    def _tell_setbacks(self) -> None:
        self._runtime.health.set("runs", reason(self._setbacks.values(), datetime.now(UTC)))


async def run_job(
    name: str,
    scope: Scope,
    store: Store,
    exchange: Exchange,
    *,
    alone: bool = False,
    progress: Progress = lambda _: None,
) -> Report:
    """One run with its log lines and its metrics. `alone`: the job's lock is held."""
    # Pages bring a million objects and no cycles: looking for some would be a sixth of the work.
    gc.set_threshold(GARBAGE)
    logged_at = time.monotonic()

    def show(report: Report) -> None:
        nonlocal logged_at
        progress(report)
        if time.monotonic() - logged_at >= LOG_SECONDS:
            logged_at = time.monotonic()
            log.info(
                "run goes on",
                job=name,
                requests=report.requests,
                planned_requests=report.planned_requests,
                fetched=sum(report.fetched.values()),
            )

    async with exchange.client() as (rest, meter):
        run = Run(
            job=name,
            scope=scope,
            store=store,
            rest=rest,
            meter=meter,
            stop=exchange.stop,
            progress=show,
            deletable_share=exchange.deletable_share,
        )
        report = await run(alone=alone)
    del run, rest
    memory.hand_back()
    metrics.run(
        job=name, outcome=report.outcome, started_at=report.started_at, seconds=report.seconds
    )
    log.info(
        "run finished",
        job=name,
        outcome=report.outcome,
        seconds=round(report.seconds, 3),
        requests=report.requests,
        tokens=report.tokens,
        fetched=sum(report.fetched.values()),
        inserted=report.total("inserted"),
        updated=report.total("updated"),
        unchanged=report.total("unchanged"),
        deleted=report.total("deleted"),
        rejected_rows=len(report.rejected_rows),
        rejected_fields=report.rejected_count,
        **({"error": report.sentence} if report.sentence else {}),
    )
    return report


async def run_once(job: Job, settings: SyncSettings) -> int:
    """One run of a job, due or not; the exit code. Where another replica runs it, all is well."""
    exchange = Exchange(settings)
    async with Store.open(
        settings.database_url, f"ssmd-sync-{job.id}", settings.startup_budget_seconds
    ) as store:
        if not await _try_lock(store, job.id):
            log.info("job runs elsewhere", job=job.id)
            return ExitCode.OK
        await _take_over_runs(job, store)
        await Retention.of(settings)(store)
        report = await run_job(job.id, job.scope, store, exchange, alone=True)
    return report.exit_code


async def _take_over_runs(job: Job, store: Store) -> None:
    if job.formerly is not None:
        await RunLog(store.connection).rename(job.formerly, job.id)


async def _try_lock(store: Store, job: str) -> bool:
    key = lock_key(f"sync:{job}")
    row = await (await store.connection.execute(QUERIES.try_lock, key)).fetchone()
    return bool(row and row[0])


async def _unlock(store: Store, job: str) -> None:
    # A connection that is gone has freed its locks.
    if not store.connection.closed:
        await store.connection.execute(QUERIES.unlock, lock_key(f"sync:{job}"))
