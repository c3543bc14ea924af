"""What disappeared from the exchange (docs/architecture.md, decision 7).

A row is soft-deleted only when a complete scan missed it and the exchange, asked for it by ticker,
does not know it. If that is true of suspiciously many, nothing is deleted and somebody is told.
"""

from collections.abc import Sequence
from typing import Final

import structlog

from ssmd_kalshi.rest import KalshiRest
from ssmd_store.pages import Store
from ssmd_sync import metrics
from ssmd_sync.batch_writer import BatchWriter
from ssmd_sync.missing import Missing
from ssmd_sync.report import Report
from ssmd_sync.runlog import RunLog, Watermark

log = structlog.get_logger(__name__)

ALWAYS_BELIEVED: Final = 50


def believable(missing: int, scope: int, share: float) -> bool:
    """Whether so many of `scope` rows may have disappeared between two scans, where a `share` of
    them may."""
    return missing <= max(ALWAYS_BELIEVED, share * scope)


class Sweep:
    """Follows a complete scan, of which `writer` knows what was seen."""

    def __init__(
        self,
        store: Store,
        rest: KalshiRest,
        writer: BatchWriter,
        report: Report,
        deletable_share: float,
    ) -> None:
        self._share = deletable_share
        self._store = store
        self._log = RunLog(store.connection)
        self._missing = Missing(rest)
        self._writer = writer
        self._report = report
        self._began_at = report.started_at

    async def __call__(self, watermarks: Sequence[Watermark] = ()) -> None:
        """Read what the scan missed and the exchange has; delete what it has not. The watermarks
        move with the last rows that were read."""
        markets, of_markets = await self._absent("markets")
        events, of_events = await self._absent("events")
        series, of_series = await self._absent("series")
        markets = await self._unknown_markets(markets)
        events = await self._unknown_events(events)
        await self._multivariate()
        await self._writer.flush(watermarks)
        believed = [
            self._believe("markets", markets, of_markets),
            self._believe("events", events, of_events),
            self._believe("series", series, of_series),
        ]
        if all(believed):
            await self._delete(markets, events, series)
        else:
            self._report.unread.update(markets)

    async def _multivariate(self) -> None:
        """The same of multivariate markets, where the run read them: by themselves, so that what
        the exchange does with these keeps no other row."""
        if not self._report.scope.multivariate:
            return
        restricted, tracked = self._report.scope.restricted, self._writer.tracked
        unseen, count = await self._writer.multivariate.unseen(self._began_at)
        asked = [ticker for ticker, series in unseen if not restricted or series in tracked]
        unknown: list[str] = []
        async for answer in self._missing.markets(asked):
            unknown += answer.unknown
            for rows in answer.found:
                rows.multivariate = True
                await self._writer.take(rows)
        self._report.unread.update(unknown)
        if not unknown or not self._believe("multivariate markets", unknown, count):
            return
        if doomed := await self._missing.confirm_markets(unknown):
            events = await self._writer.multivariate.events_of(doomed)
            deleted = await self._store.delete_markets(doomed, self._began_at)
            self._report.wrote("markets", deleted)
            self._report.wrote("events", await self._store.delete_events(events))
            self._report.unread.difference_update(doomed)

    async def _delete(
        self, markets: Sequence[str], events: Sequence[str], series: Sequence[str]
    ) -> None:
        doomed = await self._missing.confirm_markets(markets)
        # The exchange has the others, and no list shows them.
        self._report.unread.update(set(markets).difference(doomed))
        if doomed:
            deleted = await self._store.delete_markets(doomed, self._began_at)
            self._report.wrote("markets", deleted)
        if doomed := await self._missing.confirm_events(events):
            self._report.wrote("events", await self._store.delete_events(doomed))
        if doomed := await self._missing.confirm_series(series):
            self._report.wrote("series", await self._store.retire_series(doomed))

    async def _absent(self, what: str) -> tuple[list[str], int]:
        """What is stored as listed, in scope, and was not seen; and how many there are in all."""
        restricted, tracked = self._report.scope.restricted, self._writer.tracked
        live = [
            ticker
            for ticker, series in await self._log.live(what, self._began_at)
            if not restricted or series in tracked
        ]
        return [ticker for ticker in live if ticker not in self._writer.seen[what]], len(live)

    async def _unknown_markets(self, tickers: Sequence[str]) -> list[str]:
        unknown: list[str] = []
        async for answer in self._missing.markets(tickers):
            unknown += answer.unknown
            for rows in answer.found:
                await self._writer.take(rows)
        return unknown

    async def _unknown_events(self, tickers: Sequence[str]) -> list[str]:
        unknown: list[str] = []
        async for answer in self._missing.events(tickers):
            unknown += answer.unknown
            for rows in answer.found:
                await self._writer.take(rows)
        return unknown

    def _believe(self, what: str, missing: Sequence[str], scope: int) -> bool:
        if believable(len(missing), scope, self._share):
            return True
        metrics.DELETIONS_REFUSED.labels(what).inc()
        self._report.refused.append(
            f"{len(missing)} of {scope} {what} have disappeared from the exchange, which is too "
            "many to believe: nothing was deleted; check the exchange, and where they are gone "
            "indeed run it once with a larger SYNC_DELETABLE_SHARE"
        )
        log.error("deletion refused", table=what, missing=len(missing), scope=scope)
        return False
