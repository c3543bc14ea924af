"""The live view of the secmaster, with little of each row: warmed from PostgreSQL, followed on
SECMASTER_CDC, never over the API, and no request for a market."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from ssmd_client.errors import SecmasterError
from ssmd_client.live.directly import DirectSource
from ssmd_client.live.keeper import Keeper
from ssmd_client.live.messages import Change
from ssmd_client.live.picture import Picture
from ssmd_client.live.readers import Wanted
from ssmd_client.live.scope import Scope
from ssmd_common.health import Health
from ssmd_common.sparing import give_back_memory
from ssmd_common.status import MarketStatus
from ssmd_connector.scope import MarketFacts
from ssmd_connector.settings import ConnectorSettings

_LOOK_SECONDS: Final = 2.0
_AGAIN_SECONDS: Final = 15.0
_UNKNOWN: Final = (None, None)
_NOTHING: Final = Wanted(types=frozenset({"none"}))
"""Only of the view's end."""

Listener = Callable[[str | None], None]
"""Told the ticker of a market that has changed; None: any may have."""

log = structlog.get_logger(__name__)


class Market(msgspec.Struct, frozen=True, gc=False):
    """What the connector knows of a market."""

    ticker: str
    event_ticker: str
    series_ticker: str
    status: str
    close_time: datetime | None
    deleted_at: datetime | None
    volume_24h: int | None
    mve_collection_ticker: str | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """What it knows of an event."""

    event_ticker: str
    series_ticker: str
    category: str | None
    mve_collection_ticker: str | None = None


class Series(msgspec.Struct, frozen=True):
    """What it knows of a series."""

    ticker: str
    category: str | None
    tags: list[str] | None
    is_game: bool | None
    volume: int | None


_KEPT: Final[dict[str, type[Any]]] = {"markets": Market, "events": Event, "series": Series}


class SlimPicture(Picture):
    """A picture that holds of each row only what decides here: a fifth of the memory."""

    def put(self, table: str, row: Any) -> tuple[Any, Any]:
        kind = _KEPT.get(table)
        if kind is None:
            return None, None
        return super().put(table, kind(*(getattr(row, name) for name in kind.__struct_fields__)))


class LiveView:
    """`run` keeps it current; until it is there nothing is known, and nothing fails."""

    def __init__(self, settings: ConnectorSettings, health: Health) -> None:
        self._settings = settings
        self._health = health
        self._listeners: list[Listener] = []
        self._scope = Scope(multivariate=settings.connector_multivariate)
        self.picture = SlimPicture(self._scope)
        self._get = self.picture.markets.get
        self.is_ready = False
        """Whether it was whole once."""

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Be told of changes right after the view shows them; what is returned ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def of(self, ticker: str) -> tuple[str | None, str | None]:
        """Series and event of a market; None for both while they are not known."""
        found: Any = self._get(ticker)
        return _UNKNOWN if found is None else (found.series_ticker, found.event_ticker)

    def market(self, ticker: str) -> Market | None:
        """A market, None where it is not known."""
        found: Any = self._get(ticker)
        return found  # type: ignore[no-any-return]

    def series_of(self, market: MarketFacts) -> Series | None:
        """A market's series, None where it is not known."""
        found: Any = self.picture.series.get(market.series_ticker)
        return found  # type: ignore[no-any-return]

    def category_of(self, market: MarketFacts) -> str | None:
        """Its event's, else its series'."""
        kept: Any = market
        return self.picture.category_of(kept)

    def trading(self) -> list[Market]:
        """The active markets, removed ones aside."""
        found: Any = self.picture.find(statuses=[MarketStatus.ACTIVE])
        return list(found)

    def names(self) -> tuple[set[str], set[str], set[str]]:
        """Categories, series and tags that there are."""
        series: Iterable[Any] = self.picture.series.values()
        categories = {one.category for one in series} | {
            one.category for one in self.picture.events.values()
        }
        tags = {tag for one in series for tag in one.tags or ()}
        return {name for name in categories if name}, set(self.picture.series), tags

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self._keep()
            except SecmasterError as error:
                self._health.degrade("secmaster", f"the live view of the secmaster ended: {error}")
                log.warning("the live view ended and begins anew", reason=str(error))
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _keep(self) -> None:
        settings: Any = self._settings
        keeper = Keeper(DirectSource(settings, self._scope, "ssmd-connector-view"), self.picture)
        keeper.readers.on(["*"], self._tell)
        watching = asyncio.create_task(self._watch(keeper), name="view watch")
        try:
            async with keeper.running(None):
                self.is_ready = True
                self._tell_all(None)
                give_back_memory()
                log.info("the secmaster is known", markets=len(self.picture.markets))
                ended = keeper.readers.join(_NOTHING, 1)
                async for _ in ended:
                    pass
        finally:
            watching.cancel()

    async def _watch(self, keeper: Keeper) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            why = keeper.age.why
            reason = f"the live view of the secmaster is not current: {why}" if why else None
            self._health.degrade("secmaster", reason)

    def _tell(self, item: Any) -> None:
        if not isinstance(item, Change) or item.op == "truncate":
            self._tell_all(None)
        elif item.table == "markets":
            row = item.row if item.row is not None else item.before
            self._tell_all(row.ticker)
        elif item.table == "events" and item.row is not None:
            if item.before is None or item.before.category != item.row.category:
                for market in self.picture.of_event(item.row.event_ticker):
                    self._tell_all(market.ticker)
        elif item.table == "series" and item.row is not None and _moves(item.before, item.row):
            self._tell_all(None)

    def _tell_all(self, ticker: str | None) -> None:
        for listener in list(self._listeners):
            listener(ticker)


def _moves(before: Any, after: Any) -> bool:
    """Whether markets of a series may belong elsewhere now. Its volume moves all day, and is
    looked at when everything is."""
    if before is None:
        return True
    return (before.category, before.tags, before.is_game) != (
        after.category,
        after.tags,
        after.is_game,
    )
