"""How tickers are spelled: date codes, strikes, abbreviations."""

import re
from datetime import UTC, datetime, timedelta

_EASTERN = timedelta(hours=-5)


def eastern(at: float) -> datetime:
    """The wall clock that date codes use (standard time all year, which is enough to be unique)."""
    return datetime.fromtimestamp(at, UTC) + _EASTERN


def day_code(at: float) -> str:
    """`26NOV21`."""
    return eastern(at).strftime("%y%b%d").upper()


def month_code(at: float) -> str:
    """`26NOV`."""
    return eastern(at).strftime("%y%b").upper()


def year_code(at: float) -> str:
    """`26`."""
    return eastern(at).strftime("%y")


def hour_code(at: float) -> str:
    """`26NOV2116`: the day and the hour."""
    return eastern(at).strftime("%y%b%d%H").upper()


def minute_code(at: float) -> str:
    """`26NOV211545`: the day, the hour and the minute."""
    return eastern(at).strftime("%y%b%d%H%M").upper()


def strike_text(value: float, decimals: int) -> str:
    """`97500`, `97499.99`, `0.0000077`: the strike as a ticker spells it."""
    return f"{value:.{decimals}f}"


def abbreviation(label: str, length: int = 4) -> str:
    """Up to `length` capitals that stand for a label: `Ada Abbott` → `AABB`."""
    words: list[str] = re.findall(r"[A-Za-z0-9]+", label)
    if len(words) > 1:
        return f"{words[0][0]}{words[-1][: length - 1]}".upper()
    return (words[0] if words else "X")[:length].upper()


def unique(suffix: str, taken: set[str]) -> str:
    """`suffix`, numbered if it is taken; remembers it."""
    candidate, number = suffix, 1
    while candidate in taken:
        number += 1
        candidate = f"{suffix}{number}"
    taken.add(candidate)
    return candidate
