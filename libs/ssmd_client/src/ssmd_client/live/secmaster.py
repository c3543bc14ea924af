"""The live view: `async with Secmaster.connect(url, key) as secmaster`.

snapshot → picture → follow the changes → where it breaks off, go on; where that cannot be, renew
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, cast

from ssmd_client import rows
from ssmd_client.decoding import decode
from ssmd_client.errors import (
    Closed,
    MarketNotActive,
    MarketNotFound,
    NotFound,
    SecmasterError,
    Unreachable,
)
from ssmd_client.live.compact import READERS, NotARow
from ssmd_client.live.fees import Costs
from ssmd_client.live.follower import EpochEnded, Follower, Refetch, SnapshotDue
from ssmd_client.live.messages import Change, Message, Renewed
from ssmd_client.live.picture import Key, Picture
from ssmd_client.live.readers import Changes, Readers, Wanted, log
from ssmd_client.live.scope import Scope
from ssmd_client.live.source import Batch, Gone, Interrupted, RawRow, Source, Start
from ssmd_common.status import MarketStatus

Names = str | Collection[str]

QUEUE: Final = 10_000
_FIRST_WAIT_SECONDS: Final = 0.25
_LONGEST_WAIT_SECONDS: Final = 15.0
_PATIENCE_SECONDS: Final = 60.0
_AT_ONCE: Final = 2000
"""Rows of a snapshot that are taken over before others get their turn."""
_ORDER: Final = [str(status) for status in MarketStatus]


@dataclass(frozen=True, slots=True)
class Age:
    """How old the picture is. `seconds`: since it was last known to hold all that was committed.

    `is_following` is false while the server is away and is tried again; then `why` says what is the
    matter. `sequence` and `position` are the last message's in the change stream.
    """

    seconds: float
    is_following: bool
    why: str | None
    sequence: int
    position: str
    renewals: int


class Secmaster:
    """A picture of the secmaster in memory that is always current. Made by `connect`."""

    def __init__(self, source: Source, scope: Scope) -> None:
        self._source = source
        self._picture = Picture(scope)
        self._follower: Follower | None = None
        self._readers = Readers()
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._why: str | None = "it has not begun"
        self._known_at = 0.0
        self._sequence = 0
        self._renewals = -1
        self._unread_until = 0
        # The dictionary itself: a method of ours before it would cost as much again.
        self._get = self._picture.markets.get

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        url: str,
        key: str,
        *,
        series: Names | None = None,
        categories: Collection[str] | None = None,
        patience_seconds: float | None = _PATIENCE_SECONDS,
        ca_file: str | None = None,
    ) -> AsyncIterator["Secmaster"]:
        """A live view over HTTP; ready when the block begins, followed until it ends.

        `series` or `categories` bound what it holds. `patience_seconds` is how long the server may
        be away at the beginning; None waits for ever. Later it is waited for in any case.

        Raises:
            Unreachable: the server did not answer within that time.
            Unauthorized, Forbidden, BadParameter, NotTheApi, ServerTooOld: trying again is no use.
                Later, too: then the block ends with Closed.
        """
        from ssmd_client.live.overhttp import HttpSource

        scope = Scope.of(series, categories)
        view = cls(HttpSource(url, key, scope, ca_file=ca_file), scope)
        async with view._running(patience_seconds):
            yield view

    @classmethod
    @asynccontextmanager
    async def connect_directly(
        cls,
        database_url: str,
        nats_url: str,
        *,
        series: Names | None = None,
        categories: Collection[str] | None = None,
        patience_seconds: float | None = _PATIENCE_SECONDS,
        application: str = "ssmd-client",
        **settings: Any,
    ) -> AsyncIterator["Secmaster"]:
        """The same from PostgreSQL and NATS, as services of ours have it; needs
        `ssmd-client[direct]`. `settings` are more of docs/settings.md by their small names."""
        from ssmd_client.live.directly import DirectSettings, DirectSource

        scope = Scope.of(series, categories)
        found = DirectSettings(database_url=database_url, nats_url=nats_url, **settings)
        view = cls(DirectSource(found, scope, application), scope)
        async with view._running(patience_seconds):
            yield view

    # What is known now.

    def get(self, ticker: str) -> rows.Market | None:
        """A market, None where it is not known; one that was removed has `deleted_at`."""
        return self._get(ticker)

    def require_active(self, ticker: str) -> rows.Market:
        """A market that trades now.

        Raises:
            MarketNotFound: there is no such market in the picture, or it was removed.
            MarketNotActive: it does not trade; `status` says what it is.
        """
        market = self._get(ticker)
        if market is None or market.deleted_at is not None:
            raise MarketNotFound(ticker)
        if market.status != MarketStatus.ACTIVE:
            raise MarketNotActive(ticker, market.status)
        return market

    def find(
        self,
        *,
        series: Names = (),
        event: str | None = None,
        category: Names = (),
        status: Names = (),
        tag: Names = (),
        closing_within: timedelta | None = None,
        closing_after: datetime | None = None,
        closing_before: datetime | None = None,
        is_game: bool | None = None,
    ) -> list[rows.Market]:
        """The markets that fit all of it, removed ones aside, in no order.

        As in the API `status` open means not yet closed: open or active; `category` is the event's,
        else the series'. With one of `closing_…` only what is not yet closed fits.
        """
        closing = None
        if closing_within is not None:
            closing_after = closing_after or datetime.now(UTC)
            closing_before = closing_before or datetime.now(UTC) + closing_within
        if closing_after is not None or closing_before is not None:
            closing = (closing_after, closing_before)
        return list(
            self._picture.find(
                series=_several(series),
                event=event,
                categories=_several(category),
                statuses=_several(status),
                tags=_several(tag),
                closing=closing,
                is_game=is_game,
            )
        )

    def event(self, ticker: str) -> rows.Event | None:
        """An event, None where it is not known."""
        return self._picture.events.get(ticker)

    def series(self, ticker: str) -> rows.Series | None:
        """A series, None where it is not known."""
        return self._picture.series.get(ticker)

    def category(self, market: rows.Market) -> str | None:
        """A market's: its event's, else its series'."""
        return self._picture.category_of(market)

    @property
    def markets(self) -> Collection[rows.Market]:
        """Every market in the picture, removed ones too."""
        return self._picture.markets.values()

    @property
    def events(self) -> Collection[rows.Event]:
        """Every event in the picture."""
        return self._picture.events.values()

    def fee(
        self,
        ticker: str,
        side: Literal["taker", "maker"],
        price: Decimal | str,
        count: Decimal | str | int = 1,
        *,
        tier: str = "default",
        at: datetime | None = None,
    ) -> Decimal | None:
        """What a fill of `count` contracts at `price` dollars costs who takes, or makes: dollars.

        As the API computes it, but for an event's own fee, which goes before its series'. None
        where no fee is known.

        Raises:
            MarketNotFound: the market is not in the picture.
            ValueError: the price is not between 0 and 1, or the count negative.
        """
        market = self._get(ticker)
        if market is None:
            raise MarketNotFound(ticker)
        moment = at or datetime.now(UTC)
        cost = Costs(self._picture).of(market, Decimal(price), Decimal(count), tier, moment)
        return cost and (cost.taker_dollars if side == "taker" else cost.maker_dollars)

    async def load(self, ticker: str) -> rows.Market:
        """A market with every column, as the server has it now: rules and `extra`, too.

        Raises:
            MarketNotFound: there is none.
            Unreachable: the server does not answer.
        """
        try:
            row = await self._source.row("markets", {"ticker": ticker}, whole=True)
        except Interrupted as error:
            raise Unreachable(str(error)) from error
        if row is None:
            raise MarketNotFound(ticker)
        return decode(row, rows.Market)

    # What changes.

    def changes(
        self,
        *,
        series: Names = (),
        event: str | None = None,
        market: str | None = None,
        table: Names = (),
        type: Names = (),  # noqa: A002 - the stream's own word
        queue: int = QUEUE,
    ) -> Changes:
        """An async iterator of what changes from this call on: exactly what the picture does not
        show yet. Beside `Change` it gives `Renewed` and `Missed` (`ssmd_client.live.messages`).

        With a series, event or market only changes of rows that have it; `Renewed` and `Missed` are
        told in any case. At most `queue` items wait.
        """
        wanted = Wanted(
            series=frozenset(_several(series)),
            event=event,
            market=market,
            tables=frozenset(_several(table)),
            types=frozenset(_several(type)),
        )
        return self._readers.join(wanted, queue)

    def on(self, type: Names, call: Callable[[Any], None]) -> Callable[[], None]:  # noqa: A002
        """Have `call` called with each change of a type (`renewed` and `*` for all, too), right
        after the picture shows it. It must not block; what it raises is logged. What is returned
        ends it."""
        return self._readers.on(_several(type), call)

    async def wait_until(
        self, ticker: str, status: str, *, timeout_seconds: float | None = None
    ) -> rows.Market:
        """The market, once its status is this or a later one (open, active, closed, settled).

        Raises:
            MarketNotFound: it is not in the picture, or was removed meanwhile.
            TimeoutError: it took longer.
            Closed: the view ended meanwhile.
        """
        wanted = _ORDER.index(status)
        woken = asyncio.Event()
        self._waiting.setdefault(ticker, set()).add(woken)
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    market = self._get(ticker)
                    if market is None or market.deleted_at is not None:
                        raise MarketNotFound(ticker)
                    if _ORDER.index(market.status) >= wanted:
                        return market
                    self._require_running()
                    woken.clear()
                    await woken.wait()
        finally:
            self._waiting[ticker].discard(woken)
            if not self._waiting[ticker]:
                del self._waiting[ticker]

    @property
    def age(self) -> Age:
        """How old the picture is."""
        return Age(
            seconds=max(time.time() - self._known_at, 0.0),
            is_following=self._why is None,
            why=self._why,
            sequence=self._sequence,
            position=str(self._follower.reached) if self._follower else "",
            renewals=max(self._renewals, 0),
        )

    # How it is kept.

    @asynccontextmanager
    async def _running(self, patience_seconds: float | None) -> AsyncIterator[None]:
        self._task = asyncio.create_task(self._run(), name="ssmd live view")
        try:
            await self._begun(self._task, patience_seconds)
            yield
            self._require_running()
        finally:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._readers.end(None)
            await self._source.close()

    async def _begun(self, task: "asyncio.Task[None]", patience_seconds: float | None) -> None:
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait(
                {task, ready}, timeout=patience_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ready.cancel()
        if task.done():
            # It only ends by an error.
            task.result()
        if not self._ready.is_set():
            raise Unreachable(f"not ready within {patience_seconds:g} s: {self._why}")

    def _require_running(self) -> None:
        if self._task is not None and self._task.done() and not self._task.cancelled():
            error = self._task.exception()
            raise Closed(f"the live view has ended: {error}") from error

    async def _run(self) -> None:
        """Until it is cancelled, or cannot go on."""
        try:
            await self._keep_current()
        except SecmasterError as error:
            self._end(error)
            raise
        except Exception as error:
            log.exception("the live view failed")
            self._end(error)
            raise

    async def _keep_current(self) -> None:
        reason: str | None = "it was connected"
        failures = 0
        while True:
            try:
                if reason is not None:
                    await self._renew(reason)
                    reason = None
                async with aclosing(cast(Any, self._source.follow())) as batches:
                    async for batch in batches:
                        failures = 0
                        await self._take(batch)
            except Gone as error:
                reason = str(error)
                self._lost(reason)
            except SnapshotDue as error:
                reason = str(error)
                self._lost(reason)
            except Interrupted as error:
                self._lost(str(error))
                failures += 1
                wait = min(_FIRST_WAIT_SECONDS * 2.0 ** (failures - 1), _LONGEST_WAIT_SECONDS)
                wait = max(wait, error.wait_seconds or 0.0)
                # Of many programs that lost one server, not all come again at once.
                await asyncio.sleep(wait * random.uniform(0.75, 1.25))  # noqa: S311

    def _lost(self, reason: str) -> None:
        if self._why is None:
            log.info("the live view is not current: %s", reason)
        self._why = reason

    async def _renew(self, reason: str) -> None:
        """Read everything anew, into the picture that there is: each row of it is right for its
        time all the while."""
        picture = self._picture
        seen: dict[str, set[Key]] = {table: set() for table in picture.tables}
        differences = dict.fromkeys(picture.tables, 0)
        start: Start | None = None
        async with aclosing(cast(Any, self._source.snapshot())) as parts:
            async for part in parts:
                if isinstance(part, Start):
                    start = part
                    continue
                for at in range(0, len(part), _AT_ONCE):
                    self._take_over(part[at : at + _AT_ONCE], seen, differences)
                    await asyncio.sleep(0)
        if start is None:
            raise Interrupted("the snapshot has no beginning")
        for table, keys in seen.items():
            for key in [key for key in picture.tables[table] if key not in keys]:
                picture.remove(table, key)
                differences[table] += 1
        picture.is_lacking = False
        self._follower = Follower(picture, start.snapshot)
        self._sequence = start.sequence
        self._known_at = time.time()
        self._renewals += 1
        if self._renewals:
            self._tell_renewed(reason, differences)

    def _take_over(
        self, part: list[RawRow], seen: dict[str, set[Key]], differences: dict[str, int]
    ) -> None:
        for table, raw in part:
            try:
                row = READERS[table].read(raw)
            except NotARow as error:
                # It stays as it was, as the stream's own readers keep it.
                log.warning("a row of %s cannot be read: %s", table, error)
                continue
            before, now = self._picture.put(table, row)
            if now is not None:
                seen[table].add(self._picture.key(table, row))
            if before != now:
                differences[table] += 1

    async def _take(self, batch: Batch) -> None:
        for message in batch.messages:
            await self._apply(message)
        self._sequence = batch.reached
        if batch.is_current:
            self._known_at = time.time()
        self._why = None
        self._ready.set()

    async def _apply(self, message: Message) -> None:
        assert self._follower is not None
        try:
            change = self._follower.apply(message)
        except Refetch as missing:
            row = await self._source.row(missing.news.table, missing.key)
            change = self._follower.replace(missing, message, row)
        except EpochEnded as error:
            self._renewals += 1
            self._sequence = message.sequence
            self._tell_renewed(str(error), error.differences)
            return
        except SnapshotDue:
            if message.sequence <= self._unread_until:
                # The snapshot that was taken for it joined the stream before it.
                return
            self._unread_until = message.sequence
            raise
        if change is None:
            return
        self._sequence = message.sequence
        if change.at is not None:
            self._known_at = max(self._known_at, change.at.timestamp())
        self._wake(change)
        self._readers.tell(change)

    def _wake(self, change: Change) -> None:
        if change.table == "markets" and self._waiting:
            row = change.row if change.row is not None else change.before
            if row is None:
                self._wake_all()
                return
            for each in self._waiting.get(row.ticker, ()):
                each.set()

    def _wake_all(self) -> None:
        for several in self._waiting.values():
            for each in several:
                each.set()

    def _tell_renewed(self, reason: str, differences: dict[str, int]) -> None:
        log.info("the live view was renewed: %s", reason)
        self._wake_all()
        self._readers.tell(
            Renewed(
                reason=reason,
                at=datetime.now(UTC),
                sequence=self._sequence,
                differences={table: count for table, count in differences.items() if count},
            )
        )

    def _end(self, error: Exception) -> None:
        self._lost(str(error))
        self._readers.end(error)
        self._wake_all()


def _several(names: Names) -> Collection[str]:
    return (names,) if isinstance(names, str) else names
