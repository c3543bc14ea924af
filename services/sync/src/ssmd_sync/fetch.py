"""The pages of a plan's scans, as rows of the published tables.

The next pages are asked for while the present ones are written. A page remembers when it was asked
for: that, not its arrival, is what its rows are an observation of.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeVar, assert_never

from ssmd_common.models import Collection, Market, RejectedRow, Series
from ssmd_common.tasks import end
from ssmd_kalshi import convert, markets
from ssmd_kalshi.pages import Page
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.wire import WireCollection, WireEvent, WireMarket, WireRow, WireSeries
from ssmd_store.observed import SeenEvent, seen
from ssmd_sync.plan import CollectionScan, EventScan, MarketScan, Scan, SeriesScan

W = TypeVar("W", bound=WireRow)

AHEAD_ROWS: Final = 5_000
"""Rows that wait for the database: about as many as arrive while a batch is written."""


@dataclass(slots=True)
class Rows:
    """One page."""

    asked_at: datetime
    series: list[Series] = field(default_factory=list)
    events: list[SeenEvent] = field(default_factory=list)
    collections: list[Collection] = field(default_factory=list)
    markets: list[Market] = field(default_factory=list)
    multivariate: bool = False
    """The markets are all multivariate."""
    rejected_rows: list[RejectedRow] = field(default_factory=list)
    short: bool = False
    """The exchange may have left rows out."""
    first: bool = False
    """It is the first page of its scan."""

    @property
    def count(self) -> int:
        return len(self.series) + len(self.events) + len(self.collections) + len(self.markets)

    def changed_at(self, what: str) -> datetime | None:
        """The latest time, by the exchange, of what the page shows; none of what is multivariate,
        which has resume points of its own."""
        if self.multivariate:
            return None
        rows: Iterable[Series | SeenEvent | Market] = getattr(self, what)
        times = [row.exchange_updated_at for row in rows]
        return max((moment for moment in times if moment), default=None)


@asynccontextmanager
async def reading(rest: KalshiRest, scans: Sequence[Scan]) -> AsyncIterator[AsyncIterator[Rows]]:
    """The rows of scans, page by page, read ahead; errors of `ssmd_kalshi` come out in place."""
    queue: asyncio.Queue[Rows | BaseException | None] = asyncio.Queue()
    waiting = 0
    room = asyncio.Event()

    async def produce() -> None:
        nonlocal waiting
        try:
            for scan in scans:
                first = True
                async for rows in _rows(rest, scan):
                    rows.first, first = first, False
                    queue.put_nowait(rows)
                    waiting += rows.count
                    # A page of events has a few markets or thousands: what counts is rows.
                    while waiting >= AHEAD_ROWS:
                        room.clear()
                        await room.wait()
        except Exception as error:
            queue.put_nowait(error)
        else:
            queue.put_nowait(None)

    async def consume() -> AsyncIterator[Rows]:
        nonlocal waiting
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            waiting -= item.count
            room.set()
            yield item

    producer = asyncio.create_task(produce(), name="read-ahead")
    try:
        yield consume()
    finally:
        await end(producer)


async def _rows(rest: KalshiRest, step: Scan) -> AsyncIterator[Rows]:
    match step:
        case SeriesScan():
            asked_at = datetime.now(UTC)
            page = await rest.series(
                category=step.category,
                tags=step.tags or None,
                include_volume=step.volume,
                include_product_metadata=True,
                min_updated_ts=_seconds(step.since),
            )
            yield series_rows(page, asked_at)
        case EventScan():
            events = rest.events(
                status=step.status,
                series_ticker=step.series,
                min_updated_ts=_seconds(step.since),
                with_nested_markets=step.status is not None,
            )
            async for asked_at, event_page in _timed(events):
                yield event_rows(event_page, asked_at)
        case CollectionScan():
            collections = rest.collections(status="open" if step.only_open else None)
            async for asked_at, collection_page in _timed(collections):
                yield collection_rows(collection_page, asked_at)
        case MarketScan():
            since = _seconds(step.since)
            markets = rest.markets(
                status=step.status,
                series_ticker=step.series,
                min_settled_ts=since if step.status == "settled" else None,
                min_close_ts=since if step.status == "closed" else None,
                min_updated_ts=since if step.status is None and not step.multivariate else None,
                min_created_ts=since if step.status is None and step.multivariate else None,
                mve_filter="only" if step.multivariate else "exclude",
            )
            async for asked_at, market_page in _timed(markets):
                rows = market_rows(market_page, asked_at)
                rows.multivariate = step.multivariate
                yield rows
        case _:
            assert_never(step)


def series_rows(page: Page[WireSeries], asked_at: datetime) -> Rows:
    series, rejected = convert.readable(page.items, convert.series)
    return Rows(
        asked_at, series=series, rejected_rows=page.rejected_rows + rejected, short=page.short
    )


def event_rows(page: Page[WireEvent], asked_at: datetime) -> Rows:
    """Events, and the markets inside them."""
    events, rejected = convert.readable(page.items, convert.event)
    rows = Rows(asked_at, rejected_rows=page.rejected_rows + rejected, short=page.short)
    rows.events = seen(events, asked_at)
    series_of = {event.event_ticker: event.series_ticker for event in events}
    for wire in page.items:
        if wire.markets:
            series = series_of.get(wire.event_ticker, "")
            listed, rejected = convert.readable(
                wire.markets,
                lambda w, series=series: markets.market(w, series, asked_at),  # type: ignore[misc]
            )
            rows.markets += listed
            rows.rejected_rows += rejected
    return rows


def collection_rows(page: Page[WireCollection], asked_at: datetime) -> Rows:
    collections, rejected = convert.readable(page.items, convert.collection)
    return Rows(
        asked_at,
        collections=collections,
        rejected_rows=page.rejected_rows + rejected,
        short=page.short,
    )


def market_rows(page: Page[WireMarket], asked_at: datetime) -> Rows:
    """Markets without their series: the store takes it from their event."""
    listed, rejected = convert.readable(page.items, lambda w: markets.market(w, "", asked_at))
    return Rows(
        asked_at, markets=listed, rejected_rows=page.rejected_rows + rejected, short=page.short
    )


async def _timed(pages: AsyncIterator[Page[W]]) -> AsyncIterator[tuple[datetime, Page[W]]]:
    while True:
        asked_at = datetime.now(UTC)
        try:
            page = await anext(pages)
        except StopAsyncIteration:
            return
        yield asked_at, page


def _seconds(moment: datetime | None) -> int | None:
    # Lower bounds are exclusive and whole seconds: one below includes the second itself.
    return None if moment is None else int(moment.timestamp()) - 1
