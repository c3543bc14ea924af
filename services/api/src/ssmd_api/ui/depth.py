"""A book as a ladder: its best levels, each as wide as its part of the largest. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

LEVELS: Final = 8


@dataclass(frozen=True, slots=True)
class Level:
    """`price` in dollars and `count` in contracts as they were captured; `part` of a hundred."""

    price: str
    count: str
    part: float


@dataclass(frozen=True, slots=True)
class Depth:
    """Asks from the highest down to the best, then bids from the best down; `more` levels beyond
    are not shown. `spread` in dollars where both sides have something."""

    asks: list[Level]
    bids: list[Level]
    more_asks: int
    more_bids: int
    spread: Decimal | None


def depth(book: Mapping[str, Any]) -> Depth:
    """Of a book as `/v1/markets/{ticker}/book` has it, the best levels first."""
    bids, asks = book["bids"], book["asks"]
    shown = [*bids[:LEVELS], *asks[:LEVELS]]
    most = max((Decimal(each["count"]) for each in shown), default=Decimal(1)) or Decimal(1)
    spread = Decimal(asks[0]["price"]) - Decimal(bids[0]["price"]) if bids and asks else None
    return Depth(
        _levels(asks, most)[::-1],
        _levels(bids, most),
        max(0, len(asks) - LEVELS),
        max(0, len(bids) - LEVELS),
        spread,
    )


def _levels(side: Sequence[Mapping[str, Any]], most: Decimal) -> list[Level]:
    return [
        Level(each["price"], each["count"], round(float(Decimal(each["count"]) / most * 100), 2))
        for each in side[:LEVELS]
    ]
