"""What a series' fee schedule says at an instant. Rows are as in `rows.SERIES_FEES`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from ssmd_api.rows import Row, nearest
from ssmd_common import fees

OWN_FEE: Final = ("ticker", "fee_type", "fee_multiplier")
"""What a series itself says of its fee."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a market's fee follows from: its series' schedule, and its event's override."""

    schedule: Sequence[Row]
    type_override: str | None
    multiplier_override: str | None

    def in_force(self, at: datetime) -> Row | None:
        """`fee_type`, `fee_multiplier`, and `by`, which says whose they are; None where nothing
        says both.

        Type and multiplier are overridden each for itself. Of overrides only the present is known.
        """
        step = in_force(self.schedule, at) or {}
        fee_type = self.type_override or step.get("fee_type")
        multiplier = self.multiplier_override or step.get("fee_multiplier")
        if fee_type is None or multiplier is None:
            return None
        overridden = self.type_override or self.multiplier_override
        by = "event" if overridden else "schedule"
        return {"fee_type": fee_type, "fee_multiplier": multiplier, "by": by}


def complete(schedule: Sequence[Row], series: Row) -> list[Row]:
    """The schedule; where there is none, what the series itself says, without a beginning.

    The exchange lists changes only: a series that never changed has its fee in the series alone.
    """
    if schedule or series["fee_type"] is None:
        return list(schedule)
    return [
        {
            "series_ticker": series["ticker"],
            "fee_type": series["fee_type"],
            "fee_multiplier": series["fee_multiplier"],
            "effective_from": None,
            "effective_to": None,
            "source_id": None,
        }
    ]


def in_force(schedule: Sequence[Row], at: datetime) -> Row | None:
    """The step with effective_from ≤ at < effective_to; None where the schedule says nothing."""
    spans = [
        (_nearest(step["effective_from"]), _nearest(step["effective_to"])) for step in schedule
    ]
    found = fees.in_force(spans, at)
    return None if found is None else schedule[found]


def _nearest(spelling: str | None) -> datetime | None:
    return None if spelling is None else nearest(spelling)


def cost(step: Row | None, tier: Row, price: Decimal, count: Decimal) -> Row | None:
    """What one fill of `count` contracts at `price` dollars costs; None for an unknown fee type."""
    if step is None or step["fee_multiplier"] is None:
        return None
    factors = [Decimal(n) for n in (step["fee_multiplier"], tier["taker_fee"], tier["maker_fee"])]
    if not all(factor.is_finite() for factor in factors):
        return None
    multiplier, taker, maker = factors
    fee = fees.fee(step["fee_type"], multiplier, price, count, taker=taker, maker=maker)
    if fee is None:
        return None
    return {"taker_dollars": str(fee.taker_dollars), "maker_dollars": str(fee.maker_dollars)}
