"""The exchange's trading fees, exactly.

Source: the exchange's fee schedule. taker = multiplier × 0.07 × C × P × (1 − P), rounded up to
$0.0001; a maker pays a quarter of that on series of type `quadratic_with_maker_fees`, half on
`quadratic_with_combo_maker_fees`, and nothing elsewhere. New types appear: unknown ones have no fee
that we can compute.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Final

TICK: Final = Decimal("0.0001")
DEFAULT_TAKER: Final = Decimal("0.07")
DEFAULT_MAKER: Final = Decimal("0.0175")

_MAKER_SHARE: Final = {
    "quadratic": Decimal(0),
    "quadratic_with_maker_fees": Decimal(1),
    "quadratic_with_combo_maker_fees": Decimal(2),
}
"""What a maker pays, in units of the tier's maker coefficient."""


@dataclass(frozen=True, slots=True)
class Fee:
    """What one fill costs, in dollars."""

    taker_dollars: Decimal
    maker_dollars: Decimal


def fee(
    fee_type: str,
    multiplier: Decimal,
    price_dollars: Decimal,
    count: Decimal,
    *,
    taker: Decimal = DEFAULT_TAKER,
    maker: Decimal = DEFAULT_MAKER,
) -> Fee | None:
    """The fee for `count` contracts at `price_dollars` (0 … 1); None for an unknown fee type."""
    if not Decimal(0) <= price_dollars <= Decimal(1):
        raise ValueError(f"a price is between 0 and 1 dollar, not {price_dollars}")
    if count < 0:
        raise ValueError(f"a count is not negative, unlike {count}")
    share = _MAKER_SHARE.get(fee_type)
    if share is None:
        return None
    base = multiplier * count * price_dollars * (1 - price_dollars)
    return Fee(_up(base * taker), _up(base * maker * share))


Span = tuple[datetime | None, datetime | None]
"""Of a step of a fee schedule: from, and before; None is without a beginning, or an end."""


def in_force(steps: Sequence[Span], at: datetime) -> int | None:
    """Which step of a schedule is in force: from ≤ at < before. None where it says nothing."""
    for number, (begin, end) in enumerate(steps):
        if (begin is None or begin <= at) and (end is None or at < end):
            return number
    return None


def _up(dollars: Decimal) -> Decimal:
    return dollars.quantize(TICK, ROUND_CEILING)
