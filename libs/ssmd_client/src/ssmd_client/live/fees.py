"""What a fill costs, from what a live view holds. Pure."""

from datetime import datetime
from decimal import Decimal

from ssmd_client.live.picture import Picture
from ssmd_client.rows import Market
from ssmd_common.fees import Fee, fee, in_force


class Costs:
    """The fee of a market: its event's own, else its series' step in force, else the series'."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def of(
        self, market: Market, price: Decimal, count: Decimal, tier: str, at: datetime
    ) -> Fee | None:
        """None where no fee, tier or type is known."""
        coefficients = self._picture.fees.get(tier)
        kind, multiplier = self._terms(market, at)
        if coefficients is None or kind is None or multiplier is None:
            return None
        return fee(
            kind,
            multiplier,
            price,
            count,
            taker=coefficients.taker_fee,
            maker=coefficients.maker_fee,
        )

    def _terms(self, market: Market, at: datetime) -> tuple[str | None, Decimal | None]:
        series = self._picture.series.get(market.series_ticker)
        steps = self._picture.schedule(market.series_ticker)
        now = in_force([(step.effective_from, step.effective_to) for step in steps], at)
        if steps:
            found = (steps[now].fee_type, steps[now].fee_multiplier) if now is not None else None
        else:
            # The exchange lists changes only.
            found = None if series is None else (series.fee_type, series.fee_multiplier)
        kind, multiplier = found or (None, None)
        event = self._picture.events.get(market.event_ticker)
        if event is not None and event.fee_type_override is not None:
            kind = event.fee_type_override
        if event is not None and event.fee_multiplier_override is not None:
            multiplier = event.fee_multiplier_override
        return kind, multiplier
