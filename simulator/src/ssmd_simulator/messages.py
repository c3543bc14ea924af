"""The lifecycle messages of the WebSocket, as `msg` objects; times are whole seconds there."""

from dataclasses import dataclass
from typing import Any

from ssmd_simulator.ladders import price_ranges
from ssmd_simulator.rendering import fields_of, settlement_value
from ssmd_simulator.universe import Event, Market

LIFECYCLE = "market_lifecycle_v2"
MULTIVARIATE = "multivariate_market_lifecycle"
CHANNELS = frozenset({LIFECYCLE, MULTIVARIATE})


@dataclass(frozen=True, slots=True)
class Message:
    """A message for everyone subscribed to `channel`; `type` is the envelope's."""

    channel: str
    type: str
    msg: dict[str, Any]
    at: float


def _about(market: Market, event_type: str, at: float, **fields: Any) -> Message:
    channel = MULTIVARIATE if market.event.multivariate else LIFECYCLE
    msg = {"market_ticker": market.ticker, "event_type": event_type, **fields}
    return Message(channel, channel, msg, at)


def created(market: Market, at: float) -> Message:
    """A market exists; it opens at `open_ts` without another message."""
    own = fields_of(market)
    metadata: dict[str, Any] = {
        "name": market.label,
        "title": own["title"],
        "yes_sub_title": own["yes_sub_title"],
        "no_sub_title": own["no_sub_title"],
        "rules_primary": own["rules_primary"],
        "rules_secondary": "",
        "can_close_early": own["can_close_early"],
        "event_ticker": market.event.ticker,
    }
    if market.life.expected_expiration is not None:
        metadata["expected_expiration_ts"] = int(market.life.expected_expiration)
    for field in ("strike_type", "floor_strike", "cap_strike", "custom_strike"):
        if field in own:
            metadata[field] = own[field]
    return _about(
        market,
        "created",
        at,
        exchange_index=0,
        open_ts=int(market.life.open),
        close_ts=int(market.life.close),
        price_level_structure=market.structure,
        price_ranges=price_ranges(market.structure),
        additional_metadata=metadata,
    )


def deactivated(market: Market, at: float) -> Message:
    """Trading is paused; the market is still open."""
    return _about(market, "deactivated", at, is_deactivated=True)


def activated(market: Market, at: float) -> Message:
    """Trading goes on after a pause. Never sent for opening at open_time."""
    return _about(market, "activated", at, is_deactivated=False)


def close_date_updated(market: Market, at: float) -> Message:
    """The market closes at another time."""
    return _about(market, "close_date_updated", at, close_ts=int(market.life.close))


def determined(market: Market, at: float) -> Message:
    """The result is known."""
    return _about(
        market,
        "determined",
        at,
        result=market.result,
        settlement_value=settlement_value(market.result),
        determination_ts=int(at),
    )


def settled(market: Market, at: float) -> Message:
    """Paid out; brings only the time."""
    return _about(market, "settled", at, settled_ts=int(at))


def price_level_structure_updated(market: Market, at: float) -> Message:
    """Other prices may be quoted."""
    return _about(
        market,
        "price_level_structure_updated",
        at,
        price_level_structure=market.structure,
        price_ranges=price_ranges(market.structure),
    )


def metadata_updated(market: Market, at: float, changed: dict[str, Any]) -> Message:
    """A strike or the yes side's subtitle changed; carries only what did."""
    return _about(market, "metadata_updated", at, **changed)


def event_lifecycle(event: Event, at: float) -> Message:
    """An event exists."""
    msg: dict[str, Any] = {
        "event_ticker": event.ticker,
        "exchange_index": 0,
        "title": event.title,
        "subtitle": event.sub_title,
        "collateral_return_type": event.collateral,
        "series_ticker": event.series.ticker,
    }
    if event.strike_at is not None:
        msg["strike_date"] = int(event.strike_at)
    elif event.strike_period:
        msg["strike_period"] = event.strike_period
    return Message(MULTIVARIATE if event.multivariate else LIFECYCLE, "event_lifecycle", msg, at)


def event_fee_update(event: Event, at: float) -> Message:
    """An event's fee override was set, or cleared (both null)."""
    fee_type, multiplier = event.fee_override or (None, None)
    return Message(
        LIFECYCLE,
        "event_fee_update",
        {
            "event_ticker": event.ticker,
            "fee_type_override": fee_type,
            "fee_multiplier_override": multiplier,
        },
        at,
    )
