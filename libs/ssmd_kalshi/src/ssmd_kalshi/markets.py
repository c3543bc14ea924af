"""Markets from the wire → rows of `markets`. Pure but for the counting of what is rejected.

Both price generations are understood: fixed-point dollars and counts as text, and the integer cents
and whole contracts of older replies; where both stand, dollars win, and where these cannot be read
the older ones stand in. Empty text is None. The year 1, which the exchange writes for "never", is
None. `extra` holds every field that has no column of its own, quotes that change with every trade
left out, and what the exchange sent in fields that were rejected.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from ssmd_common import models, tables
from ssmd_common.memo import Memo
from ssmd_common.status import MarketStatus, market_status
from ssmd_kalshi.drift import count_rejected
from ssmd_kalshi.errors import BadFieldError, excerpt
from ssmd_kalshi.unread import (
    MAX_JSON_BYTES,
    MAX_TICKER_CHARACTERS,
    Unread,
    check_ticker,
    ticker_fault,
)
from ssmd_kalshi.values import (
    ASK,
    BID,
    DECIMAL,
    DOLLARS,
    FAULTS,
    LAST,
    TIME,
    Columns,
    Fields,
    StandIns,
    cents,
    contracts,
    dollars,
    from_cents,
    kept_values,
    lasting,
    readers,
    rejected_fields,
    same_name,
    without_bad,
)
from ssmd_kalshi.wire import WireMarket


def _status(word: str | None) -> tuple[MarketStatus | None, str | None]:
    if word and word.isspace():
        raise ValueError("it is blank")
    return market_status(word), word or None


_STATUS = Memo(_status)
_encode = msgspec.json.Encoder().encode


def market(
    wire: WireMarket,
    series_ticker: str,
    observed_at: datetime,
    *,
    observed_via: str = "rest",
) -> models.Market:
    """The row of a market; its series is its event's, which the market does not say.

    What cannot be read is None and in `rejected`, and in `extra` as the exchange sent it; the rest
    is as if it had not been sent. `event_ticker` and `series_ticker` are "" where the market's
    event cannot be read: the row then stands for one that is stored, or has no place. `status` is
    None where the exchange's word is not known: what is stored stays. Raises BadFieldError for a
    market without a readable ticker.
    """
    event_ticker = wire.event_ticker
    if not wire.rejected and event_ticker and not _odd(wire.ticker, event_ticker):
        try:
            return _row(wire, event_ticker, series_ticker, observed_at, observed_via)
        except FAULTS:
            # Converting does not keep book: what it was is found when it is looked for.
            pass
    return _salvaged(wire, series_ticker, observed_at, observed_via)


def _odd(ticker: str, event_ticker: str) -> bool:
    """Whether one of them is no ticker; written out because every market passes here."""
    both = ticker + event_ticker
    return (
        not both.isprintable()
        or " " in both
        or len(ticker) > MAX_TICKER_CHARACTERS
        or len(event_ticker) > MAX_TICKER_CHARACTERS
    )


def _salvaged(
    wire: WireMarket, series_ticker: str, observed_at: datetime, observed_via: str
) -> models.Market:
    check_ticker("ticker", wire.ticker)
    good, bad = without_bad(wire, _FIELDS, STAND_INS)
    event_ticker = wire.event_ticker
    if fault := ticker_fault(event_ticker):
        if all(one.name != "event_ticker" for one in bad):
            bad.append(Unread("event_ticker", fault, event_ticker))
        event_ticker = series_ticker = ""
    try:
        row = _row(good, event_ticker or "", series_ticker, observed_at, observed_via)
    except FAULTS as error:
        raise BadFieldError("ticker", wire.ticker, excerpt(str(error))) from error
    columns = COLUMNS if not event_ticker else {**COLUMNS, "event_ticker": ()}
    rejected = rejected_fields(bad, good, columns, STAND_INS)
    if not rejected:
        return row
    count_rejected("market", bad, WireMarket)
    extra = {**(row.extra or {}), **kept_values(bad)}
    return msgspec.structs.replace(row, rejected=rejected, extra=extra)


def _row(
    wire: WireMarket,
    event_ticker: str,
    series_ticker: str,
    observed_at: datetime,
    observed_via: str,
) -> models.Market:
    yes_bid = wire.yes_bid_dollars
    yes_ask = wire.yes_ask_dollars
    no_bid = wire.no_bid_dollars
    no_ask = wire.no_ask_dollars
    last = wire.last_price_dollars
    if yes_bid is None or yes_ask is None or no_bid is None or no_ask is None or last is None:
        yes_bid = from_cents(wire.yes_bid) if yes_bid is None else yes_bid
        yes_ask = from_cents(wire.yes_ask) if yes_ask is None else yes_ask
        no_bid = from_cents(wire.no_bid) if no_bid is None else no_bid
        no_ask = from_cents(wire.no_ask) if no_ask is None else no_ask
        last = from_cents(wire.last_price) if last is None else last
    settled_at = wire.settlement_value_dollars
    if settled_at is None and wire.settlement_value is not None:
        settled_at = from_cents(wire.settlement_value)
    volume = wire.volume if wire.volume_fp is None else wire.volume_fp
    volume_24h = wire.volume_24h if wire.volume_24h_fp is None else wire.volume_24h_fp
    interest = wire.open_interest if wire.open_interest_fp is None else wire.open_interest_fp
    yes_bid_dollars, yes_bid_cents = BID[yes_bid]
    yes_ask_dollars, yes_ask_cents = ASK[yes_ask]
    no_bid_dollars, no_bid_cents = BID[no_bid]
    no_ask_dollars, no_ask_cents = ASK[no_ask]
    last_dollars, last_cents = LAST[last]
    volume_fp, volume_whole = contracts(volume)
    volume_24h_fp, volume_24h_whole = contracts(volume_24h)
    interest_fp, interest_whole = contracts(interest)
    status, word = _STATUS[wire.status]
    custom_strike = wire.custom_strike or None
    price_ranges = wire.price_ranges or None
    legs = wire.mve_selected_legs or None
    if (
        (legs and len(_encode(legs)) > MAX_JSON_BYTES)
        or (custom_strike and len(_encode(custom_strike)) > MAX_JSON_BYTES)
        or (price_ranges and len(_encode(price_ranges)) > MAX_JSON_BYTES)
    ):
        raise ValueError("too long for a column")
    return models.Market(
        ticker=wire.ticker,
        event_ticker=event_ticker,
        title=wire.title or None,
        status=status,
        close_time=TIME[wire.close_time],
        yes_bid=yes_bid_cents,
        yes_ask=yes_ask_cents,
        no_bid=no_bid_cents,
        no_ask=no_ask_cents,
        last_price=last_cents,
        volume=volume_whole,
        volume_24h=volume_24h_whole,
        open_interest=interest_whole,
        series_ticker=series_ticker,
        exchange_status=word,
        yes_bid_dollars=yes_bid_dollars,
        yes_ask_dollars=yes_ask_dollars,
        no_bid_dollars=no_bid_dollars,
        no_ask_dollars=no_ask_dollars,
        last_price_dollars=last_dollars,
        volume_fp=volume_fp,
        volume_24h_fp=volume_24h_fp,
        open_interest_fp=interest_fp,
        open_time=TIME[wire.open_time],
        expected_expiration_time=TIME[wire.expected_expiration_time],
        latest_expiration_time=TIME[wire.latest_expiration_time],
        settled_time=TIME[wire.settlement_ts],
        result=wire.result or None,
        settlement_value_dollars=DOLLARS[settled_at],
        expiration_value=wire.expiration_value or None,
        yes_sub_title=wire.yes_sub_title or None,
        no_sub_title=wire.no_sub_title or None,
        market_type=wire.market_type or None,
        strike_type=wire.strike_type or None,
        floor_strike=DECIMAL[wire.floor_strike],
        cap_strike=DECIMAL[wire.cap_strike],
        custom_strike=custom_strike,
        can_close_early=wire.can_close_early,
        rules_primary=wire.rules_primary or None,
        price_level_structure=wire.price_level_structure or None,
        price_ranges=price_ranges,
        mve_collection_ticker=wire.mve_collection_ticker or None,
        mve_selected_legs=legs,
        is_provisional=wire.is_provisional,
        extra=_extra(wire),
        exchange_updated_at=TIME[wire.updated_time],
        observed_at=observed_at,
        observed_via=observed_via,
    )


def _extra(wire: WireMarket) -> dict[str, Any] | None:
    """What has no column. Absent and empty values say nothing; of numbers, zero does.

    Written out because it runs for every market: reading attributes by name costs five times more.
    """
    extra: dict[str, Any] = {}
    if wire.subtitle:
        extra["subtitle"] = wire.subtitle
    if wire.created_time:
        extra["created_time"] = wire.created_time
    if wire.expiration_time:
        extra["expiration_time"] = wire.expiration_time
    if wire.early_close_condition:
        extra["early_close_condition"] = wire.early_close_condition
    if wire.occurrence_datetime:
        extra["occurrence_datetime"] = wire.occurrence_datetime
    if wire.fee_waiver_expiration_time:
        extra["fee_waiver_expiration_time"] = wire.fee_waiver_expiration_time
    if wire.functional_strike:
        extra["functional_strike"] = wire.functional_strike
    if wire.rules_secondary:
        extra["rules_secondary"] = wire.rules_secondary
    if wire.primary_participant_key:
        extra["primary_participant_key"] = wire.primary_participant_key
    if wire.settlement_bounds_type:
        extra["settlement_bounds_type"] = wire.settlement_bounds_type
    if wire.response_price_units:
        extra["response_price_units"] = wire.response_price_units
    if wire.category:
        extra["category"] = wire.category
    if wire.notional_value_dollars:
        extra["notional_value_dollars"] = wire.notional_value_dollars
    if wire.settlement_floor_dollars:
        extra["settlement_floor_dollars"] = wire.settlement_floor_dollars
    if wire.settlement_timer_seconds is not None:
        extra["settlement_timer_seconds"] = wire.settlement_timer_seconds
    if wire.exchange_index is not None:
        extra["exchange_index"] = wire.exchange_index
    if wire.notional_value is not None:
        extra["notional_value"] = wire.notional_value
    if wire.tick_size is not None:
        extra["tick_size"] = wire.tick_size
    if wire.risk_limit_cents is not None:
        extra["risk_limit_cents"] = wire.risk_limit_cents
    if wire.unknown:
        extra |= lasting(wire.unknown)
    return extra or None


# --- how each field is read, and what it stands for ---------------------------------------------

_PRICES = tuple(c.name for c in tables.MARKETS.columns if c.exact.endswith("_dollars"))
_COUNTS = tuple(c.name for c in tables.MARKETS.columns if c.exact.endswith("_fp"))

STAND_INS: StandIns = {
    **{name: f"{name}_dollars" for name in (*_PRICES, "settlement_value")},
    **{name: f"{name}_fp" for name in _COUNTS},
}

COLUMNS: Columns = {
    **same_name(WireMarket, tables.MARKETS),
    "event_ticker": ("event_ticker", "series_ticker"),
    "status": ("exchange_status",),
    "settlement_ts": ("settled_time",),
    "updated_time": ("exchange_updated_at",),
    **{name: (f"{name}_dollars", name) for name in _PRICES},
    **{f"{name}_dollars": (f"{name}_dollars", name) for name in _PRICES},
    **{name: (f"{name}_fp", name) for name in _COUNTS},
    **{f"{name}_fp": (f"{name}_fp", name) for name in _COUNTS},
    "settlement_value": ("settlement_value_dollars",),
}
"""Fields that are not here stand for a part of `extra` alone, or for nothing that is stored."""

_FIELDS: Fields = {
    **readers(COLUMNS, tables.MARKETS),
    "status": _status,
    **{f"{name}_dollars": dollars for name in (*_PRICES, "settlement_value")},
    **dict.fromkeys((*_PRICES, "settlement_value"), cents),
    **{f"{name}_fp": contracts for name in _COUNTS},
    **dict.fromkeys(_COUNTS, contracts),
}
