"""The irregularities of real listings, each rare: pauses, disputes, moved markets."""

from dataclasses import replace
from random import Random

from ssmd_simulator.life import Timetable
from ssmd_simulator.specs import DAY
from ssmd_simulator.tickers import year_code
from ssmd_simulator.universe import Event, FeeChange, Universe


def vary(event: Event, rng: Random, anchor: float, *, settled: bool) -> None:
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
