"""What the exchange's texts and numbers mean. Pure, and remembered.

The exchange repeats values without end (`"0.0000"`, one close time for a whole event), so parsing
is remembered by text; that, and not cleverness, is why a page converts in a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

from ssmd_common.prices import ask_cents, bid_cents, last_price_cents, whole_contracts
from ssmd_kalshi.errors import BadFieldError, excerpt
from ssmd_kalshi.wire import MAX_TICKER_CHARACTERS, Number

V = TypeVar("V")

MEMO_ENTRIES = 16_384
"""All prices and most times of a universe."""

_DOLLARS_LIMIT = Decimal(9_999)  # numeric(10,6) and numeric(8,4), rounding included
_COUNT_LIMIT = Decimal(10) ** 18  # numeric(20,2), and whole contracts in a bigint
_MAX_EXPONENT = 30
_NO_CONTRACTS = (Decimal("0.00"), 0)


class Memo(dict[Any, V], Generic[V]):
    """A function of one value, remembered; emptied when full."""

    def __init__(self, parse: Callable[[Any], V]) -> None:
        super().__init__()
        self._parse = parse

    def __missing__(self, key: Any) -> V:
        if len(self) >= MEMO_ENTRIES:
            self.clear()
        value = self[key] = self._parse(key)
        return value


def decimal(value: Number) -> Decimal | None:
    """The exact number. ValueError or ArithmeticError for text that is none, NaN and infinities."""
    if value is None or value == "":
        return None
    # repr of a float is the shortest text that reads back the same: what the exchange wrote.
    number = Decimal(value if isinstance(value, str | int) else repr(value))
    if not number.is_finite() or abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError("it is not a number in any sensible range")
    return number


def dollars(value: Number) -> Decimal | None:
    number = decimal(value)
    if number is not None and abs(number) >= _DOLLARS_LIMIT:
        raise ValueError("it is not a price in dollars")
    return number


def count(value: Number) -> Decimal | None:
    number = decimal(value)
    if number is not None and abs(number) >= _COUNT_LIMIT:
        raise ValueError("it is not a number of contracts")
    return number


def contracts(value: Number) -> tuple[Decimal | None, int | None]:
    """A count, exact and in whole contracts. Not remembered: counts differ between markets."""
    if value == "0.00":
        return _NO_CONTRACTS
    if isinstance(value, str) and value[-3:-2] == "." and len(value) < 20:
        # Two decimals, as the exchange writes counts: what is before them is whole and not too big.
        return Decimal(value), int(value[:-3])
    number = count(value)
    return number, whole_contracts(number)


def time(value: str | None) -> datetime | None:
    """RFC 3339 text with any number of fractional digits (microseconds are kept) as UTC.

    The year 1 is how the exchange writes "never": None. A time without a zone is UTC.
    """
    if not value or value.startswith("0001-"):
        return None
    moment = datetime.fromisoformat(value)
    try:
        if moment.tzinfo is UTC:
            return moment
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("it is beyond the year 9999") from error


def _both(
    exact: Callable[[Number], Decimal | None], rounded: Callable[[Decimal | None], int | None]
) -> Memo[tuple[Decimal | None, int | None]]:
    def parse(value: Number) -> tuple[Decimal | None, int | None]:
        number = exact(value)
        return number, rounded(number)

    return Memo(parse)


DECIMAL = Memo(decimal)
DOLLARS = Memo(dollars)
TIME = Memo(time)
# Exact dollars, and cents.
BID = _both(dollars, bid_cents)
ASK = _both(dollars, ask_cents)
LAST = _both(dollars, last_price_cents)


def from_cents(cents: Number) -> str | None:
    """The older generation's integer cents as a text of dollars."""
    number = decimal(cents)
    return None if number is None else str(number.scaleb(-2))


# --- naming what is wrong -----------------------------------------------------------------------

Fields = Sequence[tuple[str, Callable[[Any], object]]]
"""Fields of a wire row, each with the function that reads it."""


def first_bad(row: object, fields: Fields, error: Exception) -> BadFieldError:
    """Which field it was that `error` came from: converting does not keep book."""
    for name, parse in fields:
        value = getattr(row, name)
        try:
            parse(value)
        except (ValueError, ArithmeticError, TypeError):
            return BadFieldError(name, value, "it has no meaning here")
    return BadFieldError("row", None, excerpt(str(error)))


def check_tickers(ticker: str, parent: str = "") -> None:
    """BadFieldError where one of them has characters or a length that tickers do not have."""
    both = ticker + parent
    if not both.isprintable() or " " in both or len(parent) > MAX_TICKER_CHARACTERS:
        raise BadFieldError("ticker", both, "it is not a ticker")


def category_text(category: str | None) -> str | None:
    # The column's width; the longest real one has 24 characters.
    return category[:MAX_TICKER_CHARACTERS] if category else None
