"""What a run reads of multivariate markets: their collections, and a place for each of them.

No listing of their events says which are over, so an event is made from what its market says: its
ticker, its collection, and by that its series. What the listings showed is remembered in a
temporary table: a million tickers would be most of the process's memory.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from ssmd_common.models import Collection, Event, Market
from ssmd_store.pages import Store
from ssmd_sync.report import Report
from ssmd_sync.runlog import QUERIES

COLLECTIONS: Final = "multivariate_collections"


class Multivariate:
    """Of one run; begin with `begin`."""

    def __init__(self, store: Store, report: Report) -> None:
        self._store = store
        self._report = report
        self._series_of: dict[str, str] = {}

    async def begin(self) -> None:
        """Forget what an earlier run of the session saw; know the collections that are stored."""
        await self._store.connection.execute(QUERIES.make_seen)
        await self._store.connection.execute(QUERIES.forget_seen)
        self._series_of = dict(await self._store.fetched(QUERIES.collections))

    async def collections(self, rows: Sequence[Collection]) -> None:
        """Write a page of collections."""
        self._report.read(COLLECTIONS, len(rows))
        self._series_of |= {row.collection_ticker: row.series_ticker for row in rows}
        self._report.wrote(COLLECTIONS, await self._store.write_collections(rows))

    async def saw(self, tickers: Iterable[str]) -> None:
        """Remember that listings have these."""
        async with (
            self._store.connection.cursor() as cursor,
            cursor.copy(QUERIES.add_seen) as copy,
        ):
            for ticker in tickers:
                await copy.write_row((ticker,))

    async def placed(self, markets: Sequence[Market]) -> tuple[list[Market], list[Event]]:
        """The markets, with their series where it is known, and those of their events that are not
        stored."""
        found = [
            msgspec.structs.replace(row, series_ticker=self._series_of.get(collection, ""))
            if (collection := row.mve_collection_ticker)
            else row
            for row in markets
        ]
        named = {row.event_ticker: row for row in found if row.series_ticker and row.event_ticker}
        stored = await self._store.fetched(QUERIES.stored_events, {"tickers": list(named)})
        for (ticker,) in stored:
            del named[ticker]
        events = [
            Event(
                event_ticker=ticker,
                series_ticker=row.series_ticker,
                mve_collection_ticker=row.mve_collection_ticker,
            )
            for ticker, row in named.items()
        ]
        return found, events

    async def unseen(self, began_at: datetime) -> tuple[list[tuple[str, str]], int]:
        """Of what is stored as not over, the tickers that no listing showed, each with its series;
        and how many there are in all."""
        given = {"began_at": began_at}
        unseen = await self._store.fetched(QUERIES.unseen_multivariate, given)
        [(count,)] = await self._store.fetched(QUERIES.live_multivariate, given)
        return [(ticker, series) for ticker, series in unseen], count

    async def events_of(self, tickers: Sequence[str]) -> list[str]:
        return [
            ticker
            for (ticker,) in await self._store.fetched(
                QUERIES.events_of, {"tickers": list(tickers)}
            )
        ]
