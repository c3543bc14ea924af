"""A universe from the real population: every ticker of one day, with its event and its series.

The files name what existed and how it hung together; prices, texts and times are made up.
"""

import csv
import gzip
import re
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from random import Random

from ssmd_simulator.irregularities import schedule_fee_changes
from ssmd_simulator.life import Timetable
from ssmd_simulator.rng import mix, seed_of
from ssmd_simulator.specs import DAY, made_up_life, structure_of
from ssmd_simulator.universe import Event, Market, Series, Universe
from ssmd_simulator.vocabulary import SOURCES, TAGS

EVENTS = "events_index.csv.gz"
MARKETS = "markets_index.csv.gz"

_STRIKE = re.compile(r"[A-Z]?(\d+(?:\.\d+)?)")


class MissingPopulation(FileNotFoundError):
    """The directory does not hold the population's files."""


def load_population(
    directory: Path, seed: int, anchor: float, now: float | None = None
) -> Universe:
    """Build the universe; raises MissingPopulation if a file is not there."""
    universe = Universe(seed, anchor)
    rng = Random(seed)
    events: dict[str, Event] = {}
    for row in _rows(directory / EVENTS):
        series = universe.series.get(row["series_ticker"]) or _series(universe, row, rng)
        events[row["event_ticker"]] = _event(row, series, anchor, rng)
    lives: dict[str, Timetable] = {}
    markets: list[Market] = []
    for row in _rows(directory / MARKETS):
        event = events[row["event_ticker"]]
        life = lives.get(event.ticker)
        if life is None:
            life = made_up_life(anchor, rng, settled=False, frequency=event.series.frequency)
            lives[event.ticker] = life
            event.page_key, event.created, event.updated = life.close, life.created, life.created
            if event.strike_at is not None:
                event.strike_at = life.close
        markets.append(_market(row, event, life, seed, anchor))
    universe.load(events.values(), markets, anchor if now is None else now)
    schedule_fee_changes(universe, rng, anchor)
    return universe


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if not path.exists():
        raise MissingPopulation(f"there is no {path.name} in {path.parent}")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _series(universe: Universe, row: dict[str, str], rng: Random) -> Series:
    category = row["series_category"]
    tags = TAGS.get(category)
    source = SOURCES.get(category)
    name = row["series_ticker"].removeprefix("KX").capitalize()
    return universe.add_series(
        Series(
            ticker=row["series_ticker"],
            title=f"{name} ({category})",
            category=category,
            tags=[rng.choice(tags)] if tags and rng.random() < 0.8 else None,
            frequency=row["frequency"],
            fee_type=row["fee_type"],
            fee_multiplier=float(row["fee_multiplier"]),
            sources=[{"name": source[0], "url": source[1]}] if source else None,
            updated=round(universe.anchor - rng.random() * 300 * DAY, 6),
            volume=rng.randrange(10**9),
        )
    )


def _event(row: dict[str, str], series: Series, anchor: float, rng: Random) -> Event:
    code = row["event_ticker"].partition("-")[2] or row["event_ticker"]
    name = series.ticker.removeprefix("KX").capitalize()
    dated = series.frequency in ("daily", "hourly", "fifteen_min")
    return Event(
        ticker=row["event_ticker"],
        series=series,
        title=f"{name}: what happens in {code}?",
        sub_title=code,
        question=f"{name} in {code}: {{}}?",
        category=row["event_category"],
        template=row["template"],
        page_key=anchor + rng.random() * DAY,
        mutually_exclusive=row["mutually_exclusive"] == "1",
        collateral=row["collateral_return_type"],
        strike_at=0.0 if dated else None,
    )


def _market(row: dict[str, str], event: Event, life: Timetable, seed: int, anchor: float) -> Market:
    ticker = row["ticker"]
    base = seed_of(seed, ticker)
    last = ticker.rpartition("-")[2]
    kind = row["strike_type"]
    found = _STRIKE.fullmatch(last)
    number = float(found[1]) if found else None
    floor = number if kind.startswith("greater") or kind == "between" else None
    cap = number if kind.startswith("less") else None
    if kind == "between" and number is not None:
        cap = number + 1
    market = Market(
        ticker=ticker,
        event=event,
        label=last.capitalize() if found is None else f"{number:,}",
        life=_life_of(row["status"], life, anchor, base),
        seed=mix(base),
        structure=structure_of(seed_of(seed, event.ticker)),
        strike_type=kind,
        floor=floor,
        cap=cap,
        custom={"Name": last} if kind in ("custom", "structured") else None,
        result="yes" if base % 3 == 0 else "no",
        paused=row["status"] == "inactive",
        updated=life.created,
        lively=row["traded_24h"] == "1",
    )
    if row["can_close_early"] == "0":
        market.edits = {"can_close_early": False}
    return market


def _life_of(status: str, life: Timetable, anchor: float, base: int) -> Timetable:
    """The event's timetable, bent so that the market has the status it really had."""
    past = float(int(anchor - 3600 - base % 80000))
    opened = min(life.open, past - 7200)
    created = min(life.created, opened - 60)
    match status:
        case "finalized":
            moments = {"close": past - 900, "determined": past - 600, "settled": past}
        case "determined":
            moments = {"close": past - 60, "determined": past, "settled": inf}
        case "closed":
            moments = {"close": past, "determined": inf, "settled": inf}
        case "initialized":
            return replace(life, open=float(int(anchor + DAY)))
        case _:
            return life
    return replace(life, created=created, open=opened, **moments)
