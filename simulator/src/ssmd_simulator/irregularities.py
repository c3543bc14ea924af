"""The irregularities of real listings, each rare: pauses, disputes, moved markets, combinations."""

from dataclasses import replace
from random import Random

from ssmd_simulator.life import Timetable
from ssmd_simulator.rng import mix
from ssmd_simulator.specs import DAY, made_up_life
from ssmd_simulator.tickers import year_code
from ssmd_simulator.universe import Event, FeeChange, Market, Series, Universe


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
