"""One market's order book, from a snapshot and the changes after it. Pure.

A book has both sides in what YES costs: bids for YES, and asks, which are bids for NO seen from the
other side (a bid of $0.40 for NO is an ask of $0.60).
"""

from collections.abc import Iterable
from decimal import Decimal

from ssmd_common.memo import Memo

Level = tuple[str, str]
"""A price in dollars, at least four decimals, and a count of contracts, at least two."""

_ONE = Decimal(1)
_NONE = Decimal(0)
_price = Memo(Decimal)


class Book:
    """The book of one market."""

    __slots__ = ("asks", "bids", "ticker", "valid")

    def __init__(self, ticker: str) -> None:
        self.ticker = ticker
        self.bids: dict[Decimal, Decimal] = {}
        """Contracts by price in dollars of YES, no level without any; `asks` likewise."""
        self.asks: dict[Decimal, Decimal] = {}
        self.valid = False
        """Whether it is the exchange's as of the last message: whole since its snapshot."""

    def begin(self, yes: Iterable[Level], no: Iterable[Level], *, yes_price: bool) -> None:
        """Take the levels of a snapshot; `yes_price`: those of NO are given as what YES costs."""
        self.bids = {_price[price]: Decimal(count) for price, count in yes if Decimal(count)}
        self.asks = {
            _price[price] if yes_price else _ONE - _price[price]: Decimal(count)
            for price, count in no
            if Decimal(count)
        }
        self.valid = all(count > 0 for side in (self.bids, self.asks) for count in side.values())

    def change(self, side: str, price: str, delta: str, *, yes_price: bool) -> None:
        """Apply a change of one level. A level below zero means that something was missed."""
        at = _price[price]
        levels = self.bids
        if side == "no":
            levels = self.asks
            if not yes_price:
                at = _ONE - at
        count = levels.get(at, _NONE) + Decimal(delta)
        if count > 0:
            levels[at] = count
            return
        levels.pop(at, None)
        if count < 0:
            self.valid = False

    def ladder(self) -> tuple[list[Level], list[Level]]:
        """Bids from the highest, asks from the lowest, as texts."""
        bids = sorted(self.bids.items(), reverse=True)
        return _texts(bids), _texts(sorted(self.asks.items()))


def _texts(levels: list[tuple[Decimal, Decimal]]) -> list[Level]:
    return [(f"{price:.{_places(price, 4)}f}", f"{n:.{_places(n, 2)}f}") for price, n in levels]


def _places(number: Decimal, least: int) -> int:
    exponent = number.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(least, -exponent)
