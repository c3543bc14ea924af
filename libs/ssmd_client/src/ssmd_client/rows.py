"""Rows as typed objects. Every struct has its table's columns, in their order.

Decimals are exact (`Decimal`), times aware and in UTC. A time that Python cannot hold (infinity,
before the year 1, after 9999) is None, as everywhere where the secmaster reckons with times. A test
holds the columns to the registry (`ssmd_common.tables`).
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row that was read; two are equal when all their columns are."""


class Series(Row, frozen=True, kw_only=True, gc=False):
    """A row of `series`. `volume` counts whole contracts."""

    ticker: str
    title: str | None
    category: str | None
    tags: list[str] | None
    is_game: bool | None
    active: bool | None
    volume: int | None
    frequency: str | None
    fee_type: str | None
    fee_multiplier: Decimal | None
    settlement_sources: Any
    contract_url: str | None
    exchange_updated_at: datetime | None
    created_at: datetime | None
    updated_at: datetime | None
    extra: Any


class Event(Row, frozen=True, kw_only=True, gc=False):
    """A row of `events`. `status` is open, closed or settled, as its markets are."""

    event_ticker: str
    title: str | None
    category: str | None
    series_ticker: str
    strike_date: datetime | None
    status: str
    mutually_exclusive: bool | None
    deleted_at: datetime | None
    sub_title: str | None
    strike_period: str | None
    collateral_return_type: str | None
    fee_type_override: str | None
    fee_multiplier_override: Decimal | None
    exchange_updated_at: datetime | None
    created_at: datetime | None
    updated_at: datetime | None
    extra: Any
    mve_collection_ticker: str | None = None


class Market(Row, frozen=True, kw_only=True, gc=False):
    """A row of `markets`. `status` is open (listed, not in trading), active, closed or settled.

    `…_dollars` and `…_fp` are what the exchange said; `yes_bid` and its like are whole cents, bids
    rounded down and asks up, `volume` and its like whole contracts. A multivariate market has no
    quotes; `mve_selected_legs` are the markets that it combines. `category` is its event's, else
    its series'; a multivariate market's own row has none.
    """

    ticker: str
    event_ticker: str
    title: str | None
    status: str
    close_time: datetime | None
    yes_bid: int | None
    yes_ask: int | None
    no_bid: int | None
    no_ask: int | None
    last_price: int | None
    volume: int | None
    volume_24h: int | None
    open_interest: int | None
    deleted_at: datetime | None
    series_ticker: str
    exchange_status: str | None
    yes_bid_dollars: Decimal | None
    yes_ask_dollars: Decimal | None
    no_bid_dollars: Decimal | None
    no_ask_dollars: Decimal | None
    last_price_dollars: Decimal | None
    volume_fp: Decimal | None
    volume_24h_fp: Decimal | None
    open_interest_fp: Decimal | None
    open_time: datetime | None
    expected_expiration_time: datetime | None
    latest_expiration_time: datetime | None
    settled_time: datetime | None
    result: str | None
    settlement_value_dollars: Decimal | None
    expiration_value: str | None
    yes_sub_title: str | None
    no_sub_title: str | None
    market_type: str | None
    strike_type: str | None
    floor_strike: Decimal | None
    cap_strike: Decimal | None
    custom_strike: Any
    can_close_early: bool | None
    rules_primary: str | None
    price_level_structure: str | None
    price_ranges: Any
    mve_collection_ticker: str | None
    is_provisional: bool | None
    extra: Any
    exchange_updated_at: datetime | None
    observed_at: datetime | None
    observed_via: str | None
    created_at: datetime | None
    updated_at: datetime | None
    mve_selected_legs: Any = None
    category: str | None = None


class Collection(Row, frozen=True, kw_only=True, gc=False):
    """What multivariate markets are made of; `associated_events` are those whose markets can be
    combined."""

    collection_ticker: str
    series_ticker: str
    title: str | None
    description: str | None
    functional_description: str | None
    open_date: datetime | None
    close_date: datetime | None
    associated_events: Any
    is_ordered: bool | None
    is_single_market_per_event: bool | None
    is_all_yes: bool | None
    size_min: int | None
    size_max: int | None
    price_level_structure: str | None
    price_ranges: Any
    extra: Any
    created_at: datetime | None
    updated_at: datetime | None


class SeriesFee(Row, frozen=True, kw_only=True, gc=False):
    """A step of a series' fee schedule: in force from `effective_from` up to `effective_to`."""

    series_ticker: str
    fee_type: str | None
    fee_multiplier: Decimal | None
    effective_from: datetime | None
    effective_to: datetime | None
    source_id: str | None


class FeeTier(Row, frozen=True, kw_only=True, gc=False):
    """The coefficients of the exchange's formula."""

    tier: str
    maker_fee: Decimal
    taker_fee: Decimal


class LifecycleEvent(Row, frozen=True, kw_only=True, gc=False):
    """A row of `market_lifecycle_events`: the exchange's message, or the clock's transition."""

    id: int
    market_ticker: str | None
    event_ticker: str | None
    event_type: str
    open_ts: datetime | None
    close_ts: datetime | None
    determined_ts: datetime | None
    settled_ts: datetime | None
    result: str | None
    metadata: Any
    sent_at: datetime | None
    received_at: datetime | None
    dedupe_key: str


# What the API puts beside a row, and its other answers.


class EventOfMarket(Row, frozen=True, kw_only=True, gc=False):
    """What a list of markets says of a market's event; its category is here or its series'."""

    event_ticker: str
    title: str | None
    sub_title: str | None
    category: str | None
    status: str | None
    strike_date: datetime | None
    mutually_exclusive: bool | None


class SeriesOfMarket(Row, frozen=True, kw_only=True, gc=False):
    """What a list of markets says of a market's series."""

    ticker: str
    title: str | None
    category: str | None
    tags: list[str] | None
    is_game: bool | None
    volume: int | None


class ListedMarket(Market, frozen=True, kw_only=True, gc=False):
    """A market in a list. `category` is its event's, else its series'; `expiration_time` is
    `latest_expiration_time`, by an older name."""

    category: str | None
    expiration_time: datetime | None
    event: EventOfMarket
    series: SeriesOfMarket


class MarketDetail(Market, frozen=True, kw_only=True, gc=False):
    """A market that was asked for alone; `category` and `expiration_time` as above."""

    category: str | None
    expiration_time: datetime | None
    event: Event
    series: Series


class ListedEvent(Event, frozen=True, kw_only=True, gc=False):
    """An event in a list."""

    market_count: int


class EventDetail(Event, frozen=True, kw_only=True, gc=False):
    """An event that was asked for alone."""

    market_count: int
    series: Series
    markets: list[Market]


class SeriesDetail(Series, frozen=True, kw_only=True, gc=False):
    """A series that was asked for alone: `fee` is in force now, `counts` are by status of its
    `events` and `markets`."""

    fee: SeriesFee | None
    counts: dict[str, dict[str, int]]


class LookupMarket(Row, frozen=True, kw_only=True, gc=False):
    """What a program must know of a market before it subscribes."""

    ticker: str
    event_ticker: str
    series_ticker: str
    status: str
    exchange_status: str | None
    open_time: datetime | None
    close_time: datetime | None
    settled_time: datetime | None
    result: str | None
    price_level_structure: str | None
    updated_at: datetime | None


class Lookup(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Of the tickers that were asked for: those that exist, in order, and those that do not."""

    markets: list[LookupMarket]
    missing: list[str]


class Found(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One result of a search; `kind` is series, event or market, a larger `rank` is better."""

    kind: str
    ticker: str
    title: str | None
    status: str
    series_ticker: str
    event_ticker: str | None
    rank: float


class Cost(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one fill costs, in dollars."""

    taker_dollars: Decimal
    maker_dollars: Decimal


class Fill(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The fee of one fill; `cost` is None where nothing is in force or its type is unknown.
    `tier_source` says where the tier's coefficients are from."""

    price: Decimal
    count: Decimal
    tier: str
    tier_source: str = ""
    cost: Cost | None


class QuoteError(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why an order has no fee: `not-found`, `no-fee` or `unknown-fee`."""

    kind: str
    detail: str


class Quote(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an order costs; where there is an `error` it has no fee, cost or break-even.

    `at` None is now. `by` says whose type and multiplier it has: `event` or `schedule`. A contract
    has to be worth `break_even_dollars` at its settlement on average; of a count of 0 none is told.
    """

    ticker: str
    side: str
    price: Decimal
    count: Decimal
    role: str
    at: datetime | None
    fee_type: str | None
    fee_multiplier: Decimal | None
    by: str | None
    fee_dollars: Decimal | None
    cost_dollars: Decimal | None
    break_even_dollars: Decimal | None
    error: QuoteError | None


class FeeSchedule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A series' fees over time; `as_of` None is now."""

    series_ticker: str
    as_of: datetime | None
    in_force: SeriesFee | None
    schedule: list[SeriesFee]
    fee: Fill | None = None


class Difference(msgspec.Struct, frozen=True, gc=False):
    """One column before and after, as the API writes it: decimals and times are texts."""

    old: Any
    new: Any


class Version(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a transaction made of a row. `at` is its commit, `kind` added, changed or removed;
    `changes` are the columns of a row that was changed. Later ones have larger numbers."""

    number: int
    at: datetime
    xid: int
    kind: str
    changes: dict[str, Difference]


class MarketVersion(Version, frozen=True, kw_only=True, gc=False):
    """`data` is the market from then on, `before` the one that was removed; both without the
    columns that history does not keep."""

    data: Market | None
    before: Market | None


class EventVersion(Version, frozen=True, kw_only=True, gc=False):
    """The same of an event."""

    data: Event | None
    before: Event | None


class SeriesVersion(Version, frozen=True, kw_only=True, gc=False):
    """The same of a series."""

    data: Series | None
    before: Series | None
