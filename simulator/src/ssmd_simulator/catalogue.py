"""The series an exchange of this kind lists: an endless, deterministic supply for each category."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, product
from random import Random

from ssmd_simulator.vocabulary import (
    CITIES,
    CITY_CODES,
    COINS,
    COMPANIES,
    COUNTRIES,
    FIRST_NAMES,
    GAUGES,
    LEAGUES,
    STATES,
    SURNAMES,
    WORDS,
    WORKS,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A series to be. `subject` is what its events are about; `gauge` centres its strikes."""

    ticker: str
    title: str
    subject: str
    template: str
    frequency: str = "custom"
    gauge: tuple[float, float] = (50.0, 5.0)
    style: str = ""
    sport: str | None = None


_ALWAYS_PLAYED = frozenset({"KXNBAGAME", "KXNHLGAME", "KXNFLGAME", "KXMLBGAME", "KXEPLGAME"})
"""Games that even a small universe lists: what users ask for first."""

_SPORT_BETS = (
    ("GAME", "game winner", "entity_menu", "game"),
    ("SPREAD", "spread", "threshold", "game"),
    ("TOTAL", "total points", "threshold", "game"),
    ("BTTS", "both teams to score", "binary", "game"),
    ("TEAMTOTAL", "team total", "threshold", "game"),
    ("1HTOTAL", "first half total", "threshold", "game"),
    ("HRR", "player props", "entity_menu", "props"),
    ("SCORE", "correct score", "entity_menu", "game"),
    ("WINS", "regular season wins", "threshold", "season"),
    ("CHAMP", "championship", "entity_menu", "season"),
    ("MVP", "most valuable player", "entity_menu", "season"),
    ("ROTY", "rookie of the year", "entity_menu", "season"),
    ("SEED", "seeding", "entity_menu", "season"),
    ("DIVISION", "division winner", "entity_menu", "season"),
    ("PLAYOFF", "playoff qualifiers", "entity_menu", "season"),
    ("MAP", "map winner", "entity_menu", "game"),
    ("NEXTCOACH", "next head coach", "entity_menu", "season"),
    ("LEADER", "league leaders", "entity_menu", "season"),
)


def plans(category: str, rng: Random) -> Iterator[Plan]:
    """First, shuffled, what gives the category its character, then variations without end."""
    cores: dict[str, Callable[[], Iterator[Plan]]] = {
        "Sports": _sports,
        "Elections": _elections,
        "Entertainment": _entertainment,
        "Financials": _financials,
        "Commodities": lambda: _gauges("Commodities"),
        "Economics": lambda: _gauges("Economics"),
        "Crypto": _crypto,
        "Politics": _politics,
        "Mentions": _mentions,
        "Climate and Weather": _climate,
        "Companies": _companies,
    }
    core = list(cores[category]()) if category in cores else []
    rng.shuffle(core)
    core.sort(key=lambda plan: plan.ticker not in _ALWAYS_PLAYED)
    yield from core
    yield from _variations(category)


def _sports() -> Iterator[Plan]:
    for (bet, words, template, style), (code, league, sport) in product(_SPORT_BETS, LEAGUES):
        title = f"{league} {words}"
        yield Plan(f"KX{code}{bet}", title, league, template, style=style, sport=sport)
    for code, city in zip(CITY_CODES, CITIES, strict=True):
        # A dash inside the series: the first segment of the ticker is not the series.
        yield Plan(f"KXMLBWINS-{code}", f"{city} wins", city, "threshold", "annual", (81.0, 5.0))
    for first, last in product(FIRST_NAMES, SURNAMES):
        yield Plan(
            f"KXNEXTTEAM{first[0]}{last}".upper().replace("'", ""),
            f"{first} {last}'s next team",
            f"{first} {last}",
            "entity_menu",
            "one_off",
            style="season",
        )


def _elections() -> Iterator[Plan]:
    races = (
        ("SENATE", "Senate race", "entity_menu"),
        ("GOV", "governor's race", "entity_menu"),
        ("AG", "attorney general race", "entity_menu"),
        ("MOV", "margin of victory", "threshold"),
        ("VOTETURN", "turnout", "threshold"),
        ("PRIMARY", "primary winner", "entity_menu"),
        ("BALLOT", "ballot measure", "binary"),
        ("STATELEG", "state legislature", "entity_menu"),
        ("TREASURER", "treasurer race", "entity_menu"),
    )
    for (code, words, template), state in product(races, STATES):
        plan = Plan(f"KX{code}{state}", f"{state} {words}", f"{state} {words}", template, "one_off")
        yield plan
    for country in COUNTRIES:
        code = country[:8].upper()
        yield Plan(f"KX{code}PRES", f"{country} president", f"{country}", "entity_menu", "one_off")
        yield Plan(f"KX{code}PM", f"{country} prime minister", f"{country}", "entity_menu")


def _entertainment() -> Iterator[Plan]:
    kinds = (
        ("RT", "Rotten Tomatoes score", "threshold"),
        ("OSCAR", "Academy Awards", "entity_menu"),
        ("GRAMMY", "Grammy nominations", "entity_menu"),
        ("TOPSONG", "top song", "entity_menu"),
        ("ARTISTSTREAMS", "streams", "threshold"),
        ("BOX", "opening weekend", "threshold"),
        ("RENEW", "renewed", "binary"),
    )
    for (code, words, template), work in product(kinds, WORKS):
        name = "".join(word[0] for word in work.split()).upper() + work.split()[-1][:4].upper()
        yield Plan(f"KX{code}{name}", f"{work}: {words}", work, template, gauge=(60.0, 2.5))


def _financials() -> Iterator[Plan]:
    yield from _gauges("Financials")
    for company in COMPANIES:
        yield Plan(f"KXIPO{company.upper()}", f"{company} IPO", f"{company} IPO", "deadline")


def _gauges(category: str) -> Iterator[Plan]:
    spans = (
        ("D", "daily", "threshold"),
        ("", "daily", "bucket"),
        ("W", "weekly", "threshold"),
        ("MON", "monthly", "threshold"),
        ("Y", "annual", "threshold"),
        ("MAX", "one_off", "threshold"),
        ("MIN", "one_off", "threshold"),
    )
    for (span, frequency, template), (code, name, centre, step, where) in product(spans, GAUGES):
        if where == category:
            title = f"{name[0].upper()}{name[1:]}"
            yield Plan(f"KX{code}{span}", title, name, template, frequency, (centre, step))


def _crypto() -> Iterator[Plan]:
    spans = (
        ("", "hourly", "bucket"),
        ("D", "hourly", "threshold"),
        ("MAXMON", "monthly", "threshold"),
        ("MAXY", "annual", "threshold"),
        ("ATH", "one_off", "deadline"),
        ("FLIP", "one_off", "binary"),
    )
    for (span, frequency, template), (code, name, centre, step) in product(spans, COINS):
        yield Plan(f"KX{code}{span}", f"{name} price", name, template, frequency, (centre, step))


def _politics() -> Iterator[Plan]:
    for country in COUNTRIES:
        code = country[:7].upper()
        yield Plan(
            f"KXTRADEDEAL{code}",
            f"Trade deal with {country}",
            f"a trade deal with {country}",
            "deadline",
        )
        yield Plan(f"KXVISIT{code}", f"State visit to {country}", f"a visit to {country}", "binary")
        yield Plan(f"KXRECOG{code}", f"Recognition by {country}", country, "entity_menu")
    for last in SURNAMES:
        code = last.upper().replace("'", "")
        yield Plan(f"KX{code}OUT", f"{last} out of office", f"{last} to leave office", "deadline")
        yield Plan(
            f"KXCONFIRM{code}", f"Senate votes for {last}", last, "threshold", gauge=(52.0, 1.0)
        )


def _mentions() -> Iterator[Plan]:
    for company in COMPANIES:
        yield Plan(
            f"KXEARNINGSMENTION{company[:4].upper()}",
            f"What will {company} say during its earnings call?",
            f"{company}'s earnings call",
            "entity_menu",
            "quarterly",
            style="words",
        )


def _climate() -> Iterator[Plan]:
    kinds = (
        ("HIGHT", "Highest temperature in", "bucket", 72.0, 2.0),
        ("LOWT", "Lowest temperature in", "bucket", 55.0, 2.0),
        ("RAIN", "Rain in", "threshold", 2.5, 0.25),
    )
    for (code, words, template, centre, step), (place, city) in product(
        kinds, list(zip(CITY_CODES, CITIES, strict=True))
    ):
        subject = f"{words[0].lower()}{words[1:]} {city}"
        yield Plan(
            f"KX{code}{place}", f"{words} {city}", subject, template, "daily", (centre, step)
        )


def _companies() -> Iterator[Plan]:
    for company in COMPANIES:
        code = company.upper()
        yield Plan(
            f"KX{code}SUBS", f"{company} subscribers", f"{company} subscribers", "threshold",
            "quarterly", (125000000.0, 2500000.0),
        )  # fmt: skip
        yield Plan(f"KX{code}CEO", f"Next CEO of {company}", f"CEO of {company}", "entity_menu")


def _variations(category: str) -> Iterator[Plan]:
    prefix = "".join(word[0] for word in category.split()).upper()
    templates = ("entity_menu", "threshold", "binary", "deadline", "binary", "entity_menu")
    for round_number in count():
        mark = str(round_number) if round_number else ""
        for number, (word, country) in enumerate(product(WORDS, COUNTRIES)):
            ticker = f"KX{prefix}{word}{country[:5]}{mark}".upper()
            subject = f"a {word.lower()} in {country}"
            template = templates[number % len(templates)]
            yield Plan(ticker, f"{word} in {country}", subject, template, "one_off")
