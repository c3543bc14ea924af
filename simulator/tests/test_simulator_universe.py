"""The universe is deterministic, has the real distributions, and can be the real population."""

import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from ssmd_simulator.generator import SIZES, fill, generate
from ssmd_simulator.parents import event_bytes, series_bytes
from ssmd_simulator.population import MissingPopulation, load_population
from ssmd_simulator.rendering import Renderer
from ssmd_simulator.universe import Universe

DAY = 1_795_219_200.0


def _bytes(universe: Universe) -> bytes:
    renderer = Renderer(universe.anchor, still=True)
    markets = renderer.markets(universe.unsettled + universe.settled, DAY)
    events = b"".join(event_bytes(event) for event in universe.event_order)
    series = b"".join(series_bytes(series, volume=True) for series in universe.series.values())
    return markets + events + series


@cache
def _made(size: str) -> Universe:
    """To look at, not to change."""
    return generate(SIZES[size], 7, DAY)


def test_the_same_seed_gives_the_same_universe_byte_for_byte() -> None:
    first = _bytes(generate(SIZES["tiny"], 7, DAY))
    assert first == _bytes(generate(SIZES["tiny"], 7, DAY))
    assert first != _bytes(generate(SIZES["tiny"], 8, DAY))


def test_any_label_is_valid_json() -> None:
    universe = generate(SIZES["tiny"], 7, DAY)
    market = next(m for m in universe.unsettled if "{}" in m.event.question)
    market.label = 'Ada "Countess" O\\Löve\u2028\n'
    shown = json.loads(Renderer(universe.anchor, still=True).market(market, DAY))
    assert shown["yes_sub_title"] == market.label
    assert shown["title"] == market.event.question.replace("{}", market.label)


@pytest.mark.parametrize(
    ("size", "series", "events", "markets"),
    [("tiny", 42, 64, 500), ("small", 202, 640, 5000), ("full", 12372, 9980, 86000)],
)
def test_sizes(size: str, series: int, events: int, markets: int) -> None:
    universe = _made(size)
    assert len(universe.series) == series
    unsettled = [m for m in universe.unsettled if not m.event.multivariate]
    assert abs(len(unsettled) - markets) < markets * 0.03
    assert abs(len(universe.settled) - markets) < markets * 0.05
    assert abs(len({m.event.ticker for m in unsettled}) - events) < events * 0.03
    assert len(universe.markets) == len({m.ticker for m in universe.unsettled + universe.settled})


def test_the_full_universe_is_distributed_like_the_real_one() -> None:
    universe = _made("full")
    markets = [m for m in universe.unsettled if not m.event.multivariate]
    by_category = Counter(m.event.series.category for m in markets)
    assert [category for category, _ in by_category.most_common(3)] == [
        "Sports",
        "Elections",
        "Entertainment",
    ]
    share = {
        "dot": sum("." in m.ticker for m in markets),
        "last segment": sum(m.ticker.rsplit("-", 1)[0] != m.event.ticker for m in markets),
        "two segments": sum("-".join(m.ticker.split("-")[:2]) != m.event.ticker for m in markets),
        "first segment": sum(m.ticker.split("-")[0] != m.event.series.ticker for m in markets),
        "prefix": sum(not m.ticker.startswith(m.event.ticker) for m in markets),
        "other category": sum(m.event.category != m.event.series.category for m in markets),
        "never updated": sum(m.updated is None for m in markets),
    }
    wanted = {
        "dot": (0.08, 0.25),
        "last segment": (0.002, 0.06),
        "two segments": (0.01, 0.10),
        "first segment": (0.001, 0.03),
        "prefix": (0.0001, 0.01),
        "other category": (0.005, 0.05),
        "never updated": (0.05, 0.15),
    }
    for what, (low, high) in wanted.items():
        assert low <= share[what] / len(markets) <= high, (what, share[what] / len(markets))
    assert max(len(m.ticker) for m in markets) <= 60
    assert set("".join(m.ticker for m in markets)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")
    assert max(m.life.close for m in markets) > 4_000_000_000, "no close time near 2099"
    multipliers = {series.fee_multiplier for series in universe.series.values()}
    assert multipliers == {0, 0.5, 1}


def test_exclusive_events_have_one_winner() -> None:
    universe = _made("small")
    exclusive = [e for e in universe.events.values() if e.mutually_exclusive]
    assert exclusive
    for event in exclusive:
        winners = [m for m in event.markets if m.result == "yes"]
        assert len(winners) + sum(m.result == "scalar" for m in event.markets) >= 1
        assert len(winners) <= 1


def test_the_real_population_hangs_together_as_recorded(kalshi_data: Path) -> None:
    universe = load_population(kalshi_data / "population", 7, DAY)
    assert len(universe.markets) == 72_482
    assert len(universe.events) == 9_410
    assert len(universe.series) == 3_128
    peace = universe.markets["KXNOBELPEACE-27-STC"]
    assert (peace.event.ticker, peace.event.series.ticker) == ("KXNOBELPEACE-26", "KXNOBELPEACE")
    climate = universe.markets["EUCLIMATE-2030"]
    assert (climate.event.ticker, climate.event.series.ticker) == ("EUCLIMATE", "KXEUCLIMATE")
    counts = Counter(m.status(DAY) for m in universe.markets.values())
    assert counts == {
        "active": 71_359,
        "finalized": 1_076,
        "inactive": 40,
        "closed": 4,
        "determined": 2,
        "initialized": 1,
    }


@pytest.mark.slow
def test_a_full_universe_from_the_real_population(kalshi_data: Path) -> None:
    universe = load_population(kalshi_data / "population", 7, DAY)
    real = set(universe.markets)
    fill(universe, SIZES["full"], DAY)
    assert abs(len(universe.series) - 12_370) < 20
    unsettled = {market.ticker for market in universe.unsettled}
    assert unsettled < real, "nothing but the population is open"
    assert abs(len(universe.settled) - 86_000) < 2_000
    assert len(universe.markets) == len(universe.settled) + len(universe.unsettled)


def test_a_population_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingPopulation, match=r"events_index\.csv\.gz"):
        load_population(tmp_path, 7, DAY)
