"""The markets of an event in the order of their strikes, and what their prices add up to."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from ssmd_api.rows import Row
from ssmd_common.status import NOT_YET_CLOSED

_OF_FLOOR: Final = {"greater": ">", "greater_or_equal": "≥"}
_OF_CAP: Final = {"less": "<", "less_or_equal": "≤"}


@dataclass(frozen=True, slots=True)
class Bar:
    """Prices as parts of a hundred, to be drawn; None where there is none."""

    bid: float | None
    ask: float | None
    last: float | None

    @property
    def is_quoted(self) -> bool:
        """Whether somebody bids or asks: from nothing to a dollar is between nobody and nobody."""
        if self.bid is None or self.ask is None:
            return False
        return self.bid <= self.ask and (self.bid > 0 or self.ask < 100)


@dataclass(frozen=True, slots=True)
class Sum:
    """Of the markets that are not closed: what one of each costs and brings, in dollars.

    Of markets of which exactly one comes true, one dollar is between the two, or something is for
    nothing.
    """

    bids: Decimal
    asks: Decimal
    markets: int

    @property
    def is_odd(self) -> bool:
        return self.bids > 1 or self.asks < 1


def in_order(markets: Sequence[Row]) -> list[Row]:
    """By strike where they have some; else the likeliest first."""
    if any(_strike(market) is not None for market in markets):
        return sorted(markets, key=_by_strike)
    return sorted(markets, key=lambda market: -(_number(market["yes_bid_dollars"]) or Decimal(-1)))


def bar(market: Row) -> Bar:
    names = ("yes_bid_dollars", "yes_ask_dollars", "last_price_dollars")
    return Bar(*(_percent(market[name]) for name in names))


def strike(market: Row) -> str:
    """For which values it comes true; empty where it has no strike."""
    floor, cap = _number(market["floor_strike"]), _number(market["cap_strike"])
    kind = market["strike_type"] or ""
    if floor is not None and cap is not None:
        return f"{_spelled(floor)} – {_spelled(cap)}"
    if floor is not None:
        return f"{_OF_FLOOR.get(kind, 'from')} {_spelled(floor)}"
    return "" if cap is None else f"{_OF_CAP.get(kind, 'to')} {_spelled(cap)}"


def summed(markets: Sequence[Row]) -> Sum | None:
    """None unless each of them has both prices."""
    trading = [market for market in markets if market["status"] in NOT_YET_CLOSED]
    bids = [_number(market["yes_bid_dollars"]) for market in trading]
    asks = [_number(market["yes_ask_dollars"]) for market in trading]
    if not trading or None in bids or None in asks:
        return None
    return Sum(
        sum((bid for bid in bids if bid is not None), Decimal(0)),
        sum((ask for ask in asks if ask is not None), Decimal(0)),
        len(trading),
    )


def _by_strike(market: Row) -> tuple[bool, Decimal, Decimal, str]:
    strike = _strike(market)
    floor = _number(market["floor_strike"])
    # What has no floor is below all that have the same cap as theirs.
    return (
        strike is None,
        strike or Decimal(0),
        Decimal(-1) if floor is None else Decimal(1),
        market["ticker"],
    )


def _strike(market: Row) -> Decimal | None:
    floor = _number(market["floor_strike"])
    return _number(market["cap_strike"]) if floor is None else floor


def _spelled(value: Decimal) -> str:
    return f"{value.normalize():,f}"


def _number(value: Any) -> Decimal | None:
    found = None if value is None else Decimal(str(value))
    return found if found is None or found.is_finite() else None


def _percent(value: Any) -> float | None:
    found = _number(value)
    return None if found is None else round(float(min(max(found, Decimal(0)), Decimal(1)) * 100), 2)
