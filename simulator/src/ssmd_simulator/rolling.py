"""Fast-rolling series: a new event each period, for ever, as a pure function of the time.

`tempo` divides every duration. Events stand on a grid that starts with 1970, so a simulator that
is started again goes on with the same events under the same names.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ssmd_simulator import shapes
from ssmd_simulator.exchange import Exchange
from ssmd_simulator.life import Timetable
from ssmd_simulator.rng import mix
from ssmd_simulator.specs import decide
from ssmd_simulator.tickers import day_code, eastern, hour_code, minute_code
from ssmd_simulator.universe import Event, Market, Series, Universe
from ssmd_simulator.vocabulary import COINS, SOURCES


@dataclass(frozen=True, slots=True)
class Roller:
    """One rolling series. Durations are real seconds, to be divided by the tempo."""

    series: Series
    subject: str
    period: float
    lead: float
    determination: float
    settlement: float
    size: int
    centre: float
    step: float
    template: str


def rollers(universe: Universe, *, full: bool) -> list[Roller]:
    """The rolling series of a universe; each is added to it."""
    coins = COINS[:10] if full else COINS[:3]
    rolling = []
    for code, name, centre, step in coins:
        series = _series(universe, f"KX{code}15M", f"{name} price up or down", "fifteen_min")
        rolling.append(
            Roller(series, f"the {name} price", 900, 300, 120, 300, 1, centre, step, "threshold")
        )
    hourly = COINS[:6] if full else COINS[:2]
    for number, (code, name, centre, step) in enumerate(hourly):
        size, template = (12, "threshold") if number % 2 == 0 else (8, "bucket")
        series = _series(universe, f"KX{code}1H", f"{name} price at the hour", "hourly")
        rolling.append(
            Roller(series, f"the {name} price", 3600, 900, 300, 600, size, centre, step, template)
        )
    for code, city, centre in (("NYC", "New York", 52.0), ("MIA", "Miami", 79.0)):
        series = _series(universe, f"KXTEMP{code}H", f"{city} temperature", "hourly")
        subject = f"the temperature in {city}"
        rolling.append(Roller(series, subject, 3600, 900, 600, 900, 5, centre, 0.99, "threshold"))
        series = _series(universe, f"KXTOP{code}D", f"Highest temperature in {city}", "daily")
        subject = f"the highest temperature in {city}"
        rolling.append(Roller(series, subject, 86400, 43200, 3600, 7200, 6, centre, 2.0, "bucket"))
    return rolling


def _series(universe: Universe, ticker: str, title: str, frequency: str) -> Series:
    category = "Crypto" if "price" in title else "Climate and Weather"
    name, url = SOURCES[category]
    return universe.add_series(
        Series(
            ticker, title, category, ["Hourly"] if category == "Crypto" else ["Daily temperature"],
            frequency, sources=[{"name": name, "url": url}],
            updated=float(int(universe.anchor - 40 * 86400)), volume=10**7,
        )
    )  # fmt: skip


class Rolling:
    """Keeps the rolling series rolling on an exchange."""

    def __init__(self, exchange: Exchange, rolling: list[Roller], tempo: float) -> None:
        self._exchange = exchange
        self._rolling = rolling
        self._tempo = tempo

    def start(self, now: float, *, history: int = 3, roll: bool = True) -> None:
        """Bring in what exists at `now` (with some settled events), and schedule the rest.

        What was brought in is not watched yet: the caller does that for the whole universe.
        """
        for roller in self._rolling:
            number = int((now + roller.lead / self._tempo) // self._period(roller)) - history
            while self._created(roller, number) <= now:
                event = self.event(roller, number)
                markets, event.markets = event.markets, []
                self._exchange.universe.add_event(event)
                for market in markets:
                    self._exchange.universe.add_market(market, now)
                number += 1
            if roll:
                self._schedule(roller, number)

    def _schedule(self, roller: Roller, number: int) -> None:
        def create(when: float) -> None:
            self._exchange.create_event(self.event(roller, number), when)
            self._schedule(roller, number + 1)

        self._exchange.at(self._created(roller, number), create)

    def _period(self, roller: Roller) -> float:
        return roller.period / self._tempo

    def _whole(self, roller: Roller, real: float) -> float:
        # The exchange opens and closes on whole seconds; a very fast tempo has no room for that.
        return float(int(real)) if self._period(roller) >= 5 else round(real, 3)

    def _created(self, roller: Roller, number: int) -> float:
        return round(number * self._period(roller) - roller.lead / self._tempo, 3)

    def event(self, roller: Roller, number: int) -> Event:
        """The `number`th event since 1970: the same one whenever a simulator starts."""
        opened = self._whole(roller, number * self._period(roller))
        close = self._whole(roller, (number + 1) * self._period(roller))
        determined = round(close + roller.determination / self._tempo, 3)
        life = Timetable(
            created=self._created(roller, number),
            open=opened,
            close=close,
            determined=determined,
            settled=round(determined + roller.settlement / self._tempo, 3),
            expected_expiration=float(int(close + roller.determination / self._tempo)),
            latest_expiration=float(int(close + 7 * 86400)),
        )
        code = _CODES[roller.series.frequency](close) if self._tempo == 1 else _quick_code(close)
        return _event(roller, code, life, number, self._exchange.universe.seed_for)


_CODES = {"fifteen_min": minute_code, "hourly": hour_code, "daily": day_code}


def _quick_code(close: float) -> str:
    # Lives of seconds need seconds (and tenths, at a very fast tempo) in their names.
    return day_code(close) + eastern(close).strftime("%H%M%S%f")[: 6 if close % 1 == 0 else 9]


def _event(
    roller: Roller, code: str, life: Timetable, number: int, seed_for: Callable[[str], int]
) -> Event:
    when = eastern(life.close)
    said = f"{when:%b} {when.day}, {when.year} at {when:%H:%M:%S} EST"
    ticker = f"{roller.series.ticker}-{code}"
    base = seed_for(ticker)
    drift = 1 + ((mix(base) % 201) - 100) / 10000
    centre = round(round(roller.centre * drift / roller.step) * roller.step, 8)
    if roller.size == 1:
        specs = shapes.threshold(centre, roller.step, 1, strike_type="greater_or_equal")
        specs = [specs[0]._replace(suffix=f"{when:%M}")]
    elif roller.template == "bucket":
        specs = shapes.bucket(centre, roller.step, roller.size)
    else:
        centre = round(centre - 0.01, 2) if roller.step >= 1 else centre
        specs = shapes.threshold(centre, roller.step, roller.size)
    event = Event(
        ticker=ticker,
        series=roller.series,
        title=f"{roller.series.title} on {said}?",
        sub_title=said,
        question=f"Will {roller.subject} be {{}} on {said}?",
        category=roller.series.category,
        template=roller.template,
        page_key=life.close,
        mutually_exclusive=roller.template == "bucket",
        collateral="MECNET" if roller.template == "bucket" else "",
        strike_at=life.close,
        created=life.created,
        updated=life.created,
    )
    for rank, spec in enumerate(specs):
        event.markets.append(
            Market(
                ticker=f"{ticker}-{spec.suffix}",
                event=event,
                label=spec.label,
                life=life,
                seed=mix(base, rank),
                structure="deci_cent" if roller.size == 1 else "linear_cent",
                strike_type=spec.strike_type,
                floor=spec.floor,
                cap=spec.cap,
                updated=life.created,
                lively=True,
                provisional=roller.size > 6 and mix(base, rank) % 40 == 0 and number % 4 == 0,
            )
        )
    decide(event, base)
    return event
