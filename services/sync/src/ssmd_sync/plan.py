"""A run's plan: the cheapest requests that cover its scope.

Pure: what is known goes in, steps come out.

Which filters the exchange really honours together is in `ssmd_kalshi.filters`, which enforces it;
the steps here use only those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Final, Literal

from ssmd_kalshi.endpoints import DEFAULT_COST, MAX_EVENTS_PER_PAGE, MAX_MARKETS_PER_PAGE
from ssmd_sync.scope import Mode, Scope

OVERLAP: Final = timedelta(minutes=1)
"""Read again at each resume: for replies that lag behind and times that are equal."""
CLOCK_SKEW: Final = timedelta(minutes=1)
"""By how much this machine's clock may be ahead of the exchange's."""
WINDOW: Final = timedelta(days=1)

# What an exchange has that we have never read (August 2026).
UNKNOWN_EVENTS: Final = 10_000
UNKNOWN_MARKETS: Final = 86_000
UNKNOWN_MULTIVARIATE: Final = 860_000

MVE_CREATED: Final = "multivariate_created"
MVE_CLOSED: Final = "multivariate_closed"
MVE_SETTLED: Final = "multivariate_settled"

EventState = Literal["unopened", "open", "closed"]
MarketState = Literal["unopened", "open", "paused", "closed", "settled"]


@dataclass(frozen=True, slots=True)
class SeriesScan:
    """`GET /series`: one reply."""

    category: str | None = None
    tags: tuple[str, ...] = ()
    since: datetime | None = None
    volume: bool = False
    requests: int = 1

    @property
    def title(self) -> str:
        return "series" if self.since is None else "series updated"


@dataclass(frozen=True, slots=True)
class EventScan:
    """`GET /events`, with their markets inside unless it is a poll of updates."""

    status: EventState | None = None
    series: str | None = None
    since: datetime | None = None
    requests: int = 1

    @property
    def title(self) -> str:
        return f"{self.status} events with markets" if self.status else "events updated"


@dataclass(frozen=True, slots=True)
class CollectionScan:
    """`GET /multivariate_event_collections`: those that are open, or all that ever were."""

    only_open: bool = False
    requests: int = 1

    @property
    def title(self) -> str:
        return "open collections" if self.only_open else "collections"


@dataclass(frozen=True, slots=True)
class MarketScan:
    """`GET /markets`. `since` bounds the time that goes with the status: settled, closed, else
    updated; of multivariate markets, which have no listing by that, created."""

    status: MarketState | None = None
    series: str | None = None
    since: datetime | None = None
    requests: int = 1
    multivariate: bool = False

    @property
    def title(self) -> str:
        if self.multivariate:
            return f"{self.status or 'new'} multivariate markets"
        return f"{self.status} markets" if self.status else "markets updated"


@dataclass(frozen=True, slots=True)
class FeeScan:
    """`GET /series/fee_changes`, and each series' own word."""

    requests: int = 1

    @property
    def title(self) -> str:
        return "fee changes"


@dataclass(frozen=True, slots=True)
class OverrideScan:
    """`GET /events/fee_changes`, and the events that it contradicts."""

    requests: int = 1

    @property
    def title(self) -> str:
        return "event fee changes"


Scan = SeriesScan | EventScan | CollectionScan | MarketScan
"""Pages of rows."""
Step = Scan | FeeScan | OverrideScan


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order. `sweep`: they show all that is not settled, so absence means something."""

    steps: tuple[Step, ...]
    sweep: bool = False

    @property
    def scans(self) -> tuple[Scan, ...]:
        """The steps that read rows."""
        return tuple(step for step in self.steps if isinstance(step, Scan))

    @property
    def requests(self) -> int:
        """An estimate: pages depend on what the exchange holds by then."""
        return sum(step.requests for step in self.steps)

    @property
    def tokens(self) -> int:
        return self.requests * DEFAULT_COST

    def seconds(self, tokens_per_second: float) -> float:
        """The time that the read budget alone takes."""
        return self.tokens / tokens_per_second

    def then(self, other: "Plan") -> "Plan":
        return Plan((*self.steps, *other.steps), self.sweep or other.sweep)


@dataclass(frozen=True, slots=True)
class Known:
    """What the database tells a planner; zero events: nothing has been read yet."""

    events: int = 0
    markets: int = 0
    watermarks: Mapping[str, datetime] = field(default_factory=dict)
    multivariate: int = 0


def watermark_name(what: str, scope: Scope) -> str:
    """The resume point of one listing for one selection of series."""
    return f"{what}:{scope.key}"


def effective(scope: Scope, known: Known) -> Mode:
    """The mode that can be done: an incremental run needs something to start from."""
    if scope.mode is Mode.INCREMENTAL and any(
        watermark_name(what, scope) not in known.watermarks
        for what in ("series", "events", "markets")
    ):
        return Mode.FULL
    return scope.mode


def plan_series(scope: Scope, known: Known) -> Plan:
    """The requests for series: they decide what else is in scope."""
    match effective(scope, known):
        case Mode.FULL | Mode.SERIES | Mode.FEES:
            return Plan(_series(scope))
        case Mode.INCREMENTAL:
            since = known.watermarks[watermark_name("series", scope)] - OVERLAP
            return Plan((SeriesScan(since=since),))
        case Mode.ACTIVE | Mode.WINDOWS:
            return Plan(())


def plan_markets(scope: Scope, known: Known, tracked: Sequence[str], now: datetime) -> Plan:
    """The requests for events, markets and fees; `tracked` are the series in scope."""
    mode = effective(scope, known)
    plan = _plan_markets(mode, scope, known, tracked, now)
    if scope.multivariate:
        plan = plan.then(Plan(_multivariate(mode, scope, known, now)))
    return plan


def _plan_markets(
    mode: Mode, scope: Scope, known: Known, tracked: Sequence[str], now: datetime
) -> Plan:
    match mode:
        case Mode.FULL:
            return _full(scope, known, tracked, now).then(Plan((FeeScan(),)))
        case Mode.ACTIVE:
            return _active(scope, known, tracked)
        case Mode.INCREMENTAL:
            marks = known.watermarks
            return Plan(
                (
                    EventScan(since=marks[watermark_name("events", scope)] - OVERLAP),
                    MarketScan(since=marks[watermark_name("markets", scope)] - OVERLAP),
                )
            )
        case Mode.WINDOWS:
            return Plan(_windows(scope, known, now))
        case Mode.SERIES:
            return Plan(())
        case Mode.FEES:
            return Plan((FeeScan(), OverrideScan()))


def next_watermark(
    first_page: datetime | None, seen: datetime | None, began_at: datetime
) -> datetime | None:
    """From where the next run must read, by the exchange's own clock; None when nothing was seen.

    What the first page shows had happened before the scan; what later pages show may have happened
    during it, behind the scan's back, and counts only up to the moment at which the scan began.
    """
    candidates = [first_page] if first_page else []
    if seen:
        candidates.append(min(seen, began_at - CLOCK_SKEW))
    return max(candidates, default=None)


def _series(scope: Scope) -> tuple[Step, ...]:
    # With several categories one reply with everything costs less than one for each.
    category = scope.categories[0] if len(scope.categories) == 1 else None
    return (SeriesScan(category, scope.tags, volume=True),)


def _pages(rows: int, of: int) -> int:
    return max(1, ceil(rows / of))


def _sizes(known: Known) -> tuple[int, int]:
    return (
        _pages(known.events or UNKNOWN_EVENTS, MAX_EVENTS_PER_PAGE),
        _pages(known.markets or UNKNOWN_MARKETS, MAX_MARKETS_PER_PAGE),
    )


def _per_series(scope: Scope, whole: int, each: int, tracked: Sequence[str]) -> bool:
    """Whether asking for every tracked series costs less than reading all and leaving out."""
    return scope.by_series or (scope.restricted and len(tracked) * each < whole)


def _full(scope: Scope, known: Known, tracked: Sequence[str], now: datetime) -> Plan:
    event_pages, _ = _sizes(known)
    _, settled = _windows(scope, known, now)
    if _per_series(scope, event_pages + 4, 4, tracked):
        steps: list[Step] = []
        for ticker in tracked:
            steps += [
                EventScan("open", ticker),
                EventScan("unopened", ticker),
                EventScan("closed", ticker),
                MarketScan("settled", ticker, settled.since),
            ]
        return Plan(tuple(steps), sweep=True)
    return Plan(
        (
            EventScan("open", requests=event_pages),
            EventScan("unopened"),
            EventScan("closed"),
            # Events that pause as a whole are in none of the lists above.
            MarketScan("paused"),
            settled,
        ),
        sweep=True,
    )


def _active(scope: Scope, known: Known, tracked: Sequence[str]) -> Plan:
    event_pages, market_pages = _sizes(known)
    if _per_series(scope, min(event_pages, market_pages), 1, tracked):
        return Plan(tuple(EventScan("open", ticker) for ticker in tracked))
    if market_pages < event_pages:
        return Plan((MarketScan("open", requests=market_pages),))
    return Plan((EventScan("open", requests=event_pages),))


def _multivariate(mode: Mode, scope: Scope, known: Known, now: datetime) -> tuple[Step, ...]:
    """Collections first: they say of which series the markets are."""

    def since(what: str) -> datetime:
        mark = known.watermarks.get(watermark_name(what, scope), now)
        return min(now - WINDOW, mark - OVERLAP)

    match mode:
        case Mode.FULL:
            pages = _pages(known.multivariate or UNKNOWN_MULTIVARIATE, MAX_MARKETS_PER_PAGE)
            return (
                CollectionScan(),
                MarketScan("open", requests=pages, multivariate=True),
                MarketScan("unopened", multivariate=True),
                MarketScan("paused", multivariate=True),
                MarketScan("closed", multivariate=True),
                MarketScan("settled", since=since(MVE_SETTLED), multivariate=True),
            )
        case Mode.INCREMENTAL:
            mark = known.watermarks.get(watermark_name(MVE_CREATED, scope), now - WINDOW)
            return (
                CollectionScan(only_open=True),
                MarketScan(since=mark - OVERLAP, multivariate=True),
            )
        case Mode.WINDOWS:
            return (
                MarketScan("closed", since=since(MVE_CLOSED), multivariate=True),
                MarketScan("settled", since=since(MVE_SETTLED), multivariate=True),
            )
        case _:
            return ()


def multivariate_marks(mode: Mode) -> tuple[str, ...]:
    """The resume points that a run of this mode moves, beside those of other markets."""
    match mode:
        case Mode.FULL:
            return (MVE_CREATED, MVE_CLOSED, MVE_SETTLED)
        case Mode.INCREMENTAL:
            return (MVE_CREATED,)
        case Mode.WINDOWS:
            return (MVE_CLOSED, MVE_SETTLED)
        case _:
            return ()


def _windows(scope: Scope, known: Known, now: datetime) -> tuple[MarketScan, MarketScan]:
    def since(what: str) -> datetime:
        mark = known.watermarks.get(watermark_name(what, scope), now)
        return min(now - WINDOW, mark - OVERLAP)

    return MarketScan("closed", since=since("closed")), MarketScan(
        "settled", since=since("settled")
    )
