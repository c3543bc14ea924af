"""A seeded universe with the real exchange's distributions: by category, per series, per template.

The same seed, size and anchor give the same universe, byte for byte.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from math import inf
from random import Random

from ssmd_simulator import shapes
from ssmd_simulator.catalogue import Plan, plans
from ssmd_simulator.chance import mix, seed_of
from ssmd_simulator.life import Timetable
from ssmd_simulator.tickers import day_code, eastern, minute_code, month_code, year_code
from ssmd_simulator.universe import Event, FeeChange, Market, Series, Universe
from ssmd_simulator.vocabulary import (
    CITIES,
    CITY_CODES,
    COUNTRIES,
    FIRST_NAMES,
    SOURCES,
    SURNAMES,
    TAGS,
    WORDS,
)

DAY = 86400.0

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
_STRUCTURES = ("linear_cent",) * 6 + (
    "deci_cent",
    "tapered_deci_cent",
    "center_whole_edge_half_cent",
    "center_centi_edge_centi_cent",
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is; settled markets come on top, as many as open ones."""

    series: int
    busy_series: int
    events: int
    markets: int
    combos: int


SIZES = {
    "small": Size(series=200, busy_series=160, events=640, markets=4950, combos=60),
    "full": Size(series=12370, busy_series=3128, events=9980, markets=85600, combos=1000),
}


def generate(size: Size, seed: int, anchor: float, now: float | None = None) -> Universe:
    """Build the universe of the day that starts at `anchor`, as it has come to be by `now`."""
    universe = Universe(seed, anchor)
    rng = Random(seed)
    events: list[Event] = []
    markets: list[Market] = []
    for category, busy, event_count, market_count, series_count in _shares(size):
        supply = _new_series(universe, plans(category, rng), category, rng)
        planned = list(islice(supply, series_count))
        active = planned[:busy]
        for settled in (False, True):
            sizes = _sizes(active, event_count, market_count, rng)
            for number, (series, plan, wanted) in enumerate(sizes):
                life = made_up_life(anchor, rng, settled=settled, frequency=series.frequency)
                event = build_event(series, plan, life, number, wanted, rng, universe)
                universe.events[event.ticker] = event
                events.append(event)
                markets.extend(event.markets)
                _vary(event, rng, anchor, settled=settled)
                event.markets = []
    combos(universe, size.combos, anchor, rng, events, markets)
    universe.events.clear()
    universe.load(events, _distinct(markets), anchor if now is None else now)
    schedule_fee_changes(universe, rng, anchor)
    return universe


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
        source = SOURCES.get(category)
        series = Series(
            ticker=plan.ticker,
            title=plan.title,
            category=category,
            tags=chosen if chance < 0.8 else None,
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


def structure_of(base: int) -> str:
    """An event's price level structure: most have whole cents."""
    return _STRUCTURES[base % len(_STRUCTURES)]


def made_up_life(anchor: float, rng: Random, *, settled: bool, frequency: str) -> Timetable:
    """A timetable of a market that is open at `anchor`, or settled before it."""
    if settled:
        settled_at = anchor - rng.random() ** 2 * 118 * DAY - 600
        determined = settled_at - 300 - rng.randrange(7200)
        close = float(int(determined - 60 - rng.randrange(7200)))
        opened = float(int(close - rng.randrange(3600, int(30 * DAY))))
    else:
        settled_at = determined = inf
        ahead = {"daily": 1.5, "hourly": 1, "weekly": 7, "monthly": 30}.get(frequency, 200.0)
        close = anchor + 1.3 * DAY + rng.random() ** 2 * ahead * 1.5 * DAY
        if rng.random() < 0.01:
            close = anchor + rng.choice((4, 24, 73)) * 365.25 * DAY
        close = float(int(close // 300 * 300))
        opened = float(int(anchor - rng.randrange(60, int(90 * DAY))) // 60 * 60)
        determined = close + 600 + rng.randrange(7200)
        settled_at = determined + 300 + rng.randrange(3600)
    created = round(opened - 60 - rng.random() * 3 * DAY, 6)
    expected = close + 10800 if rng.random() < 0.9 else None
    return Timetable(created, opened, close, determined, settled_at, expected, close + 7 * DAY)


def build_event(
    series: Series,
    plan: Plan,
    life: Timetable,
    number: int,
    size: int,
    rng: Random,
    universe: Universe,
) -> Event:
    """One event of a series with about `size` markets, closing with `life`."""
    seed, close = universe.seed, life.close
    when = eastern(close)
    day = f"{when:%b} {when.day}, {when.year}"
    game = plan.style in ("game", "props")
    home, away = rng.sample(range(len(CITIES)), 2)
    if game:
        code = f"{day_code(close)}{CITY_CODES[away]}{CITY_CODES[home]}"
        subject = f"{CITIES[away]} at {CITIES[home]}"
    elif series.frequency in ("hourly", "fifteen_min"):
        code, subject = minute_code(close)[:9], plan.subject
    elif series.frequency in ("daily", "weekly"):
        code, subject = day_code(close), plan.subject
    elif series.frequency == "monthly":
        code, subject = month_code(close), plan.subject
    else:
        code, subject = year_code(close), plan.subject
        if number:
            code = f"{code}{CITY_CODES[number % len(CITY_CODES)]}{number}"
    stem = series.ticker
    if mix(seed, seed_of(seed, stem)) % 120 == 0 and stem.startswith("KX"):
        # Legacy events whose first segment is not the series.
        stem = stem[2:]
    extra = f"-{CITY_CODES[number % 30]}" if mix(seed, number) % 26 == 0 and not game else ""
    exclusive, title, question, drafts = _markets_of(
        plan, subject, day, size, close, rng, home, away
    )
    name = f"{stem}-{code}{extra}"
    while name in universe.events:
        # A second game of the day, a second round of the year.
        number += 1
        name = f"{stem}-{code}G{number}"
    event = Event(
        ticker=name,
        series=series,
        title=title,
        sub_title=day
        if not game
        else f"{CITY_CODES[away]} vs {CITY_CODES[home]} ({when:%b} {when.day})",
        question=question,
        category=series.category if mix(seed, number, 7) % 50 else "World",
        template=plan.template,
        page_key=close,
        mutually_exclusive=exclusive,
        collateral="MECNET" if exclusive else "DIRECNET" if plan.template == "threshold" else "",
        strike_at=close if series.frequency in ("daily", "hourly") or game else None,
        created=life.created - 1,
        updated=life.created,
    )
    base = seed_of(seed, event.ticker)
    structure = structure_of(base)
    for rank, draft in enumerate(drafts):
        ticker = f"{event.ticker}-{draft.suffix}" if draft.suffix else event.ticker
        event.markets.append(
            Market(
                ticker=ticker,
                event=event,
                label=draft.label,
                life=life,
                seed=mix(base, rank),
                structure=structure,
                strike_type=draft.strike_type,
                floor=draft.floor,
                cap=draft.cap,
                custom=draft.custom,
                updated=life.created,
                lively=mix(base, rank, 1) % 5 == 0,
            )
        )
    decide(event, base)
    return event


def _markets_of(
    plan: Plan, subject: str, day: str, size: int, close: float, rng: Random, home: int, away: int
) -> tuple[bool, str, str, list[shapes.Draft]]:
    centre, step = plan.gauge
    if plan.template == "threshold":
        kind = "greater_or_equal" if rng.random() < 0.25 else "greater"
        drafts = shapes.threshold(centre, step, size, strike_type=kind)
        return False, f"{plan.title} on {day}?", f"Will {subject} be {{}} on {day}?", drafts
    if plan.template == "bucket":
        drafts = shapes.bucket(centre, step, size)
        return True, f"{plan.title} on {day}?", f"Will {subject} be {{}} on {day}?", drafts
    if plan.template == "deadline":
        drafts = shapes.deadline(close, size, strike_type=rng.choice(("custom", "")))
        return False, f"When will we see {subject}?", f"Will we see {subject} {{}}?", drafts
    if plan.template == "binary":
        return (
            False,
            f"{plan.title}?",
            f"Will we see {subject} before {day}?",
            shapes.binary(subject, rng),
        )
    if plan.style == "game":
        labels = [CITIES[away], CITIES[home], "Tie"][: max(2, min(3, size))]
        while len(labels) < size:
            labels.append(f"{CITIES[home]} by {len(labels)}")
        drafts = shapes.menu(labels, strike_type="structured", key="competitor")
        return True, f"{subject} winner?", f"{subject}: {{}}?", drafts
    if plan.style == "props":
        people = [_person(rng) for _ in range(max(1, -(-size // 4)))]
        teams = (CITY_CODES[away], CITY_CODES[home])
        return (
            False,
            f"{subject}: props",
            f"{subject}: {{}}?",
            shapes.props(people, teams, 4)[:size],
        )
    labels = _labels(plan, size, rng)
    kind = rng.choice(("custom", "structured", ""))
    exclusive = plan.style != "words"
    drafts = shapes.menu(labels, strike_type=kind)
    return exclusive, f"{plan.title} ({day})?", f"{plan.subject}: will it be {{}}?", drafts


def _labels(plan: Plan, size: int, rng: Random) -> list[str]:
    if plan.style == "words":
        pool = list(WORDS) + [f"{word} (2+ times)" for word in WORDS]
    elif plan.style == "season":
        pool = list(CITIES) + list(COUNTRIES)
    else:
        pool = []
    chosen = rng.sample(pool, min(size, len(pool)))
    while len(chosen) < size:
        chosen.append(_person(rng))
    return chosen


def _person(rng: Random) -> str:
    return f"{rng.choice(FIRST_NAMES)} {rng.choice(SURNAMES)}"


def decide(event: Event, base: int) -> None:
    """Fix the results in advance: exclusive events have one winner, ladders one turning point."""
    pivot = mix(base, 5) % max(1, len(event.markets))
    for rank, market in enumerate(event.markets):
        if event.mutually_exclusive:
            won = rank == pivot
        elif event.template == "threshold":
            won = rank <= pivot
        else:
            won = mix(base, rank, 9) % 3 == 0
        market.result = "yes" if won else "no"
    if mix(base, 11) % 700 == 0:
        event.markets[-1].result = "scalar"


def _vary(event: Event, rng: Random, anchor: float, *, settled: bool) -> None:
    """The irregularities that real listings have, each rare."""
    chance = rng.random()
    never_updated = chance < 0.1
    for market in event.markets:
        if never_updated:
            market.updated = None
    first = event.markets[0]
    life = first.life
    if 0.930 < chance < 0.935:
        # Old listings have no creation time.
        ageless = replace(life, created=0.0)
        for market in event.markets:
            market.life = ageless
    if settled:
        return
    if chance > 0.995:
        later = float(int(anchor + 3600 + rng.randrange(86400)))
        opening = Timetable(
            life.created, later, max(life.close, later + 3600), life.determined + 90000,
            life.settled + 90000, life.expected_expiration, life.latest_expiration,
        )  # fmt: skip
        for market in event.markets:
            market.life = opening
    elif 0.98 < chance < 0.99:
        decided = anchor - 86400 - rng.randrange(86400)
        first.life = Timetable(
            life.created, min(life.open, decided - 9000), decided - 600, decided, decided + 400,
            life.expected_expiration, life.latest_expiration,
        )  # fmt: skip
    elif 0.97 < chance < 0.98:
        first.paused = True
    elif 0.96 < chance < 0.97:
        closed = float(int(anchor - 1800))
        first.life = Timetable(
            life.created, min(life.open, closed - 9000), closed, anchor - 900,
            anchor + 90000 + rng.randrange(90000), life.expected_expiration, life.latest_expiration,
        )  # fmt: skip
        first.contested = rng.choice(("disputed", "amended", ""))
    elif 0.955 < chance < 0.96 and len(event.markets) > 1:
        # A market that was moved into another year's event keeps its old name.
        first.ticker = (
            f"{event.series.ticker}-{year_code(anchor)}B-{first.ticker.rsplit('-', 1)[-1]}"
        )
    elif 0.95 < chance < 0.955:
        event.fee_override = ("quadratic", 0.5)
        event.fee_changes.append(
            FeeChange(f"{event.ticker}-fee", "quadratic", 0.5, round(anchor - 86400 * 3))
        )
    elif 0.94 < chance < 0.95:
        event.markets[-1].provisional = True


def combos(
    universe: Universe,
    wanted: int,
    anchor: float,
    rng: Random,
    events: list[Event],
    markets: list[Market],
) -> None:
    """Multivariate combinations of other markets, which listings include unless told not to."""
    series = universe.add_series(
        Series(
            "KXMVESPORTSMULTIGAMEEXTENDED", "Combo", "Sports", None, "custom",
            updated=round(anchor - 90 * DAY), volume=10**8,
        )
    )  # fmt: skip
    legs = [market for market in markets if market.life.settled > anchor][: wanted * 4]
    for number in range(wanted):
        life = made_up_life(anchor, rng, settled=False, frequency="daily")
        name = f"{series.ticker}-S2026{mix(universe.seed, number) & 0xFFFFFFFFFFF:011X}"
        chosen = rng.sample(legs, 3)
        event = Event(
            name, series, "Combo", "MVE", "{}", "Sports", "combination", life.close,
            created=life.created, updated=life.created, multivariate=True, strike_period="",
        )  # fmt: skip
        label = ",".join(f"yes {leg.label}" for leg in chosen)
        custom = {
            "Associated Events": ",".join(leg.event.ticker for leg in chosen),
            "Associated Market Sides": "yes,yes,yes",
            "Associated Markets": ",".join(leg.ticker for leg in chosen),
        }
        ticker = f"{name}-{mix(universe.seed, number, 3) & 0xFFFFFFFFFFF:011X}"
        seed = mix(universe.seed, number, 4)
        event.collateral = ""
        events.append(event)
        universe.events[event.ticker] = event
        market = Market(
            ticker, event, label, life, seed, "deci_cent", "custom", custom=custom, result="no"
        )
        market.updated = life.created
        markets.append(market)


def _distinct(markets: list[Market]) -> Iterator[Market]:
    """Two markets never share a ticker: later ones are numbered."""
    taken: set[str] = set()
    for market in markets:
        if market.ticker in taken:
            stem = market.ticker
            market.ticker = next(
                name for number in count(2) if (name := f"{stem}{number}") not in taken
            )
        taken.add(market.ticker)
        yield market


def schedule_fee_changes(universe: Universe, rng: Random, anchor: float) -> None:
    """Some series had another fee before, a few will have another one soon."""
    for series in universe.series.values():
        chance = rng.random()
        if chance < 0.02:
            past = float(int(anchor - rng.randrange(int(200 * DAY))))
            series.fee_changes.append(
                FeeChange(f"{series.ticker}-1", series.fee_type, series.fee_multiplier, past)
            )
        if chance < 0.004:
            soon = float(int(anchor + DAY + rng.randrange(int(20 * DAY))))
            series.fee_changes.append(FeeChange(f"{series.ticker}-2", "quadratic", 0.5, soon))
