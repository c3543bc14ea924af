"""Shapes of events: what markets an event of each template has."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from ssmd_simulator.tickers import abbreviation, day_code, eastern, strike_text, unique


class Spec(NamedTuple):
    """A market to be: `suffix` goes on the event's ticker ('' means the event's own ticker)."""

    suffix: str
    label: str
    strike_type: str = ""
    floor: float | None = None
    cap: float | None = None
    custom: dict[str, str] | None = None


def threshold(
    centre: float, step: float, size: int, *, strike_type: str = "greater", letter: str = "T"
) -> list[Spec]:
    """A ladder of strikes around `centre`: above 97,499.99, above 97,999.99, …"""
    decimals = _decimals(centre, step)
    first = centre - step * (size // 2)
    if first <= 0:
        first = step
    specs = []
    for rank in range(size):
        strike = round(first + rank * step, decimals)
        words = "or above" if strike_type == "greater_or_equal" else "Above"
        shown = f"{strike:,.{decimals}f}"
        label = f"{shown} {words}" if words != "Above" else f"Above {shown}"
        specs.append(
            Spec(f"{letter}{strike_text(strike, decimals)}", label, strike_type, floor=strike)
        )
    return specs


def bucket(centre: float, step: float, size: int) -> list[Spec]:
    """Adjoining ranges, with one open range at each end: exactly one comes true."""
    decimals = _decimals(centre, step)
    first = max(step, centre - step * (size // 2))
    low, high = round(first, decimals), round(first + step * max(1, size - 2), decimals)
    half = decimals + (1 if decimals else 0)
    specs = [Spec(f"T{strike_text(low, decimals)}", f"Below {low:,}", "less", cap=low)]
    for rank in range(max(0, size - 2)):
        floor = round(first + rank * step, decimals)
        cap = round(floor + step * 0.99, decimals + 2)
        middle = strike_text(floor + step / 2, half)
        specs.append(Spec(f"B{middle}", f"{floor:,} to {cap:,}", "between", floor=floor, cap=cap))
    specs.append(Spec(f"T{strike_text(high, decimals)}", f"Above {high:,}", "greater", floor=high))
    return specs[:size] if size >= 2 else specs[1:]


def menu(labels: Sequence[str], *, strike_type: str, key: str = "Name") -> list[Spec]:
    """One market for each named outcome."""
    taken: set[str] = set()
    specs = []
    for label in labels:
        custom = {key: label} if strike_type in ("custom", "structured") else None
        specs.append(Spec(unique(abbreviation(label), taken), label, strike_type, custom=custom))
    return specs


def props(labels: Sequence[str], teams: Sequence[str], lines: int) -> list[Spec]:
    """Player props: two more segments on the event's ticker (`…-TBJARANDA8-1`)."""
    taken: set[str] = set()
    specs: list[Spec] = []
    for number, label in enumerate(labels):
        team = teams[number % len(teams)]
        name = unique(team + abbreviation(label, 9), taken)
        specs.extend(
            Spec(f"{name}-{line}", f"{label}: {line}+", "structured", floor=float(line))
            for line in range(1, lines + 1)
        )
    return specs


def deadline(first: float, size: int, *, strike_type: str) -> list[Spec]:
    """Before this date, before that date, …, a month apart."""
    specs = []
    for rank in range(size):
        at = first + rank * 30.4 * 86400
        day = eastern(at)
        label = f"Before {day:%b} {day.day}, {day.year}"
        specs.append(
            Spec(day_code(at), label, strike_type, custom={"Date": label} if strike_type else None)
        )
    return specs


def binary(label: str, rng: Random) -> list[Spec]:
    """One market; often its ticker is the event's."""
    suffix = "" if rng.random() < 0.6 else abbreviation(label, 5)
    return [Spec(suffix, label)]


def _decimals(centre: float, step: float) -> int:
    for decimals in range(9):
        if (
            abs(round(centre, decimals) - centre) < 1e-12
            and abs(round(step, decimals) - step) < 1e-12
        ):
            return decimals
    return 9
