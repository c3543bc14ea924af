"""A market's order book from its messages, in what YES costs. Pure.

For readers without the exchange's client, whose `ssmd_kalshi.books.Book` does the same and says
whether a book is continuous; a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from ssmd_stream.market.messages import BookMessage, Level


def ladder(messages: Iterable[BookMessage]) -> tuple[list[Level], list[Level]]:
    """Bids from the highest, asks from the lowest, of a snapshot and what came after it.

    A bid for NO is an ask of what is left of a dollar. Prices have at least four decimals, counts
    at least two.
    """
    bids: dict[Decimal, Decimal] = {}
    asks: dict[Decimal, Decimal] = {}
    for message in messages:
        if message.delta is None:
            bids = {Decimal(price): Decimal(count) for price, count in message.yes or ()}
            asks = {_ask(price, message): Decimal(count) for price, count in message.no or ()}
            continue
        assert message.price is not None
        if message.side == "no":
            levels, at = asks, _ask(message.price, message)
        else:
            levels, at = bids, Decimal(message.price)
        levels[at] = levels.get(at, Decimal(0)) + Decimal(message.delta)
    return _texts(sorted(bids.items(), reverse=True)), _texts(sorted(asks.items()))


def _ask(price: str, message: BookMessage) -> Decimal:
    return Decimal(price) if message.yes_price else 1 - Decimal(price)


def _texts(levels: list[tuple[Decimal, Decimal]]) -> list[Level]:
    return [(_text(price, 4), _text(count, 2)) for price, count in levels if count > 0]


def _text(number: Decimal, places: int) -> str:
    exponent = number.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return f"{number:.{max(places, -exponent)}f}"
