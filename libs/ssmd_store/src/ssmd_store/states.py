"""Rows of `markets` and `events`, as lifecycle reads and writes them. Pure."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from ssmd_common.status import MarketStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketState:
    """A row of `markets`. `extra` is written with a new row and never read."""

    ticker: str
    event_ticker: str
    series_ticker: str
    status: str = MarketStatus.OPEN
    exchange_status: str | None = None
    title: str | None = None
    open_time: datetime | None = None
    close_time: datetime | None = None
    expected_expiration_time: datetime | None = None
    settled_time: datetime | None = None
    result: str | None = None
    settlement_value_dollars: Decimal | None = None
    yes_sub_title: str | None = None
    no_sub_title: str | None = None
    strike_type: str | None = None
    floor_strike: Decimal | None = None
    cap_strike: Decimal | None = None
    custom_strike: dict[str, Any] | None = None
    can_close_early: bool | None = None
    rules_primary: str | None = None
    price_level_structure: str | None = None
    price_ranges: list[Any] | None = None
    extra: dict[str, Any] | None = None
    observed_at: datetime | None = None
    observed_via: str | None = None
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventState:
    """A row of `events`; its status follows from its markets. `extra` is as a market's."""

    event_ticker: str
    series_ticker: str
    title: str | None = None
    sub_title: str | None = None
    collateral_return_type: str | None = None
    strike_date: datetime | None = None
    strike_period: str | None = None
    fee_type_override: str | None = None
    fee_multiplier_override: Decimal | None = None
    extra: dict[str, Any] | None = None
    exchange_updated_at: datetime | None = None
