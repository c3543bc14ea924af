"""One run: plan, fetch, write, sweep, and a row in `sync_runs` that tells what happened.

Killed anywhere, it leaves only whole batches behind, and its watermarks where they were: the next
run reads again what this one did not finish.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
import psycopg
import structlog

from ssmd_common.models import Event, Market, Series, SeriesFee
from ssmd_kalshi.errors import InterruptedWaitError, KalshiError, NotFoundError, TransientError
from ssmd_kalshi.pages import Page, SetAside
from ssmd_kalshi.rest import KalshiRest
from ssmd_sync import fees, metrics
from ssmd_sync.batches import chunks
from ssmd_sync.deletion import Missing, believable
from ssmd_sync.fetch import Rows, event_rows, reading
from ssmd_sync.meter import Meter
from ssmd_sync.plan import (
    CLOCK_SKEW,
    EventScan,
    FeeScan,
    MarketScan,
    SeriesScan,
    Step,
    effective,
    next_watermark,
    plan_markets,
    plan_series,
    watermark_name,
)
from ssmd_sync.report import Report
from ssmd_sync.runlog import RunLog
from ssmd_sync.scope import Mode, Scope, SeriesFacts
from ssmd_sync.store import Store, Watermark

log = structlog.get_logger(__name__)

BATCH_ROWS: Final = 10_000
"""Markets a transaction: a tenth of that costs a quarter of the speed, more holds locks longer."""
STRANGERS: Final = 200
"""Events that are asked for one by one in a run, where no listing shows them."""

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
    ) -> None:
        """`stop` ends the run after the batch at hand; it is recorded as not done."""
        self.report = Report(job, scope, datetime.now(UTC))
        self._scope = scope
        self._store = store
        self._log = RunLog(store.connection)
        self._rest = rest
        self._meter = meter
        self._stop = stop
        self._progress = progress
        self._tracked: frozenset[str] = frozenset()
        self._series_of: dict[str, str] | None = None
        self._batch: list[Market] = []
        self._seen: dict[str, set[str]] = {"series": set(), "events": set(), "markets": set()}
        self._first: dict[str, datetime] = {}
        self._latest: dict[str, datetime] = {}

    async def __call__(self, *, alone: bool = False) -> Report:
        """Do it. What goes wrong upstream is in the report; a lost database connection is raised
        after all, since nothing can be recorded any more."""
        report = self.report
        run_id = await self._log.begin(report, alone=alone)
        try:
            await self._work()
        except InterruptedWaitError:
            report.error = "the run was stopped before its end"
            # Markets whose event must be fetched first are left for the next run.
            report.wrote("markets", await self._store.write_markets(self._batch))
        except KalshiError as error:
            report.error, report.upstream = str(error), isinstance(error, TransientError)
        except psycopg.Error as error:
            report.error = f"PostgreSQL: {str(error).partition(chr(10))[0]}"
        except Exception as error:
            report.error = f"a fault of ssmd itself: {error!r}"
            await self._end(run_id)
            raise
        if report.error:
            log.error("run failed", job=report.job, error=report.error)
        await self._end(run_id)
        return report

    async def _end(self, run_id: int) -> None:
        self.report.finished_at = datetime.now(UTC)
        self._count_requests()
        await self._log.end(run_id, self.report)
        self._progress(self.report)

    async def _work(self) -> None:
        known = await self._log.known()
        mode = effective(self._scope, known)
        for step in plan_series(self._scope, known).steps:
            await self._step(step)
        tracked = await self._log.tracked(self._scope)
        self._tracked = frozenset(tracked)
        self.report.tracked = len(tracked)
        plan = plan_markets(self._scope, known, tracked, self.report.started_at)
        self.report.planned_requests = self._meter.requests + plan.requests
        for step in plan.steps:
            await self._step(step)
        await self._flush()
        if plan.sweep:
            await self._sweep()
        await self._move_watermarks(mode)

    # --- steps --------------------------------------------------------------------------------

    async def _step(self, step: Step) -> None:
        if isinstance(step, FeeScan):
            await self._flush()
            await self._fees()
            return
        number = 0
        async with reading(self._rest, step) as pages:
            async for rows in pages:
                await self._page(step, rows, number)
                number += 1

    async def _page(
        self, step: SeriesScan | EventScan | MarketScan, rows: Rows, number: int
    ) -> None:
        report = self.report
        report.set_aside += rows.set_aside
        if not rows.complete:
            report.incomplete.append(
                f"a page of {type(step).__name__.removesuffix('Scan').lower()} rows is not "
                "complete, so nothing is taken for deleted"
            )
        for what in ("series", "events", "markets"):
            self._note_time(what, rows.changed_at(what), number)
        if rows.series:
            report.read("series", len(rows.series))
            self._seen["series"].update(row.ticker for row in rows.series)
            selected = [row for row in rows.series if self._scope.selects(_facts(row))]
            for part in chunks(selected, BATCH_ROWS):
                report.wrote("series", await self._store.write_series(part))
        await self._events(rows.events, rows.asked_at)
        await self._markets(rows.markets)
        self._count_requests()
        self._progress(report)
        if self._stop is not None and self._stop.is_set():
            raise InterruptedWaitError("the run was stopped before its end")

    async def _events(self, events: Sequence[Event], asked_at: datetime) -> None:
        if not events:
            return
        self.report.read("events", len(events))
        self._seen["events"].update(row.event_ticker for row in events)
        if self._scope.restricted:
            events = [row for row in events if row.series_ticker in self._tracked]
        self.report.wrote("events", await self._store.write_events(events, asked_at))

    async def _markets(self, markets: Sequence[Market]) -> None:
        if not markets:
            return
        self.report.read("markets", len(markets))
        self._seen["markets"].update(row.ticker for row in markets)
        self._batch += await self._in_scope(markets)
        if len(self._batch) >= BATCH_ROWS:
            await self._flush()

    async def _in_scope(self, markets: Sequence[Market]) -> Sequence[Market]:
        """The markets of tracked series. A listing of markets does not tell the series."""
        if not self._scope.restricted:
            return markets
        if self._series_of is None:
            self._series_of = await self._log.series_of_events()
        known = self._series_of
        strangers = {m.event_ticker for m in markets if not m.series_ticker} - known.keys()
        known |= await self._adopt(sorted(strangers))
        return [
            row
            for row in markets
            if (row.series_ticker or known.get(row.event_ticker)) in self._tracked
        ]

    async def _flush(self) -> None:
        """Write the batch; markets whose event is unknown come after their event."""
        batch, self._batch = self._batch, []
        for part in chunks(batch, BATCH_ROWS):
            result = await self._store.write_markets(part)
            orphans, result.orphans = result.orphans, set()
            self.report.wrote("markets", result)
            if orphans:
                await self._place([row for row in part if row.ticker in orphans])
        self._progress(self.report)

    async def _place(self, orphans: Sequence[Market]) -> None:
        await self._adopt(sorted({row.event_ticker for row in orphans}))
        result = await self._store.write_markets(orphans)
        result.set_aside += [
            SetAside(row.ticker, f"markets: its event {row.event_ticker} is not known yet", "")
            for row in orphans
            if row.ticker in result.orphans
        ]
        result.orphans = set()
        self.report.wrote("markets", result)

    async def _adopt(self, tickers: Sequence[str]) -> dict[str, str]:
        """Fetch events that are not stored, and store those in scope; the series of each.

        An event that the exchange does not know (yet) becomes a stub, so that its markets have a
        place; whoever reads it first completes it.
        """
        if not tickers:
            return {}
        found, unknown = await Missing(self._rest).events(tickers)
        stubs: list[Event] = []
        asked_at = datetime.now(UTC)
        for ticker in unknown[:STRANGERS]:
            # Listings leave multivariate events out; asked by name they answer.
            try:
                wire = await self._rest.event(ticker, with_nested_markets=False)
            except NotFoundError:
                # The first segment is a guess, right for nearly all; data corrects it.
                guess = ticker.partition("-")[0]
                stubs.append(Event(event_ticker=ticker, series_ticker=guess))
            else:
                page = Page(items=[msgspec.structs.replace(wire, markets=None)], set_aside=[])
                found.append(event_rows(page, asked_at))
        for rows in found:
            await self._events(rows.events, rows.asked_at)
        self.report.wrote("events", await self._store.write_events(stubs, asked_at))
        events = [*stubs, *(row for rows in found for row in rows.events)]
        return {row.event_ticker: row.series_ticker for row in events}

    async def _fees(self) -> None:
        page = await self._rest.series_fee_changes()
        self.report.read("series_fees", page.row_count)
        self.report.set_aside += page.set_aside
        own, stored = await self._log.own_fees(), await self._log.fee_schedules()
        announced, unreadable = fees.announced(page.items)
        self.report.set_aside += unreadable
        changed: dict[str, list[SeriesFee]] = {}
        for ticker in own.keys() & self._tracked:
            before = stored.get(ticker, [])
            after = fees.schedule(
                own.get(ticker), announced.get(ticker, []), before, self.report.started_at
            )
            if after != before:
                changed[ticker] = after
        for part in chunks(sorted(changed), BATCH_ROWS):
            result = await self._store.write_fees({ticker: changed[ticker] for ticker in part})
            self.report.wrote("series_fees", result)
        self._progress(self.report)

    # --- absence ------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        if self.report.incomplete:
            return
        began_at = self.report.started_at
        missing = Missing(self._rest)
        series, series_scope = await self._absent("series", began_at)
        markets, market_scope = await self._absent("markets", began_at)
        events, event_scope = await self._absent("events", began_at)
        found_markets, markets = await missing.markets(markets)
        found_events, events = await missing.events(events)
        for rows in (*found_events, *found_markets):
            self.report.set_aside += rows.set_aside
            await self._events(rows.events, rows.asked_at)
            await self._markets(rows.markets)
        await self._flush()
        believed = [
            self._believe("markets", markets, market_scope),
            self._believe("events", events, event_scope),
            self._believe("series", series, series_scope),
        ]
        if not all(believed):
            return
        doomed = await missing.confirm_markets(markets)
        if doomed:
            self.report.wrote("markets", await self._store.delete_markets(doomed, began_at))
        doomed = await missing.confirm_events(events)
        if doomed:
            self.report.wrote("events", await self._store.delete_events(doomed))
        doomed = await missing.confirm_series(series)
        if doomed:
            self.report.wrote("series", await self._store.retire_series(doomed))

    async def _absent(self, what: str, began_at: datetime) -> tuple[list[str], int]:
        """What is stored as listed, in scope, and was not seen; and how many there are in all."""
        live = [
            ticker
            for ticker, series in await self._log.live(what, began_at)
            if not self._scope.restricted or series in self._tracked
        ]
        return [ticker for ticker in live if ticker not in self._seen[what]], len(live)

    def _believe(self, what: str, missing: Sequence[str], scope: int) -> bool:
        if believable(len(missing), scope):
            return True
        metrics.DELETIONS_REFUSED.labels(what).inc()
        sentence = (
            f"{len(missing)} of {scope} {what} have disappeared from the exchange, which is too "
            "many to believe: nothing was deleted; check the exchange and run the sync again"
        )
        log.error("deletion refused", table=what, missing=len(missing), scope=scope)
        self.report.refused.append(sentence)
        return False

    # --- bookkeeping --------------------------------------------------------------------------

    def _note_time(self, what: str, changed_at: datetime | None, number: int) -> None:
        if changed_at is None:
            return
        self._latest[what] = max(self._latest.get(what, changed_at), changed_at)
        if number == 0 and what not in self._first:
            self._first[what] = changed_at

    async def _move_watermarks(self, mode: Mode) -> None:
        began_at = self.report.started_at
        marks: list[Watermark] = []
        if mode in (Mode.FULL, Mode.INCREMENTAL):
            for what in ("series", "events", "markets"):
                at = next_watermark(self._first.get(what), self._latest.get(what), began_at)
                if at is None and mode is Mode.FULL:
                    # The exchange gave no times: only our own clock is left.
                    at = began_at - CLOCK_SKEW
                if at is not None:
                    marks.append(Watermark(watermark_name(what, self._scope), at))
        if mode in (Mode.FULL, Mode.WINDOWS):
            marks += [
                Watermark(watermark_name(what, self._scope), began_at)
                for what in ("closed", "settled")
            ]
        if marks:
            await self._store.write_markets([], marks)

    def _count_requests(self) -> None:
        self.report.requests = self._meter.requests
        self.report.tokens = self._meter.tokens


def _facts(row: Series) -> SeriesFacts:
    return SeriesFacts(row.ticker, row.category, row.tags, row.is_game, row.volume, row.active)
