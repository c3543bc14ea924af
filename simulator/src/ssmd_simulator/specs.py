"""Events and markets to be: what a series' plan, a timetable and chance make of them."""

from math import inf
from random import Random

from ssmd_simulator import shapes
from ssmd_simulator.catalogue import Plan
from ssmd_simulator.life import Timetable
from ssmd_simulator.rng import mix, seed_of
from ssmd_simulator.tickers import day_code, eastern, minute_code, month_code, year_code
from ssmd_simulator.universe import Event, Market, Series, Universe
from ssmd_simulator.vocabulary import (
    CITIES,
    CITY_CODES,
    COUNTRIES,
    FIRST_NAMES,
    SURNAMES,
    WORDS,
)

DAY = 86400.0

_STRUCTURES = ("linear_cent",) * 6 + (
    "deci_cent",
    "tapered_deci_cent",
    "center_whole_edge_half_cent",
    "center_centi_edge_centi_cent",
)


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
    exclusive, title, question, specs = _markets_of(
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
    for rank, spec in enumerate(specs):
        ticker = f"{event.ticker}-{spec.suffix}" if spec.suffix else event.ticker
        event.markets.append(
            Market(
                ticker=ticker,
                event=event,
                label=spec.label,
                life=life,
                seed=mix(base, rank),
                structure=structure,
                strike_type=spec.strike_type,
                floor=spec.floor,
                cap=spec.cap,
                custom=spec.custom,
                updated=life.created,
                lively=mix(base, rank, 1) % 5 == 0,
            )
        )
    decide(event, base)
    return event


def _markets_of(
    plan: Plan, subject: str, day: str, size: int, close: float, rng: Random, home: int, away: int
) -> tuple[bool, str, str, list[shapes.Spec]]:
    centre, step = plan.gauge
    if plan.template == "threshold":
        kind = "greater_or_equal" if rng.random() < 0.25 else "greater"
        specs = shapes.threshold(centre, step, size, strike_type=kind)
        return False, f"{plan.title} on {day}?", f"Will {subject} be {{}} on {day}?", specs
    if plan.template == "bucket":
        specs = shapes.bucket(centre, step, size)
        return True, f"{plan.title} on {day}?", f"Will {subject} be {{}} on {day}?", specs
    if plan.template == "deadline":
        specs = shapes.deadline(close, size, strike_type=rng.choice(("custom", "")))
        return False, f"When will we see {subject}?", f"Will we see {subject} {{}}?", specs
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
        specs = shapes.menu(labels, strike_type="structured", key="competitor")
        return True, f"{subject} winner?", f"{subject}: {{}}?", specs
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
    specs = shapes.menu(labels, strike_type=kind)
    return exclusive, f"{plan.title} ({day})?", f"{plan.subject}: will it be {{}}?", specs


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
