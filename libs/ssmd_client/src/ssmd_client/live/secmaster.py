"""The live view: `async with Secmaster.connect(url, key) as secmaster`."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

from ssmd_client import rows
from ssmd_client.decoding import decode
from ssmd_client.errors import MarketNotActive, MarketNotFound, Unreachable
from ssmd_client.live.fees import cost
from ssmd_client.live.keeper import Age, Keeper
from ssmd_client.live.picture import Picture
from ssmd_client.live.readers import Changes, Wanted
from ssmd_client.live.scope import Scope
from ssmd_client.live.source import Interrupted, Source
from ssmd_common.status import MarketStatus

if TYPE_CHECKING:
    from ssmd_client.live.directly import ServerSettings

Names = str | Collection[str]

QUEUE: Final = 10_000
"""Items that wait for a reader of changes at most."""
_PATIENCE_SECONDS: Final = 60.0
_ORDER: Final = [str(status) for status in MarketStatus]


class Secmaster:
    """A picture of the secmaster in memory that is always current. Made by `connect`."""

    def __init__(self, source: Source, scope: Scope) -> None:
        self._source = source
        self._picture = Picture(scope)
        self._keeper = Keeper(source, self._picture)
        # The dictionary's own method: one of ours before it would cost as much again.
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
        multivariate: bool = False,
        patience_seconds: float | None = _PATIENCE_SECONDS,
        ca_file: str | None = None,
    ) -> AsyncIterator["Secmaster"]:
        """A live view over HTTP; ready when the block begins, followed until it ends.

        `series` or `categories` bound what it holds, and multivariate markets are left out unless
        `multivariate` says otherwise. `patience_seconds` is how long the server may
        be away at the beginning; None waits for ever. Later it is waited for in any case.

        Raises:
            Unreachable: the server did not answer within that time.
            Unauthorized, Forbidden, BadParameter, NotTheApi, ServerTooOld: trying again is no use.
                Later, too: then the block ends with Closed.
        """
        from ssmd_client.live.overhttp import HttpSource

        scope = Scope.of(series, categories, multivariate=multivariate)
        view = cls(HttpSource(url, key, scope, ca_file=ca_file), scope)
        async with view._keeper.running(patience_seconds):
            yield view

    @classmethod
    @asynccontextmanager
    async def connect_directly(
        cls,
        settings: "ServerSettings",
        *,
        series: Names | None = None,
        categories: Collection[str] | None = None,
        multivariate: bool = False,
        patience_seconds: float | None = _PATIENCE_SECONDS,
        application: str = "ssmd-client",
    ) -> AsyncIterator["Secmaster"]:
        """The same from PostgreSQL and NATS, as services of ours have it, which never call the API;
        needs `ssmd-client[direct]`. `settings` are a service's own, or `ServerSettings` with
        `database_url` and `nats_url`; connections are named for `application`.

        Raises:
            Unreachable: a server did not answer within that time.
        """
        from ssmd_client.live.directly import DirectSource

        scope = Scope.of(series, categories, multivariate=multivariate)
        view = cls(DirectSource(settings, scope, application), scope)
        async with view._keeper.running(patience_seconds):
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
        found = cost(self._picture, market, Decimal(price), Decimal(count), tier, moment)
        if found is None:
            return None
        return found.taker_dollars if side == "taker" else found.maker_dollars

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
        return self._keeper.readers.join(wanted, queue)

    def on(self, type: Names, call: Callable[[Any], None]) -> Callable[[], None]:  # noqa: A002
        """Have `call` called with each change of a type (`renewed` and `*` for all, too), right
        after the picture shows it. It must not block; what it raises is logged. What is returned
        ends it."""
        return self._keeper.readers.on(_several(type), call)

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

        def reached() -> rows.Market | None:
            market = self._get(ticker)
            if market is None or market.deleted_at is not None:
                raise MarketNotFound(ticker)
            return market if _ORDER.index(market.status) >= wanted else None

        return await self._keeper.wait(ticker, reached, timeout_seconds)

    @property
    def age(self) -> Age:
        """How old the picture is."""
        return self._keeper.age


def _several(names: Names) -> Collection[str]:
    return (names,) if isinstance(names, str) else names
