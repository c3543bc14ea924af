"""What a fill costs, from what a live view holds. Pure."""

from datetime import datetime
from decimal import Decimal

from ssmd_client.live.picture import Picture
from ssmd_client.rows import Market
from ssmd_common.fees import Fee, fee, in_force


def cost(
    picture: Picture, market: Market, price: Decimal, count: Decimal, tier: str, at: datetime
) -> Fee | None:
    """The fee of the market's event, else its series' step in force, else its series'.

    None where no fee, tier or type is known.
    """
    coefficients = picture.fees.get(tier)
    kind, multiplier = _terms(picture, market, at)
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


def _terms(picture: Picture, market: Market, at: datetime) -> tuple[str | None, Decimal | None]:
    steps = picture.schedule(market.series_ticker)
    number = in_force([(step.effective_from, step.effective_to) for step in steps], at)
    kind: str | None = None
    multiplier: Decimal | None = None
    if number is not None:
        kind, multiplier = steps[number].fee_type, steps[number].fee_multiplier
    elif not steps and (series := picture.series.get(market.series_ticker)):
        # The exchange lists changes only.
        kind, multiplier = series.fee_type, series.fee_multiplier
    if event := picture.events.get(market.event_ticker):
        kind = event.fee_type_override or kind
        if event.fee_multiplier_override is not None:
            multiplier = event.fee_multiplier_override
    return kind, multiplier
