"""Fees, as the API computes them."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from ssmd_client import rows
from ssmd_client.decoding import decode
from ssmd_client.errors import NotFound
from ssmd_client.moments import Moment, spelled
from ssmd_client.transport import Transport, segment

MAX_QUOTES: Final = 1000
"""Orders of one request to the API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be quoted: `price` is dollars (0 … 1) of a contract of the side, `at` None now."""

    ticker: str
    side: Literal["yes", "no"]
    price: Decimal | str
    count: Decimal | str | int = 1
    role: Literal["taker", "maker"] = "taker"
    at: Moment = None

    def asked(self) -> dict[str, Any]:
        """As the API takes it."""
        asked = {
            "ticker": self.ticker,
            "side": self.side,
            "price": f"{Decimal(self.price):f}",
            "count": f"{Decimal(self.count):f}",
            "role": self.role,
        }
        return asked if self.at is None else asked | {"at": spelled(self.at)}


class Fees:
    """`client.fees`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def tiers(self) -> list[rows.FeeTier]:
        """The coefficients of the exchange's formula."""
        return decode(self._transport.get("fees").body, _Tiers).fees

    def schedule(self, series: str, *, as_of: Moment = None) -> rows.FeeSchedule:
        """A series' fees over time, and the step in force; NotFound where there is no series."""
        path = f"fees/{segment(series)}"
        return decode(self._transport.get(path, {"as_of": spelled(as_of)}).body, rows.FeeSchedule)

    def quote(self, orders: Iterable[Order], *, tier: str | None = None) -> list[rows.Quote]:
        """What each order costs, in their order: by the event's override and the schedule in force.

        An order of an unknown market, or whose fee is not known, has an `error` of its own.

        Raises:
            NotFound: there is no such tier.
            BadParameter: an order is malformed; `errors` names it, such as `quotes[3].price`, of a
                thousand that are asked for at once.
        """
        found: list[rows.Quote] = []
        asked = [order.asked() for order in orders]
        for start in range(0, len(asked), MAX_QUOTES):
            body = {"quotes": asked[start : start + MAX_QUOTES]} | ({"tier": tier} if tier else {})
            found += decode(self._transport.post("fees/quote", body).body, _Quotes).quotes
        return found

    def fill(
        self,
        series: str,
        price: Decimal | str,
        count: Decimal | str | int = 1,
        *,
        as_of: Moment = None,
        tier: str | None = None,
    ) -> rows.Fill:
        """What a fill of `count` contracts at `price` dollars (0 … 1) costs on a series' markets.

        Raises:
            NotFound: there is no such series, or tier.
        """
        query = {
            "price": f"{Decimal(price):f}",
            "count": f"{Decimal(count):f}",
            "as_of": spelled(as_of),
            "tier": tier,
        }
        found = decode(self._transport.get(f"fees/{segment(series)}", query).body, rows.FeeSchedule)
        if found.fee is None:
            raise NotFound("the server quotes no fee", status=404, kind="not-found")
        return found.fee


class _Quotes(msgspec.Struct, frozen=True):
    quotes: list[rows.Quote]


class _Tiers(msgspec.Struct, frozen=True):
    fees: list[rows.FeeTier]
