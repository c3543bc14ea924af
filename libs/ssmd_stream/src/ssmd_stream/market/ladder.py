"""A market's order book from its messages. Pure."""

from collections.abc import Iterable

from ssmd_common.book import Book, Level
from ssmd_stream.market.messages import BookMessage


def apply(book: Book, message: BookMessage) -> None:
    """Take the snapshot, or the change of one level."""
    if message.delta is None:
        book.begin(message.yes or (), message.no or (), yes_price=message.yes_price)
        return
    assert message.side is not None
    assert message.price is not None
    book.change(message.side, message.price, message.delta, yes_price=message.yes_price)


def ladder(messages: Iterable[BookMessage]) -> tuple[list[Level], list[Level]]:
    """Bids from the highest, asks from the lowest, of a snapshot and what came after it."""
    book = Book("")
    for message in messages:
        apply(book, message)
    return book.ladder()
