"""The registry of columns: each table, one line for each column, in the table's order.

A line says the column's name and type, and beside the type what else there is to say of it
(`ssmd_common.columns`). All that knows columns follows from here or is held to it by a test:
docs/development.md, "Add a column". Rows are as PostgreSQL holds them (docs/contracts.md § 1). A
derived column (`created_at` …) is None in a row that is to be written.
"""

from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any

import msgspec

from ssmd_common.columns import Column, Rounding, columns_of
from ssmd_common.prices import ask_cents, bid_cents, last_price_cents, whole_contracts


def _cents(of: str, rounding: Rounding, how: str) -> Column:
    exact = f"{of}_dollars"
    note = f"Cents, rounded {how}; {exact} is exact."
    return Column(exact=exact, rounding=rounding, note=note, volatile=True)


def _whole(exact: str, note: str = "") -> Column:
    return Column(exact=exact, rounding=whole_contracts, note=note, sorts=True, volatile=True)


Key = Annotated[str, Column(sorts=True)]
MarketData = Annotated[Decimal | None, Column(volatile=True)]
Created = Annotated[datetime | None, Column(derived=True)]
Updated = Annotated[datetime | None, Column(derived=True, volatile=True)]
ExchangeUpdated = Annotated[datetime | None, Column(volatile=True)]
Deleted = Annotated[
    datetime | None, Column(derived=True, note="Set when the exchange does not know it any more.")
]
Extra = Annotated[
    dict[str, Any] | None,
    Column(note="Every field of the exchange without a column of its own."),
]


class RejectedField(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A field of the exchange whose value could not be read; the rest of its row could.

    `columns` are those that it stands for: a stored row keeps its values there, a new one has NULL.
    `reason` is a sentence for an operator, `raw` the beginning of what the exchange sent.
    """

    field: str
    columns: tuple[str, ...] = ()
    reason: str
    raw: str


class RejectedRow(msgspec.Struct, frozen=True):
    """A row that could not be read: its ticker where that could, the reason, and its beginning."""

    ticker: str | None
    reason: str
    raw: str


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row; `columns()` names what is written of it. Rows hold no rows: no cycle needs finding."""

    @classmethod
    @cache
    def columns(cls) -> tuple[str, ...]:
        return tuple(column.name for column in columns_of(cls) if not column.derived)


class ReadRow(Row, frozen=True, kw_only=True, gc=False):
    """A row as the exchange sent it; `rejected`, which is no column, names what was unreadable."""

    rejected: tuple[RejectedField, ...] = ()

    @property
    def kept(self) -> frozenset[str]:
        """Columns that a stored row keeps, because what the exchange said there is unreadable."""
        return frozenset(column for field in self.rejected for column in field.columns)


class Series(ReadRow, frozen=True, kw_only=True, gc=False):
    ticker: Key
    title: str | None = None
    category: str | None = None
    tags: list[str] | None = None
    is_game: bool = False
    active: bool = True
    volume: Annotated[int | None, Column(sorts=True, volatile=True, note="Whole contracts.")] = None
    frequency: str | None = None
    fee_type: str | None = None
    fee_multiplier: Decimal | None = None
    settlement_sources: list[Any] | None = None
    contract_url: str | None = None
    exchange_updated_at: ExchangeUpdated = None
    created_at: Created = None
    updated_at: Updated = None
    extra: Extra = None


class Event(ReadRow, frozen=True, kw_only=True, gc=False):
    event_ticker: Key
    title: str | None = None
    category: str | None = None
    series_ticker: str
    strike_date: Annotated[datetime | None, Column(sorts=True)] = None
    status: Annotated[str | None, Column(derived=True)] = None
    """It follows from the event's markets (`ssmd_store.parents`)."""
    mutually_exclusive: bool | None = None
    deleted_at: Deleted = None
    sub_title: str | None = None
    strike_period: str | None = None
    collateral_return_type: str | None = None
    fee_type_override: str | None = None
    fee_multiplier_override: Decimal | None = None
    exchange_updated_at: ExchangeUpdated = None
    created_at: Created = None
    updated_at: Updated = None
    extra: Extra = None
    mve_collection_ticker: Annotated[
        str | None, Column(note="Of a multivariate event; it follows from its market.")
    ] = None


class Market(ReadRow, frozen=True, kw_only=True, gc=False):
    """`status` is None where the exchange's word is unknown: what is stored stays."""

    ticker: Key
    event_ticker: str
    title: str | None = None
    status: str | None = None
    close_time: Annotated[datetime | None, Column(sorts=True)] = None
    yes_bid: Annotated[int | None, _cents("yes_bid", bid_cents, "down")] = None
    yes_ask: Annotated[int | None, _cents("yes_ask", ask_cents, "up")] = None
    no_bid: Annotated[int | None, _cents("no_bid", bid_cents, "down")] = None
    no_ask: Annotated[int | None, _cents("no_ask", ask_cents, "up")] = None
    last_price: Annotated[int | None, _cents("last_price", last_price_cents, "half up")] = None
    volume: Annotated[int | None, _whole("volume_fp", "Whole contracts.")] = None
    volume_24h: Annotated[int | None, _whole("volume_24h_fp")] = None
    open_interest: Annotated[int | None, _whole("open_interest_fp")] = None
    deleted_at: Deleted = None
    series_ticker: str
    exchange_status: Annotated[str | None, Column(note="The exchange's own word.")] = None
    yes_bid_dollars: MarketData = None
    yes_ask_dollars: MarketData = None
    no_bid_dollars: MarketData = None
    no_ask_dollars: MarketData = None
    last_price_dollars: MarketData = None
    volume_fp: MarketData = None
    volume_24h_fp: MarketData = None
    open_interest_fp: MarketData = None
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
    extra: Extra = None
    exchange_updated_at: ExchangeUpdated = None
    observed_at: Annotated[
        datetime,
        Column(observation=True, volatile=True, note="The observation that last changed the row."),
    ]
    observed_via: Annotated[str, Column(observation=True, volatile=True)] = "rest"
    created_at: Created = None
    updated_at: Updated = None
    mve_selected_legs: Annotated[
        list[Any] | None,
        Column(
            note="What a multivariate market combines: `market_ticker`, `event_ticker`, `side` of"
            " each. A leg may be of a market that is not stored."
        ),
    ] = None
    category: Annotated[
        str | None,
        Column(
            derived=True,
            note="Its event's, else its series'; null in a multivariate market's own row.",
        ),
    ] = None


class Collection(ReadRow, frozen=True, kw_only=True, gc=False):
    """What multivariate markets are made of. No part of the change stream."""

    collection_ticker: Key
    series_ticker: str
    title: str | None = None
    description: str | None = None
    functional_description: str | None = None
    open_date: datetime | None = None
    close_date: datetime | None = None
    associated_events: Annotated[
        list[Any] | None, Column(note="The events whose markets can be combined.")
    ] = None
    is_ordered: bool | None = None
    is_single_market_per_event: bool | None = None
    is_all_yes: bool | None = None
    size_min: Annotated[int | None, Column(note="Legs of a market at least.")] = None
    size_max: Annotated[int | None, Column(note="Legs of a market at most; 0 is no limit.")] = None
    price_level_structure: str | None = None
    price_ranges: list[Any] | None = None
    extra: Extra = None
    created_at: Created = None
    updated_at: Updated = None


class SeriesFee(Row, frozen=True, kw_only=True, gc=False):
    """One step of a series' fee schedule, in force from `effective_from` up to `effective_to`."""

    series_ticker: str
    fee_type: str
    fee_multiplier: Decimal
    effective_from: datetime
    effective_to: datetime | None = None
    source_id: str | None = None


class FeeTier(Row, frozen=True, kw_only=True, gc=False):
    """The coefficients of the exchange's formula: a row of `fees`."""

    tier: str
    maker_fee: Decimal
    taker_fee: Decimal


class LifecycleRow(Row, frozen=True, kw_only=True, gc=False):
    """A row of `market_lifecycle_events`, which the table itself numbers."""

    market_ticker: str | None
    event_ticker: str | None
    event_type: str
    open_ts: datetime | None = None
    close_ts: datetime | None = None
    determined_ts: datetime | None = None
    settled_ts: datetime | None = None
    result: str | None = None
    metadata: msgspec.Raw
    sent_at: datetime | None = None
    received_at: datetime
    dedupe_key: str


# Tables that are written by statements of their own: only their columns are declared.


class SyncRun(Row, frozen=True, kw_only=True, gc=False):
    id: int
    job: str
    scope: dict[str, Any]
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    requests: int
    tokens: int
    fetched: int
    inserted: int
    updated: int
    unchanged: int
    deleted: int
    rejected_rows: list[Any]
    rejected_fields: list[Any]
    unread: list[str] | None
    error: str | None


class ApiKey(Row, frozen=True, kw_only=True, gc=False):
    id: int
    name: str
    key_prefix: str
    key_hash: bytes
    scopes: list[str]
    rate_limit_per_minute: int
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
