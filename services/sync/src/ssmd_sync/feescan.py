"""Fees from the exchange: the schedules of series, and the overrides of events."""

from datetime import datetime

from ssmd_common.models import SeriesFee
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.wire import WireEventFeeChange
from ssmd_store.pages import Store
from ssmd_sync import fees
from ssmd_sync.batch_writer import BATCH_ROWS, BatchWriter
from ssmd_sync.batches import chunks
from ssmd_sync.missing import Missing
from ssmd_sync.report import Report
from ssmd_sync.runlog import RunLog


class FeeReader:
    """Part of one run: counts in its report."""

    def __init__(self, store: Store, rest: KalshiRest, writer: BatchWriter, report: Report) -> None:
        self._store = store
        self._log = RunLog(store.connection)
        self._rest = rest
        self._writer = writer
        self._report = report

    async def schedules(self) -> None:
        """Make the schedule of each series in scope what the exchange announces and says."""
        page = await self._rest.series_fee_changes()
        announced, unreadable = fees.announced(page.items)
        self._report.read("series_fees", page.row_count)
        rejected = [*page.rejected_rows, *unreadable]
        self._report.rejected_rows += rejected
        doubtful = {row.ticker for row in rejected}
        own, stored = await self._log.own_fees(), await self._log.fee_schedules()
        changed: dict[str, list[SeriesFee]] = {}
        for ticker in (own.keys() | announced.keys()) & self._writer.tracked:
            before = stored.get(ticker, [])
            after = fees.schedule(
                own.get(ticker),
                announced.get(ticker, []),
                before,
                self._report.started_at,
                doubtful=ticker in doubtful or None in doubtful,
            )
            if after != before:
                changed[ticker] = after
        for part in chunks(sorted(changed), BATCH_ROWS):
            result = await self._store.write_fees({ticker: changed[ticker] for ticker in part})
            self._report.wrote("series_fees", result)

    async def overrides(self, now: datetime) -> None:
        """Read again the events whose override is not the one that the exchange announced: the list
        says where to look, the event itself what holds."""
        changes: list[WireEventFeeChange] = []
        async for page in self._rest.event_fee_changes():
            changes += page.items
            self._report.read("event fee changes", page.row_count)
            self._report.rejected_rows += page.rejected_rows
        in_force, unreadable = fees.overrides(changes, now)
        self._report.rejected_rows += unreadable
        stored = await self._log.overrides(list(in_force))
        doubtful = [ticker for ticker, override in stored.items() if override != in_force[ticker]]
        async for answer in Missing(self._rest).events(doubtful):
            for rows in answer.found:
                await self._writer.take(rows)
