"""Rows of the published tables, as PostgreSQL holds them (docs/contracts.md § 1).

Field names and order are the columns that a writer provides; `created_at` and `updated_at` belong
to the database's writers and are not here. Prices and counts exist twice: exact (`*_dollars`,
`*_fp`) and rounded for readers (cents, whole contracts); `ssmd_common.prices` has the rounding.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec


class RejectedField(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A field of the exchange whose value could not be read; the rest of its row could.

    `columns` are those that it stands for: a stored row keeps its values there, a new one has NULL.
    `reason` is a sentence for an operator, `raw` the beginning of what the exchange sent.
    """

    field: str
    columns: tuple[str, ...] = ()
    reason: str
    raw: str


class SetAside(msgspec.Struct, frozen=True):
    """A row that could not be read: its ticker where that could, the reason, and its beginning."""

    ticker: str | None
    reason: str
    raw: str


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row; `columns()` names its fields in order. Rows hold no rows: no cycle needs finding."""

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        return tuple(name for name in cls.__struct_fields__ if name != "rejected")


class ReadRow(Row, frozen=True, kw_only=True, gc=False):
    """A row as the exchange sent it; `rejected`, which is no column, names what was unreadable."""

    rejected: tuple[RejectedField, ...] = ()

    @property
    def kept(self) -> frozenset[str]:
        """Columns that a stored row keeps, because what the exchange said there is unreadable."""
        return frozenset(column for field in self.rejected for column in field.columns)


class Series(ReadRow, frozen=True, kw_only=True, gc=False):
    ticker: str
    title: str | None = None
    category: str | None = None
    tags: list[str] | None = None
    is_game: bool = False
    active: bool = True
    volume: int | None = None
    frequency: str | None = None
    fee_type: str | None = None
    fee_multiplier: Decimal | None = None
    settlement_sources: list[Any] | None = None
    contract_url: str | None = None
    extra: dict[str, Any] | None = None
    exchange_updated_at: datetime | None = None


class Event(ReadRow, frozen=True, kw_only=True, gc=False):
    """`status` is not here: it follows from the event's markets (`ssmd_common.status`)."""

    event_ticker: str
    title: str | None = None
    category: str | None = None
    series_ticker: str
    strike_date: datetime | None = None
    mutually_exclusive: bool | None = None
    sub_title: str | None = None
    strike_period: str | None = None
    collateral_return_type: str | None = None
    fee_type_override: str | None = None
    fee_multiplier_override: Decimal | None = None
    extra: dict[str, Any] | None = None
    exchange_updated_at: datetime | None = None


class Market(ReadRow, frozen=True, kw_only=True, gc=False):
    """`status` is None where the exchange's word is unknown: what is stored stays."""

    ticker: str
    event_ticker: str
    title: str | None = None
    status: str | None = None
    close_time: datetime | None = None
    yes_bid: int | None = None
    yes_ask: int | None = None
    no_bid: int | None = None
    no_ask: int | None = None
    last_price: int | None = None
    volume: int | None = None
    volume_24h: int | None = None
    open_interest: int | None = None
    series_ticker: str
    exchange_status: str | None = None
    yes_bid_dollars: Decimal | None = None
    yes_ask_dollars: Decimal | None = None
    no_bid_dollars: Decimal | None = None
    no_ask_dollars: Decimal | None = None
    last_price_dollars: Decimal | None = None
    volume_fp: Decimal | None = None
    volume_24h_fp: Decimal | None = None
    open_interest_fp: Decimal | None = None
    open_time: datetime | None = None
    expected_expiration_time: datetime | None = None
    latest_expiration_time: datetime | None = None
    settled_time: datetime | None = None
    result: str | None = None
    settlement_value_dollars: Decimal | None = None
    expiration_value: str | None = None
    yes_sub_title: str | None = None
    no_sub_title: str | None = None
    market_type: str | None = None
    strike_type: str | None = None
    floor_strike: Decimal | None = None
    cap_strike: Decimal | None = None
    custom_strike: dict[str, Any] | None = None
    can_close_early: bool | None = None
    rules_primary: str | None = None
    price_level_structure: str | None = None
    price_ranges: list[Any] | None = None
    mve_collection_ticker: str | None = None
    is_provisional: bool | None = None
    extra: dict[str, Any] | None = None
    exchange_updated_at: datetime | None = None
    observed_at: datetime
    observed_via: str = "rest"


class SeriesFee(Row, frozen=True, kw_only=True, gc=False):
    """One step of a series' fee schedule, in force from `effective_from` up to `effective_to`."""

    series_ticker: str
    fee_type: str
    fee_multiplier: Decimal
    effective_from: datetime
    effective_to: datetime | None = None
    source_id: str | None = None
