"""Multivariate markets: combinations of others, of collections that say what can be combined."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ssmd_simulator.life import Timetable
from ssmd_simulator.listing import BadRequest, Query
from ssmd_simulator.rng import mix
from ssmd_simulator.specs import DAY, made_up_life
from ssmd_simulator.universe import Event, Market, Series, Universe
from ssmd_simulator.wire import rfc3339

MULTI_GAME = "KXMVESPORTSMULTIGAMEEXTENDED"
SINGLE_GAME = "KXMVENFLSINGLEGAME"
GONE = "KXGONE-26JAN01-A"
"""A leg that no listing has."""

_EVERY_OF_ONE_EVENT = 4
_EVERY_WITH_A_LEG_THAT_IS_GONE = 10


@dataclass(slots=True)
class Collection:
    """What can be combined; `events` are tickers."""

    ticker: str
    series: Series
    title: str
    open: float
    close: float
    events: dict[str, None] = field(default_factory=dict)

    def status(self, now: float) -> str:
        """The word of the listing's filter."""
        if now < self.open:
            return "unopened"
        return "open" if now < self.close else "closed"


def combos(
    universe: Universe,
    wanted: int,
    anchor: float,
    rng: Random,
    events: list[Event],
    markets: list[Market],
) -> None:
    """Combinations of other markets, which listings include unless told not to."""
    series = universe.add_series(
        Series(
            MULTI_GAME, "Combo", "Sports", None, "custom",
            updated=round(anchor - 90 * DAY), volume=10**8,
        )
    )  # fmt: skip
    one_game = universe.add_series(
        Series(
            SINGLE_GAME, "Combo of one game", "Sports", None, "custom",
            updated=round(anchor - 90 * DAY), volume=10**7,
        )
    )  # fmt: skip
    whole = collection_of(universe, f"{series.ticker}-R", series, anchor - 90 * DAY)
    alive = [market for market in markets if market.life.settled > anchor]
    of_event: dict[str, list[Market]] = {}
    for each in alive:
        of_event.setdefault(each.event.ticker, []).append(each)
    legs = alive[: max(4, min(wanted, 1000)) * 4]
    for number in range(wanted):
        life = made_up_life(anchor, rng, settled=False, frequency="daily")
        chosen = rng.sample(legs, 3)
        if number % _EVERY_OF_ONE_EVENT == _EVERY_OF_ONE_EVENT - 1:
            chosen = of_event[chosen[0].event.ticker][:3]
            game = chosen[0].event.ticker.partition("-")[2]
            collection = collection_of(
                universe, f"{one_game.ticker}-{game}", one_game, anchor - 3 * DAY
            )
        else:
            collection = whole
        tickers = [leg.ticker for leg in chosen]
        if number % _EVERY_WITH_A_LEG_THAT_IS_GONE == 1:
            tickers.append(GONE)
        event, market = combination(universe, collection, number, life, chosen, tickers)
        events.append(event)
        markets.append(market)


def collection_of(universe: Universe, ticker: str, series: Series, since: float) -> Collection:
    """The collection of that ticker, made where there is none."""
    found = universe.collections.get(ticker)
    if found is None:
        found = Collection(ticker, series, series.title, since, universe.anchor + 30 * DAY)
        universe.collections[ticker] = found
    return found


def combination(
    universe: Universe,
    collection: Collection,
    number: int,
    life: Timetable,
    chosen: list[Market],
    tickers: list[str],
) -> tuple[Event, Market]:
    """An event and its one market, which are not in the universe yet."""
    name = f"{collection.series.ticker}-S2026{mix(universe.seed, number) & 0xFFFFFFFFFFF:011X}"
    event = Event(
        name, collection.series, "Combo", "MVE", "{}", "Sports", "combination", life.close,
        created=life.created, updated=life.created, multivariate=True, strike_period="",
        collection=collection.ticker,
    )  # fmt: skip
    of_events = [leg.event.ticker for leg in chosen]
    of_events += [ticker.rsplit("-", 1)[0] for ticker in tickers[len(chosen) :]]
    collection.events.update(dict.fromkeys(of_events))
    market = Market(
        f"{name}-{mix(universe.seed, number, 3) & 0xFFFFFFFFFFF:011X}",
        event,
        ",".join(f"yes {leg.label}" for leg in chosen),
        life,
        mix(universe.seed, number, 4),
        "deci_cent",
        "custom",
        custom={
            "Associated Events": ",".join(of_events),
            "Associated Market Sides": ",".join("yes" for _ in tickers),
            "Associated Markets": ",".join(tickers),
            "Multivariate Event Ticker": collection.ticker,
        },
        result="no",
        updated=life.created,
    )
    universe.events[event.ticker] = event
    return event, market


def collection_row(collection: Collection) -> dict[str, Any]:
    """A collection as the exchange spells it."""
    return {
        "associated_event_tickers": list(collection.events),
        "associated_events": [
            {
                "active_quoters": [],
                "is_yes_only": False,
                "size_max": 1,
                "size_min": None,
                "ticker": ticker,
            }
            for ticker in collection.events
        ],
        "close_date": rfc3339(collection.close),
        "collection_ticker": collection.ticker,
        "description": "Choose any combination of outcomes.",
        "exchange_index": 0,
        "functional_description": "The market resolves to YES if every leg does.",
        "is_all_yes": False,
        "is_ordered": False,
        "is_single_market_per_event": False,
        "open_date": rfc3339(collection.open),
        "series_ticker": collection.series.ticker,
        "size_max": 0,
        "size_min": 2,
        "title": collection.title,
    }


def collections_page(universe: Universe, query: Query, now: float) -> tuple[list[Collection], str]:
    """A page of `GET /multivariate_event_collections`, by ticker, and its cursor."""
    limit = query.limit(100, 200)
    status, series = query.text("status"), query.text("series_ticker")
    if status not in ("", "unopened", "open", "closed"):
        raise BadRequest(f"invalid value for parameter status: {status}")
    event = query.text("associated_event_ticker")
    names = sorted(universe.collections)

    def wanted() -> Iterator[Collection]:
        for name in names[bisect_right(names, query.text("cursor")) :]:
            each = universe.collections[name]
            if (
                (not status or each.status(now) == status)
                and (not series or each.series.ticker == series)
                and (not event or event in each.events)
            ):
                yield each

    found: list[Collection] = []
    for each in wanted():
        if len(found) == limit:
            return found, found[-1].ticker
        found.append(each)
    return found, ""
