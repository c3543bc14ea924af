"""Parts of bounded size. Pure."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in order, at most `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def queries(tickers: Sequence[str], most: int, characters: int) -> Iterator[list[str]]:
    """The tickers in order, at most `most` at a time and no longer than a query may be."""
    part: list[str] = []
    length = 0
    for ticker in tickers:
        if part and (len(part) == most or length + 1 + len(ticker) > characters):
            yield part
            part, length = [], 0
        part.append(ticker)
        length += 1 + len(ticker)
    if part:
        yield part
