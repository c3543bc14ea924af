"""Rounding from the exchange's exact decimals to the integer columns.

Bids round down and asks up, so that nobody reads a better price than there is; the last price
rounds half up; contracts truncate to whole ones. None stays None.
"""

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal


def bid_cents(dollars: Decimal | None) -> int | None:
    return _cents(dollars, ROUND_FLOOR)


def ask_cents(dollars: Decimal | None) -> int | None:
    return _cents(dollars, ROUND_CEILING)


def last_price_cents(dollars: Decimal | None) -> int | None:
    return _cents(dollars, ROUND_HALF_UP)


def whole_contracts(count: Decimal | None) -> int | None:
    return None if count is None else int(count.to_integral_value(ROUND_DOWN))


def _cents(dollars: Decimal | None, rounding: str) -> int | None:
    return None if dollars is None else int((dollars * 100).to_integral_value(rounding))
