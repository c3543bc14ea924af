"""What a page brings into the tables: rows in scope, in batches, parents before their children."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec

from ssmd_common.models import Event, Market, RejectedRow, Series
from ssmd_kalshi.errors import NotFoundError
from ssmd_kalshi.pages import Page
from ssmd_kalshi.rest import KalshiRest
from ssmd_store.observed import SeenEvent, seen
from ssmd_store.pages import Store, Then
from ssmd_sync.batches import chunks
from ssmd_sync.fetch import Rows, event_rows
from ssmd_sync.missing import Missing
from ssmd_sync.multivariate import Multivariate
from ssmd_sync.report import Report
from ssmd_sync.runlog import RunLog, Watermark
from ssmd_sync.scope import SeriesFacts

BATCH_ROWS: Final = 5_000
"""Markets a transaction: a fifth of that costs speed, more costs memory and holds locks longer."""
STRANGERS: Final = 200
"""Events that are asked for one by one at a time, where no listing shows them."""


class BatchWriter:
    """Writes what is read, remembers what was seen, and counts both in the report."""

    def __init__(self, store: Store, rest: KalshiRest, report: Report) -> None:
        self.tracked: frozenset[str] = frozenset()
        """The series in scope; matters where the scope is restricted."""
        self.seen: dict[str, set[str]] = {"series": set(), "events": set(), "markets": set()}
        self._store = store
        self._rest = rest
        self._report = report
        self._scope = report.scope
        self._log = RunLog(store.connection)
        self.multivariate = Multivariate(store, report)
        self._series_of: dict[str, str] | None = None
        self._events: list[SeenEvent] = []
        self._batch: list[Market] = []

    async def take(self, rows: Rows) -> None:
        """A page. Events and markets wait for a batch to fill; `flush` writes what waits."""
        self._report.rejected_rows += rows.rejected_rows
        # A row that cannot be read exists nevertheless.
        unreadable = {row.ticker for row in rows.rejected_rows if row.ticker}
        for tickers in self.seen.values():
            tickers |= unreadable
        self._report.unread |= unreadable
        await self._take_series(rows.series)
        await self._take_events(rows.events)
        if rows.collections:
            await self.multivariate.collections(rows.collections)
        if rows.multivariate:
            await self._take_multivariate(rows)
        else:
            await self._take_markets(rows.markets)

    async def flush(self, watermarks: Sequence[Watermark] = ()) -> None:
        """Write what waits; the watermarks move with the last of it. Markets whose event is unknown
        come after their event."""
        await self._write_events()
        batch, self._batch = self._batch, []
        parts = list(chunks(batch, BATCH_ROWS)) or [[]]
        for part in parts:
            await self._write_markets(part, watermarks if part is parts[-1] else ())

    def unseen(self, markets: Iterable[tuple[str, str]]) -> set[str]:
        """Of markets, each with its series, those in scope that no page has shown."""
        seen = self.seen["markets"]
        return {t for t, series in markets if self._is_tracked(series) and t not in seen}

    async def flush_without_asking(self) -> None:
        """Write of what waits all that needs nothing more from the exchange."""
        await self._write_events()
        batch, self._batch = self._batch, []
        if batch:
            self._report.wrote("markets", await self._store.write_markets(batch))

    async def _write_events(self) -> None:
        events, self._events = self._events, []
        if events:
            self._report.wrote("events", await self._store.write_events(events))

    async def _write_markets(
        self, markets: Sequence[Market], watermarks: Sequence[Watermark] = ()
    ) -> None:
        if not markets and not watermarks:
            return
        result = await self._store.write_markets(markets, self._moving(watermarks))
        orphans, result.orphans = result.orphans, set()
        self._report.wrote("markets", result)
        if orphans:
            await self._place([row for row in markets if row.ticker in orphans], watermarks)

    async def _take_series(self, series: Sequence[Series]) -> None:
        if not series:
            return
        self._report.read("series", len(series))
        self.seen["series"].update(row.ticker for row in series)
        selected = [row for row in series if self._scope.selects(_facts(row))]
        for part in chunks(selected, BATCH_ROWS):
            self._report.wrote("series", await self._store.write_series(part))

    async def _take_events(self, events: Sequence[SeenEvent]) -> None:
        if not events:
            return
        self._report.read("events", len(events))
        self.seen["events"].update(row.event_ticker for row in events)
        self._events += [
            # Of one whose series is unreadable the store knows the series, or none.
            row
            for row in events
            if self._is_tracked(row.series_ticker) or (row.rejected and "series_ticker" in row.kept)
        ]
        if len(self._events) >= BATCH_ROWS:
            await self._write_events()

    async def _take_markets(self, markets: Sequence[Market]) -> None:
        if not markets:
            return
        self._report.read("markets", len(markets))
        self.seen["markets"].update(row.ticker for row in markets)
        self._batch += await self._in_scope(markets)
        await self._write_whole_batches()

    async def _take_multivariate(self, rows: Rows) -> None:
        """A page of multivariate markets; those of a series out of scope are left out."""
        self._report.read("markets", len(rows.markets))
        seen_here = {row.ticker for row in rows.markets}
        seen_here |= {row.ticker for row in rows.rejected_rows if row.ticker}
        await self.multivariate.saw(seen_here)
        markets, events = await self.multivariate.placed(rows.markets)
        self._batch += [row for row in markets if self._is_tracked(row.series_ticker)]
        self._events += seen(
            [e for e in events if self._is_tracked(e.series_ticker)], rows.asked_at
        )
        await self._write_whole_batches()

    async def _write_whole_batches(self) -> None:
        while len(self._batch) >= BATCH_ROWS:
            part, self._batch = self._batch[:BATCH_ROWS], self._batch[BATCH_ROWS:]
            await self._write_events()
            await self._write_markets(part)

    async def _in_scope(self, markets: Sequence[Market]) -> Sequence[Market]:
        """The markets of tracked series. A listing of markets does not tell the series."""
        if not self._scope.restricted:
            return markets
        if self._series_of is None:
            await self._write_events()
            self._series_of = await self._log.series_of_events()
        known = self._series_of
        strangers = {m.event_ticker for m in markets if not m.series_ticker} - known.keys() - {""}
        known |= await self._adopt(sorted(strangers))
        return [
            row
            for row in markets
            if self._is_tracked(row.series_ticker or known.get(row.event_ticker))
            or (row.rejected and "event_ticker" in row.kept)
        ]

    def _is_tracked(self, series_ticker: str | None) -> bool:
        return not self._scope.restricted or series_ticker in self.tracked

    async def _place(self, orphans: Sequence[Market], watermarks: Sequence[Watermark]) -> None:
        await self._adopt(sorted({row.event_ticker for row in orphans}))
        result = await self._store.write_markets(orphans, self._moving(watermarks))
        if result.orphans:
            # They are named in the report; waiting for them would stop the others.
            await self._store.write_markets([], self._moving(watermarks))
        result.rejected_rows += [
            RejectedRow(row.ticker, f"markets: its event {row.event_ticker} is not known yet", "")
            for row in orphans
            if row.ticker in result.orphans
        ]
        result.orphans = set()
        self._report.wrote("markets", result)

    def _moving(self, watermarks: Sequence[Watermark]) -> Then | None:
        return partial(self._log.move, watermarks) if watermarks else None

    async def _adopt(self, tickers: Sequence[str]) -> dict[str, str]:
        """Fetch events that are not stored, and store those in scope; the series of each.

        An event that the exchange does not know (yet) becomes a stub, so that its markets have a
        place; whoever reads it first completes it.
        """
        found: list[Rows] = []
        unknown: list[str] = []
        async for part in Missing(self._rest).events(tickers):
            found += part.found
            unknown += part.unknown
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
                page = Page(items=[msgspec.structs.replace(wire, markets=None)], rejected_rows=[])
                found.append(event_rows(page, asked_at))
        for rows in found:
            await self._take_events(rows.events)
        self._events += seen([r for r in stubs if self._is_tracked(r.series_ticker)], asked_at)
        await self._write_events()
        events = [*stubs, *(row for rows in found for row in rows.events)]
        return {row.event_ticker: row.series_ticker for row in events}


def _facts(row: Series) -> SeriesFacts:
    return SeriesFacts(row.ticker, row.category, row.tags, row.is_game, row.volume, row.active)
