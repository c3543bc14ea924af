"""What REST shows of single series, events and markets, into PostgreSQL.

For what messages leave open: the rest of a new market's fields, and whatever a gap may have hidden.
Whole universes are the sync service's; both write through `ssmd_store.pages`.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, LiteralString

import msgspec
import structlog

from ssmd_common import models
from ssmd_kalshi import convert, markets
from ssmd_kalshi.errors import (
    BadFieldError,
    BadRequestError,
    BrokenReplyError,
    NotFoundError,
    RefusedError,
)
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.unread import ticker_fault
from ssmd_kalshi.wire import WireEvent, WireMarket
from ssmd_lifecycle import metrics
from ssmd_lifecycle.transactions import queries
from ssmd_store.observed import seen
from ssmd_store.pages import Store
from ssmd_store.sessions import Sessions
from ssmd_store.written import Written

log = structlog.get_logger(__name__)

UNREADABLE: Final = (BadFieldError, BadRequestError, RefusedError, BrokenReplyError)
"""What is wrong with one row that was asked for alone."""
BELIEVED_BROKEN: Final = 3
"""Readings, each with all its retries, after which a broken reply is the row's fault."""
_MOST_BROKEN: Final = 10_000


@dataclass(slots=True)
class Upserted:
    """What a page of REST changed."""

    changed: int = 0
    transitions: Counter[str] = field(default_factory=Counter)
    observed: Sequence[models.Market] = ()
    """All that could be read, changed or not."""


class RestUpserter:
    """Reads parents where they are missing, and writes only what differs and is newer.

    A field that cannot be read costs itself: a stored row keeps its value, a new one has NULL. A
    row that cannot be read or has no place is rejected, the others of its page are written.
    """

    def __init__(self, sessions: Sessions, rest: KalshiRest) -> None:
        self._sessions = sessions
        self._rest = rest
        self._broken: Counter[str] = Counter()

    async def upsert_markets(self, wires: Sequence[WireMarket], asked_at: datetime) -> Upserted:
        """Write markets as REST showed them when it was asked at `asked_at`."""
        if not wires:
            return Upserted()
        parents = {t for w in wires if (t := w.event_ticker) and not ticker_fault(t)}
        known = await self._found(queries.known_events, parents)
        if missing := parents - known.keys():
            await self.fetch_events(missing)
        # Those whose event_ticker cannot be read stay with the stored one.
        lost = [wire.ticker for wire in wires if ticker_fault(wire.event_ticker)]
        stored = await self._found(queries.locate_markets, lost)
        rows, unreadable = convert.readable(wires, lambda w: markets.market(w, "", asked_at))
        rows = [
            msgspec.structs.replace(
                row, event_ticker=row.event_ticker or stored.get(row.ticker, "")
            )
            for row in rows
        ]
        async with self._store() as store:
            written = await store.write_markets(rows)
        written.rejected_rows += unreadable
        _report("market", written)
        unwritten = written.orphans | {row.ticker for row in written.rejected_rows}
        transitions = written.became + Counter(created=written.inserted)
        for status, count in transitions.items():
            metrics.TRANSITIONS.labels("rest", status).inc(count)
        return Upserted(
            written.inserted + written.updated,
            transitions,
            [row for row in rows if row.ticker not in unwritten],
        )

    async def fetch_markets(self, tickers: Sequence[str]) -> set[str]:
        """Read one of the `chunks` of markets over REST and write them; those that it knows."""
        asked_at = datetime.now(UTC)
        if is_listable(tickers[0]):
            found: set[str] = set()
            async for page in self._rest.markets(tickers=tickers):
                await self.upsert_markets(page.items, asked_at)
                found |= {wire.ticker for wire in page.items}
            return found
        try:
            await self.upsert_markets([await self._rest.market(tickers[0])], asked_at)
        except (NotFoundError, *UNREADABLE) as error:
            log.info("market cannot be read", ticker=tickers[0], error=str(error))
            return set()
        return {tickers[0]}

    async def fetch_events(self, tickers: Iterable[str]) -> set[str]:
        """Read events over REST and write them; those that the exchange knows."""
        found: set[str] = set()
        for chunk in chunks(sorted(ticker for ticker in tickers if is_listable(ticker))):
            asked_at = await self.now()
            async for page in self._rest.events(tickers=chunk):
                found |= await self.upsert_events(page.items, asked_at)
        # The listing leaves multivariate events out; single reads know them.
        for ticker in sorted(set(tickers) - found):
            asked_at = await self.now()
            try:
                event = await self._rest.event(ticker, with_nested_markets=False)
            except NotFoundError:
                continue
            except UNREADABLE as error:
                self._give_up(ticker, error)
                _rejected("event", ticker, str(error))
                continue
            found |= await self.upsert_events([event], asked_at)
        return found

    async def upsert_events(self, wires: Sequence[WireEvent], asked_at: datetime) -> set[str]:
        """Write events as REST showed them when it was asked at `asked_at`, by the database's
        clock; those that could be read."""
        rows, unreadable = convert.readable(wires, convert.event)
        await self._complete_series({row.series_ticker for row in rows} - {""})
        async with self._store() as store:
            written = await store.write_events(seen(rows, asked_at))
        written.rejected_rows += unreadable
        _report("event", written)
        return {row.event_ticker for row in rows} - {row.ticker for row in written.rejected_rows}

    async def now(self) -> datetime:
        """The database's time, by which it is known when an event was last written."""
        async with self._sessions.borrow() as store:
            [(now,)] = await store.fetched("SELECT clock_timestamp()")
        return now  # type: ignore[no-any-return]

    async def _complete_series(self, tickers: set[str]) -> None:
        complete = await self._found(queries.complete_series, tickers)
        rows = []
        for ticker in sorted(tickers - complete.keys()):
            try:
                rows.append(convert.series(await self._rest.one_series(ticker)))
            except (NotFoundError, *UNREADABLE) as error:
                self._give_up(ticker, error)
                metrics.ERRORS.labels("series_rejected").inc()
                log.warning("series stays a stub", series=ticker, error=str(error))
        if rows:
            async with self._store() as store:
                _report("series", await store.write_series(rows))

    def _give_up(self, ticker: str, error: Exception) -> None:
        """Raise an error that may pass; one reply that stays broken keeps nothing else waiting."""
        if isinstance(error, BrokenReplyError):
            if len(self._broken) > _MOST_BROKEN:
                self._broken.clear()
            self._broken[ticker] += 1
            if self._broken[ticker] < BELIEVED_BROKEN:
                raise error

    async def _found(self, query: LiteralString, tickers: Iterable[str]) -> dict[str, Any]:
        """Those of some tickers that a query knows, with what it says of each."""
        if not (wanted := sorted(tickers)):
            return {}
        async with self._sessions.borrow() as store:
            return dict(await store.fetched(query, [wanted]))

    @asynccontextmanager
    async def _store(self) -> AsyncIterator[Store]:
        """To write through."""
        async with self._sessions.borrow() as store:
            await store.follow_schema()
            yield store


def _report(entity: str, written: Written) -> None:
    """Log the rows and fields that were not written."""
    for row in written.rejected_rows:
        _rejected(entity, row.ticker, row.reason)
    for ticker in sorted(written.orphans):
        _rejected(entity, ticker, "its event is not known")
    for rejected in written.rejected:
        field_, reason = rejected.field.field, rejected.field.reason
        log.warning(
            "field rejected", entity=entity, ticker=rejected.ticker, field=field_, reason=reason
        )


def _rejected(entity: str, ticker: str | None, reason: str) -> None:
    metrics.ERRORS.labels(f"{entity}_rejected").inc()
    log.warning("row rejected", entity=entity, ticker=ticker, reason=reason)


MAX_TICKERS: Final = 100


def is_listable(ticker: str) -> bool:
    """Whether a listing can be asked for it; a comma would ask for two others."""
    return "," not in ticker


def chunks(tickers: Iterable[str]) -> Iterator[list[str]]:
    """As many tickers as one request may name; those that no listing can be asked for, alone."""
    tickers = list(tickers)
    listable = [ticker for ticker in tickers if is_listable(ticker)]
    for start in range(0, len(listable), MAX_TICKERS):
        yield listable[start : start + MAX_TICKERS]
    yield from ([ticker] for ticker in tickers if not is_listable(ticker))
