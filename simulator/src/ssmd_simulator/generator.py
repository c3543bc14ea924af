"""A seeded universe with the real exchange's distributions: by category, per series, per template.

The same seed, size and anchor give the same universe, byte for byte.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from random import Random

from ssmd_simulator.catalogue import Plan, plans
from ssmd_simulator.irregularities import schedule_fee_changes, vary
from ssmd_simulator.multivariate import combos
from ssmd_simulator.specs import DAY, build_event, made_up_life
from ssmd_simulator.universe import Event, Market, Series, Universe
from ssmd_simulator.vocabulary import SOURCES, TAGS

# Category: series with open events, open events, open markets (August 2026).
REAL_COUNTS = {
    "Sports": (809, 4817, 34714),
    "Elections": (626, 2220, 11515),
    "Entertainment": (302, 510, 6679),
    "Financials": (326, 494, 5737),
    "Crypto": (78, 106, 4032),
    "Economics": (214, 341, 3140),
    "Politics": (450, 505, 2204),
    "Commodities": (37, 47, 1363),
    "Mentions": (58, 59, 1012),
    "Climate and Weather": (83, 137, 878),
    "Science and Technology": (114, 132, 862),
    "Companies": (28, 39, 343),
    "Social": (2, 2, 2),
    "World": (1, 1, 1),
}


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is; settled markets come on top, as many as open ones."""

    series: int
    busy_series: int
    events: int
    markets: int
    combos: int


SIZES = {
    # For tests, of which most need some of everything.
    "tiny": Size(series=40, busy_series=30, events=64, markets=500, combos=6),
    "small": Size(series=200, busy_series=160, events=640, markets=4950, combos=60),
    "full": Size(series=12370, busy_series=3128, events=9980, markets=85600, combos=1000),
    # As it is on the exchange: ten multivariate markets for each other one.
    "tiny-tenfold": Size(series=40, busy_series=30, events=64, markets=500, combos=5000),
    "small-tenfold": Size(series=200, busy_series=160, events=640, markets=4950, combos=49_500),
    "full-tenfold": Size(
        series=12370, busy_series=3128, events=9980, markets=85600, combos=856_000
    ),
}


def generate(size: Size, seed: int, anchor: float, now: float | None = None) -> Universe:
    """Build the universe of the day that starts at `anchor`, as it has come to be by `now`."""
    universe = Universe(seed, anchor)
    rng = Random(seed)
    making = _Making(universe, rng, anchor)
    for category, busy, event_count, market_count, series_count in _shares(size):
        supply = _new_series(universe, plans(category, rng), category, rng)
        active = list(islice(supply, series_count))[:busy]
        for settled in (False, True):
            making.add(active, event_count, market_count, settled=settled)
    combos(universe, size.combos, anchor, rng, making.events, making.markets)
    making.load(anchor if now is None else now)
    schedule_fee_changes(universe, rng, anchor)
    return universe


def fill(universe: Universe, size: Size, now: float) -> None:
    """Add what a population leaves out: series without open events, and settled markets."""
    rng = Random(universe.seed)
    making = _Making(universe, rng, universe.anchor)
    for category, _, event_count, market_count, series_count in _shares(size):
        there = sum(series.category == category for series in universe.series.values())
        supply = _new_series(universe, plans(category, rng), category, rng)
        planned = list(islice(supply, max(1, series_count - there)))
        making.add(planned, event_count, market_count, settled=True)
    making.load(now)


class _Making:
    """Events and markets on their way into a universe."""

    def __init__(self, universe: Universe, rng: Random, anchor: float) -> None:
        self._universe = universe
        self._rng = rng
        self._anchor = anchor
        self.events: list[Event] = []
        self.markets: list[Market] = []

    def add(
        self,
        planned: list[tuple[Series, Plan]],
        event_count: int,
        market_count: int,
        *,
        settled: bool,
    ) -> None:
        """Make events of the planned series, with about so many markets in all."""
        rng, anchor = self._rng, self._anchor
        for number, (series, plan, wanted) in enumerate(
            _sizes(planned, event_count, market_count, rng)
        ):
            life = made_up_life(anchor, rng, settled=settled, frequency=series.frequency)
            event = build_event(series, plan, life, number, wanted, rng, self._universe)
            self._universe.events[event.ticker] = event
            vary(event, rng, anchor, settled=settled)
            self.events.append(event)
            self.markets.extend(event.markets)
            event.markets = []

    def load(self, now: float) -> None:
        """Hand everything over, each ticker once."""
        self._universe.load(self.events, self._distinct(), now)

    def _distinct(self) -> Iterator[Market]:
        taken = set(self._universe.markets)
        for market in self.markets:
            if market.ticker in taken:
                stem = market.ticker
                market.ticker = next(
                    name for number in count(2) if (name := f"{stem}{number}") not in taken
                )
            taken.add(market.ticker)
            yield market


def _shares(size: Size) -> Iterator[tuple[str, int, int, int, int]]:
    totals = [sum(column) for column in zip(*REAL_COUNTS.values(), strict=True)]
    left = [size.busy_series, size.events, size.markets, size.series]
    for category, counts in reversed(REAL_COUNTS.items()):
        busy = max(1, round(size.busy_series * counts[0] / totals[0]))
        events = max(busy, round(size.events * counts[1] / totals[1]))
        markets = max(events, round(size.markets * counts[2] / totals[2]))
        series = max(busy, round(size.series * counts[0] / totals[0]))
        if category == "Sports":
            # The largest category takes what rounding left over.
            busy, events, markets, series = left
        left = [left[0] - busy, left[1] - events, left[2] - markets, left[3] - series]
        yield category, busy, events, markets, series


def _new_series(
    universe: Universe, supply: Iterable[Plan], category: str, rng: Random
) -> Iterator[tuple[Series, Plan]]:
    for plan in supply:
        if plan.ticker in universe.series:
            continue
        tags = TAGS[category]
        chosen = sorted(rng.sample(tags, min(len(tags), rng.randint(1, 2)))) if tags else None
        chance = rng.random()
        if plan.sport:
            chosen = [plan.sport]
        source = SOURCES.get(category)
        series = Series(
            ticker=plan.ticker,
            title=plan.title,
            category=category,
            tags=chosen if plan.sport or chance < 0.8 else None,
            frequency=plan.frequency,
            fee_type="quadratic_with_maker_fees" if chance < 0.04 else "quadratic",
            fee_multiplier=0 if 0.5 < chance < 0.504 else 0.5 if 0.6 < chance < 0.61 else 1,
            sources=[{"name": source[0], "url": source[1]}] if source else None,
            updated=round(universe.anchor - rng.random() * 300 * DAY, 6),
            volume=rng.randrange(10**9),
            more_categories=("World",) if chance > 0.97 else (),
        )
        yield universe.add_series(series), plan


def _sizes(
    active: list[tuple[Series, Plan]], event_count: int, market_count: int, rng: Random
) -> list[tuple[Series, Plan, int]]:
    """Which series has how many events of which size, adding up to `market_count` markets."""
    chosen = list(active)
    while len(chosen) < event_count:
        # A few series have hundreds of events, most have one.
        rank = int(rng.paretovariate(0.55)) - 1
        chosen.append(active[rank] if rank < len(active) else rng.choice(active))
    sizes = [1 if plan.template == "binary" else 2 for _, plan in chosen]
    roomy = [at for at, (_, plan) in enumerate(chosen) if plan.template != "binary"]
    missing = market_count - sum(sizes)
    if not roomy:
        return [(series, plan, 1) for series, plan in chosen]
    limits = {"entity_menu": 40, "deadline": 12, "threshold": 80, "bucket": 80}
    while missing > 0:
        at = roomy[rng.randrange(len(roomy))]
        limit = limits[chosen[at][1].template]
        grown = min(missing, 1 + int(rng.paretovariate(1.1)), max(1, limit - sizes[at]))
        sizes[at] += grown
        missing -= grown
    return [(series, plan, size) for (series, plan), size in zip(chosen, sizes, strict=True)]
