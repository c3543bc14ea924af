"""The truth: every series, event and market that exists, and the orders that pages list them in."""

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ssmd_simulator.life import Timetable, status_at
from ssmd_simulator.rng import seed_of

if TYPE_CHECKING:
    from ssmd_simulator.multivariate import Collection


@dataclass(frozen=True, slots=True)
class FeeChange:
    """A scheduled change of a fee; both values None clear an event's override."""

    id: str
    fee_type: str | None
    multiplier: float | None
    scheduled: float


@dataclass(slots=True, eq=False)
class Series:
    """A template for recurring events."""

    ticker: str
    title: str
    category: str
    tags: list[str] | None
    frequency: str
    fee_type: str = "quadratic"
    fee_multiplier: float = 1
    sources: list[dict[str, str]] | None = None
    updated: float | None = None
    volume: int = 0
    more_categories: tuple[str, ...] = ()
    fee_changes: list[FeeChange] = field(default_factory=list)
    events: list["Event"] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Event:
    """A real-world occurrence with one or more markets.

    `question` holds one `{}` where a market's own answer goes. `page_key` orders pages (latest
    first) and never changes, so that cursors stay valid.
    """

    ticker: str
    series: Series
    title: str
    sub_title: str
    question: str
    category: str
    template: str
    page_key: float
    mutually_exclusive: bool = False
    collateral: str = ""
    strike_at: float | None = None
    strike_period: str | None = None
    created: float = 0.0
    updated: float | None = None
    multivariate: bool = False
    collection: str = ""
    """Of a multivariate event, the ticker of the collection that it is of."""
    fee_override: tuple[str, float] | None = None
    fee_changes: list[FeeChange] = field(default_factory=list)
    markets: list["Market"] = field(default_factory=list)
    rendered: bytes | None = None
    shared: dict[tuple[int, str, str, float | None], tuple[Timetable, list[bytes]]] = field(
        default_factory=dict
    )


@dataclass(slots=True, eq=False)
class Market:
    """One outcome to trade. `life` is shared by the markets of an event until one is edited."""

    ticker: str
    event: Event
    label: str
    life: Timetable
    seed: int
    structure: str = "linear_cent"
    strike_type: str = ""
    floor: float | None = None
    cap: float | None = None
    custom: dict[str, str] | None = None
    result: str = ""
    paused: bool = False
    contested: str = ""
    updated: float | None = None
    lively: bool = False
    trades: int = 0
    provisional: bool = False
    edits: dict[str, Any] | None = None
    rendered: bytes = b""
    rendered_at: float = 0.0
    rendered_until: float = 0.0

    def status(self, now: float) -> str:
        """The exchange's word for the state at `now`."""
        return status_at(self.life, now, paused=self.paused, contested=self.contested)

    def forget(self) -> None:
        """Drop what was encoded, after a change."""
        self.rendered_until = 0.0
        self.event.shared.clear()


def market_key(market: Market) -> tuple[int, str]:
    """Markets are listed newest first; this key (microseconds, ticker) ascends."""
    return (round(market.life.created * 1_000_000), market.ticker)


def event_key(event: Event) -> tuple[int, str]:
    """Events are listed latest close first; this key (microseconds, ticker) ascends."""
    return (round(event.page_key * 1_000_000), event.ticker)


class Universe:
    """Everything there is. Lists are ascending in their page keys; pages walk them backwards."""

    def __init__(self, seed: int, anchor: float) -> None:
        self.seed = seed
        self.anchor = anchor
        self.series: dict[str, Series] = {}
        self.events: dict[str, Event] = {}
        self.markets: dict[str, Market] = {}
        self.collections: dict[str, Collection] = {}
        self.event_order: list[Event] = []
        self.listed: list[Market] = []
        self.unsettled: list[Market] = []
        self.settled: list[Market] = []

    def add_series(self, series: Series) -> Series:
        """Make a series known."""
        self.series[series.ticker] = series
        return series

    def add_event(self, event: Event) -> Event:
        """Make an event known, in its series and its place in the pages."""
        self.events[event.ticker] = event
        event.series.events.append(event)
        insort(self.event_order, event, key=event_key)
        return event

    def add_market(self, market: Market, now: float) -> Market:
        """Make a market known, in its event and its place in the pages."""
        self.markets[market.ticker] = market
        market.event.markets.append(market)
        where = self.settled if market.life.settled <= now else self.unsettled
        for ordered in (self.listed, where):
            insort(ordered, market, key=market_key)
        return market

    def load(self, events: Iterable[Event], markets: Iterable[Market], now: float) -> None:
        """Take over many at once: the lists are sorted once instead of kept sorted."""
        for event in events:
            self.events[event.ticker] = event
            event.series.events.append(event)
        for market in markets:
            self.markets[market.ticker] = market
            market.event.markets.append(market)
        self.event_order = sorted(self.events.values(), key=event_key)
        self.listed = sorted(self.markets.values(), key=market_key)
        self.settled = [market for market in self.listed if market.life.settled <= now]
        self.unsettled = [market for market in self.listed if market.life.settled > now]

    def settle(self, market: Market) -> None:
        """Move a market from the unsettled pages to the settled ones."""
        if _discard(self.unsettled, market):
            insort(self.settled, market, key=market_key)

    def remove_market(self, market: Market) -> None:
        """Make a market vanish, as provisional ones may."""
        self.markets.pop(market.ticker, None)
        market.event.markets.remove(market)
        for ordered in (self.listed, self.unsettled, self.settled):
            _discard(ordered, market)

    def seed_for(self, text: str) -> int:
        """The seed of whatever `text` names."""
        return seed_of(self.seed, text)


def _discard(ordered: list[Market], market: Market) -> bool:
    at = bisect_left(ordered, market_key(market), key=market_key)
    if at < len(ordered) and ordered[at] is market:
        del ordered[at]
        return True
    return False
