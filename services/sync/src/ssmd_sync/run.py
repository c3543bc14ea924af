"""One run: plan, fetch, write, sweep, and a row in `sync_runs` that tells what happened.

Killed anywhere, it leaves only whole batches behind, and its watermarks where they were: the next
run reads again what this one did not finish.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import psycopg
import structlog

from ssmd_common.connections.clock import CLOCK
from ssmd_common.connections.retry import first_line
from ssmd_common.errors import ClockDiffers
from ssmd_kalshi.errors import InterruptedWaitError, KalshiError, TransientError
from ssmd_kalshi.rest import KalshiRest
from ssmd_store.pages import Store
from ssmd_sync import upstream
from ssmd_sync.batch_writer import BatchWriter
from ssmd_sync.deletion import Sweep
from ssmd_sync.feescan import FeeReader
from ssmd_sync.fetch import Rows, reading
from ssmd_sync.meter import Meter
from ssmd_sync.pastrun import STOPPED
from ssmd_sync.plan import (
    CLOCK_SKEW,
    FeeScan,
    Known,
    OverrideScan,
    Plan,
    effective,
    multivariate_marks,
    next_watermark,
    plan_markets,
    plan_series,
    watermark_name,
)
from ssmd_sync.report import Report
from ssmd_sync.runlog import RunLog, Watermark
from ssmd_sync.scope import Mode, Scope, SeriesFacts
from ssmd_sync.settings import DELETABLE_SHARE
from ssmd_sync.vocabulary import explained, idle_words, without_games

log = structlog.get_logger(__name__)

LISTINGS: Final = ("series", "events", "markets")

Progress = Callable[[Report], None]


class Run:
    """Carries out one scope. Make one for each run; `rest`'s budget is `meter`."""

    def __init__(
        self,
        *,
        job: str,
        scope: Scope,
        store: Store,
        rest: KalshiRest,
        meter: Meter,
        stop: asyncio.Event | None = None,
        progress: Progress = lambda _: None,
        deletable_share: float = DELETABLE_SHARE,
    ) -> None:
        """`stop` ends the run after the batch at hand; it is recorded as not done."""
        self._deletable_share = deletable_share
        self.report = Report(job, scope, datetime.now(UTC))
        self._store = store
        self._log = RunLog(store.connection)
        self._rest = rest
        self._meter = meter
        self._stop = stop
        self._progress = progress
        self._writer = BatchWriter(store, rest, self.report)
        self._fees = FeeReader(store, rest, self._writer, self.report)
        self._first: dict[str, datetime] = {}
        self._latest: dict[str, datetime] = {}
        self._is_short = False

    async def __call__(self, *, alone: bool = False) -> Report:
        """Do it. What goes wrong upstream is in the report; a lost database connection is raised
        after all, since nothing can be recorded any more."""
        report = self.report
        try:
            await self._store.follow_schema()
            await CLOCK.require(self._store.connection)
            run_id = await self._log.begin(report, alone=alone)
        except ClockDiffers as error:
            self._blame_clock(error)
            self._finish()
            return report
        except psycopg.Error as error:
            self._blame_postgres(error)
            if not upstream.lacks_resources(error):
                raise
            self._finish()
            return report
        try:
            try:
                await self._work()
            except InterruptedWaitError:
                report.error = STOPPED
            except KalshiError as error:
                report.error, report.upstream = str(error), isinstance(error, TransientError)
            # What was read before a fault of the exchange is as true as ever.
            await self._writer.flush_without_asking()
        except (
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.ReadOnlySqlTransaction,
        ) as error:
            # Nothing can be recorded where nothing may be written: the service says it.
            report.error = f"PostgreSQL: {first_line(error)}"
            with suppress(psycopg.Error):
                await self._end(run_id)
            raise
        except ClockDiffers as error:
            # What was read and not written yet has stamps that nobody can trust.
            self._blame_clock(error)
        except psycopg.Error as error:
            self._blame_postgres(error)
        except Exception as error:
            report.error = f"a fault of ssmd itself: {error!r}"
            await self._end(run_id)
            raise
        await self._end(run_id)
        return report

    def _blame_clock(self, error: ClockDiffers) -> None:
        self.report.error, self.report.of_clock = str(error), True
        self.report.upstream = True

    def _blame_postgres(self, error: psycopg.Error) -> None:
        report = self.report
        report.error = upstream.sentence(error)
        report.upstream = isinstance(error, psycopg.OperationalError)

    async def _end(self, run_id: int) -> None:
        self._finish()
        try:
            await self._log.end(run_id, self.report)
        except psycopg.Error as error:
            if not upstream.lacks_resources(error):
                raise
            self._blame_postgres(error)
            log.warning("run is not recorded", job=self.report.job, error=self.report.error)
        else:
            self.report.recorded = True

    def _finish(self) -> None:
        self.report.finished_at = datetime.now(UTC)
        if self.report.error:
            log.error("run failed", job=self.report.job, error=self.report.error)
        self._show()

    async def _work(self) -> None:
        report, scope = self.report, self.report.scope
        known = await self._log.known()
        mode = effective(scope, known)
        if scope.multivariate:
            await self._writer.multivariate.begin()
        plan = plan_series(scope, known)
        if scope.restricted or scope.by_series:
            await self._read(plan)
            tracked = await self._track()
            plan = plan_markets(scope, known, tracked, report.started_at)
            report.planned_requests = self._meter.requests + plan.requests
            await self._read(plan)
        else:
            # Nothing depends on which series there are: read ahead from the first page to the last.
            plan = plan.then(plan_markets(scope, known, (), report.started_at))
            report.planned_requests = plan.requests
            await self._read(plan)
            await self._track()
        await self._read_fees(plan)
        watermarks = self._watermarks(mode, known)
        if plan.sweep and not report.incomplete:
            share = self._deletable_share
            await Sweep(self._store, self._rest, self._writer, report, share)(watermarks)
        else:
            await self._writer.flush(watermarks)
        await self._note_coverage(mode)

    async def _note_coverage(self, mode: Mode) -> None:
        """What was to be read has been; where pages left rows out, the rows that none has shown
        have not."""
        report = self.report
        if report.incomplete:
            match mode:
                case Mode.FULL:
                    listed = await self._log.live("markets", report.started_at)
                case Mode.ACTIVE:
                    listed = await self._log.trading(report.started_at)
                case _:
                    return
            report.unread |= self._writer.unseen(listed)
        report.covers = True

    async def _track(self) -> list[str]:
        """Decide which series are in scope, of those that are known by now."""
        series = await self._log.series()
        tracked = self.report.scope.tracked(series)
        await self._explain(series)
        self._writer.tracked, self.report.tracked = frozenset(tracked), len(tracked)
        return tracked

    async def _explain(self, series: Sequence[SeriesFacts]) -> None:
        """Say which words of the scope select nothing, as the exchange spells them."""
        scope = self.report.scope
        idle = idle_words(scope, series)
        if not idle and (scope.tracked(series) or not scope.tags):
            return
        try:
            tags = await self._rest.tags_by_categories()
            sports = (await self._rest.filters_by_sport()).filters_by_sports
        except InterruptedWaitError:
            raise
        except KalshiError as error:
            # A hint is no reason to fail.
            log.warning("scope cannot be explained", job=self.report.job, error=str(error))
            return
        self.report.idle = [*explained(idle, tags, sports), *without_games(scope, sports)]
        for sentence in self.report.idle:
            log.warning("scope selects less than it says", job=self.report.job, reason=sentence)

    # --- steps --------------------------------------------------------------------------------

    async def _read(self, plan: Plan) -> None:
        async with reading(self._rest, plan.scans) as pages:
            async for rows in pages:
                self._look_at(rows)
                await self._writer.take(rows)
                self._show()
                if self._stop is not None and self._stop.is_set():
                    raise InterruptedWaitError(STOPPED)

    async def _read_fees(self, plan: Plan) -> None:
        for step in plan.steps:
            match step:
                case FeeScan():
                    await self._fees.schedules()
                case OverrideScan():
                    await self._fees.overrides(self.report.started_at)
                case _:
                    continue
            self._show()

    def _look_at(self, rows: Rows) -> None:
        """What a page tells beyond its rows: how complete it is, and what time it was."""
        if rows.short:
            self.report.incomplete.append("a page was shorter than asked for")
        elif any(row.ticker is None for row in rows.rejected_rows):
            self.report.incomplete.append("a page has rows without a readable ticker")
        self._is_short = self._is_short or rows.short
        for what in LISTINGS:
            changed_at = rows.changed_at(what)
            if changed_at is None:
                continue
            self._latest[what] = max(self._latest.get(what, changed_at), changed_at)
            if rows.first:
                self._first.setdefault(what, changed_at)

    # --- bookkeeping --------------------------------------------------------------------------

    def _watermarks(self, mode: Mode, known: Known) -> list[Watermark]:
        """From where the next runs may read, once all that was read is written."""
        if self._is_short:
            # What the page left out would not be looked for again.
            return []
        scope, began_at = self.report.scope, self.report.started_at
        marks: list[Watermark] = []
        if mode in (Mode.FULL, Mode.INCREMENTAL):
            for what in LISTINGS:
                name = watermark_name(what, scope)
                if mode is Mode.FULL and name in known.watermarks:
                    # A full run does not see what was edited after it settled: updates do.
                    continue
                at = next_watermark(self._first.get(what), self._latest.get(what), began_at)
                if at is None and mode is Mode.FULL:
                    # The exchange gave no times: only our own clock is left.
                    at = began_at - CLOCK_SKEW
                if at is not None:
                    marks.append(Watermark(name, at))
        if scope.multivariate:
            marks += [
                Watermark(watermark_name(what, scope), began_at - CLOCK_SKEW)
                for what in multivariate_marks(mode)
            ]
        if mode in (Mode.FULL, Mode.WINDOWS):
            marks += [
                Watermark(watermark_name(what, scope), began_at) for what in ("closed", "settled")
            ]
        return marks

    def _show(self) -> None:
        self.report.requests = self._meter.requests
        self.report.tokens = self._meter.tokens
        self._progress(self.report)
