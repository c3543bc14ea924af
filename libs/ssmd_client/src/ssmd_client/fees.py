"""Fees, as the API computes them."""

from decimal import Decimal

import msgspec

from ssmd_client import rows
from ssmd_client.decoding import decode
from ssmd_client.errors import NotFound
from ssmd_client.moments import Moment, spelled
from ssmd_client.transport import Transport, segment


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

    def quote(
        self,
        series: str,
        price: Decimal | str,
        count: Decimal | str | int = 1,
        *,
        as_of: Moment = None,
        tier: str | None = None,
    ) -> rows.Quote:
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


class _Tiers(msgspec.Struct, frozen=True):
    fees: list[rows.FeeTier]
