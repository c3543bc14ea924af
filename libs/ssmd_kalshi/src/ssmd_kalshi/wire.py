"""The exchange's rows as they come over the wire: verbatim, and tolerant by design.

Every field but the ticker is optional, because the exchange leaves optional fields out and adds and
retires fields monthly. Numbers and prices stay in the text or number the exchange sent (`"0.5400"`,
`"56.43"`, or the integer cents of older replies), times stay RFC 3339 text, words of enumerations
stay text. `ssmd_kalshi.convert` gives them meaning. A field that is not declared here lands in
`unknown`, one whose value has not its type in `rejected` (see `ssmd_kalshi.decode`), so nothing
that the exchange said is lost.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from ssmd_kalshi.unread import MAX_TICKER_CHARACTERS, Unread

Ticker = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TICKER_CHARACTERS)]
# Where a number goes beyond 64 bits nothing that reads the tables can follow.
Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Real = Annotated[float, msgspec.Meta(gt=-(2.0**63), lt=2.0**63)]
Number = str | Whole | Real | None
Text = str | None
Texts = list[str] | None
Flag = bool | None
# Deep enough for all that was seen. What is deeper is read row by row, where depth is measured.
_Leaf = str | Whole | Real | bool | None
_Twig = _Leaf | list[_Leaf] | dict[str, _Leaf]
_Branch = _Leaf | list[_Twig] | dict[str, _Twig]
Object = dict[str, _Branch] | None
Objects = list[dict[str, _Branch]] | None

# No field of the exchange has such names.
UNKNOWN_FIELD = "(unknown)"
REJECTED_FIELD = "(rejected)"
# Filled by the row by row reading alone, where it is measured: nothing on the wire fits it.
_Nothing = Annotated[dict[str, Any], msgspec.Meta(max_length=0)]


class WireRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Base: `unknown` holds the fields that this version of the client does not know, `rejected`
    those whose values have not their type; these are None in the row."""

    unknown: _Nothing | None = msgspec.field(default=None, name=UNKNOWN_FIELD)
    rejected: tuple[Unread, ...] = msgspec.field(default=(), name=REJECTED_FIELD)


class WireMarket(WireRow, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One market (specification 3.34, and the cent fields of replies before March 2026).

    It has no series_ticker and no category: those are its event's.
    """

    ticker: Ticker
    event_ticker: Text = None
    market_type: Text = None
    title: Text = None
    subtitle: Text = None
    yes_sub_title: Text = None
    no_sub_title: Text = None
    created_time: Text = None
    updated_time: Text = None
    open_time: Text = None
    close_time: Text = None
    expected_expiration_time: Text = None
    expiration_time: Text = None
    latest_expiration_time: Text = None
    settlement_timer_seconds: Number = None
    status: Text = None
    yes_bid_dollars: Number = None
    yes_ask_dollars: Number = None
    no_bid_dollars: Number = None
    no_ask_dollars: Number = None
    last_price_dollars: Number = None
    yes_bid_size_fp: Number = None
    yes_ask_size_fp: Number = None
    volume_fp: Number = None
    volume_24h_fp: Number = None
    open_interest_fp: Number = None
    notional_value_dollars: Number = None
    previous_yes_bid_dollars: Number = None
    previous_yes_ask_dollars: Number = None
    previous_price_dollars: Number = None
    liquidity_dollars: Number = None
    settlement_value_dollars: Number = None
    settlement_ts: Text = None
    result: Text = None
    expiration_value: Text = None
    can_close_early: Flag = None
    early_close_condition: Text = None
    occurrence_datetime: Text = None
    fee_waiver_expiration_time: Text = None
    strike_type: Text = None
    floor_strike: Number = None
    cap_strike: Number = None
    functional_strike: Text = None
    custom_strike: Object = None
    rules_primary: Text = None
    rules_secondary: Text = None
    mve_collection_ticker: Text = None
    mve_selected_legs: Objects = None
    primary_participant_key: Text = None
    price_level_structure: Text = None
    price_ranges: Objects = None
    is_provisional: Flag = None
    exchange_index: Number = None
    settlement_bounds_type: Text = None
    settlement_floor_dollars: Number = None
    # Before March 2026: integer cents and whole contracts.
    yes_bid: Number = None
    yes_ask: Number = None
    no_bid: Number = None
    no_ask: Number = None
    last_price: Number = None
    volume: Number = None
    volume_24h: Number = None
    open_interest: Number = None
    notional_value: Number = None
    previous_yes_bid: Number = None
    previous_yes_ask: Number = None
    previous_price: Number = None
    liquidity: Number = None
    settlement_value: Number = None
    tick_size: Number = None
    response_price_units: Text = None
    category: Text = None
    risk_limit_cents: Number = None


class WireEvent(WireRow, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One event; `markets` only where nested markets were asked for. It has no status."""

    event_ticker: Ticker
    series_ticker: Text = None
    title: Text = None
    sub_title: Text = None
    category: Text = None
    collateral_return_type: Text = None
    mutually_exclusive: Flag = None
    strike_date: Text = None
    strike_period: Text = None
    markets: list[WireMarket] | None = None
    product_metadata: Object = None
    settlement_sources: Objects = None
    last_updated_ts: Text = None
    fee_type_override: Text = None
    fee_multiplier_override: Number = None
    exchange_index: Number = None
    available_on_brokers: Flag = None


class WireCollection(WireRow, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One multivariate event collection: which events can be combined to a market, and how."""

    collection_ticker: Ticker
    series_ticker: Text = None
    title: Text = None
    description: Text = None
    functional_description: Text = None
    open_date: Text = None
    close_date: Text = None
    associated_events: Objects = None
    associated_event_tickers: Texts = None
    is_ordered: Flag = None
    is_single_market_per_event: Flag = None
    is_all_yes: Flag = None
    size_min: Number = None
    size_max: Number = None
    exchange_index: Number = None
    price_level_structure: Text = None
    price_ranges: Objects = None


class WireSeries(WireRow, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One series; `tags` may be null, `volume_fp` comes only with include_volume."""

    ticker: Ticker
    title: Text = None
    category: Text = None
    categories: Texts = None
    frequency: Text = None
    tags: Texts = None
    settlement_sources: Objects = None
    contract_url: Text = None
    contract_terms_url: Text = None
    product_metadata: Object = None
    fee_type: Text = None
    fee_multiplier: Number = None
    additional_prohibitions: Texts = None
    volume_fp: Number = None
    volume: Number = None
    last_updated_ts: Text = None
    exchange_index: Number = None


class WireSeriesFeeChange(WireRow, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One step of a series' fee schedule, in force from `scheduled_ts`."""

    series_ticker: Ticker
    id: Text = None
    fee_type: Text = None
    fee_multiplier: Number = None
    scheduled_ts: Text = None


class WireEventFeeChange(WireRow, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One step of an event's override; both overrides null means the override is cleared."""

    event_ticker: Ticker
    id: Text = None
    series_ticker: Text = None
    fee_type_override: Text = None
    fee_multiplier_override: Number = None
    scheduled_ts: Text = None


class WireTrade(WireRow, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One trade of a listing; over the WebSocket its fields have other names."""

    trade_id: Ticker
    ticker: Text = None
    yes_price_dollars: Number = None
    no_price_dollars: Number = None
    count_fp: Number = None
    taker_side: Text = None
    taker_outcome_side: Text = None
    taker_book_side: Text = None
    is_block_trade: Flag = None
    created_time: Text = None
    # Before March 2026: integer cents, dollars as a number, whole contracts.
    yes_price: Number = None
    no_price: Number = None
    price: Number = None
    count: Number = None


class WireHistoricalCutoff(msgspec.Struct, frozen=True, kw_only=True):
    """Where the live tier ends: markets settled before are under /historical. RFC 3339 text."""

    market_settled_ts: str
    trades_created_ts: Text = None
    orders_updated_ts: Text = None
    market_positions_last_updated_ts: Text = None


class ExchangeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the exchange takes state changes at all, and whether it trades now."""

    exchange_active: bool
    trading_active: bool
    intra_exchange_transfers_active: Flag = None
    exchange_estimated_resume_time: Text = None
    exchange_index_statuses: Objects = None


class DailySession(msgspec.Struct, frozen=True):
    """Opening hours in New York time, `HH:MM`; 00:00 to 00:00 is the whole day."""

    open_time: str
    close_time: str


class WeeklySchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The hours of each weekday from `start_time` to `end_time`."""

    start_time: Text = None
    end_time: Text = None
    monday: list[DailySession] | None = None
    tuesday: list[DailySession] | None = None
    wednesday: list[DailySession] | None = None
    thursday: list[DailySession] | None = None
    friday: list[DailySession] | None = None
    saturday: list[DailySession] | None = None
    sunday: list[DailySession] | None = None


class ExchangeSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """Standard hours and announced maintenance."""

    standard_hours: list[WeeklySchedule] | None = None
    maintenance_windows: Objects = None


class EndpointCost(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one route whose cost is not the default."""

    method: str
    path: str
    cost: int


class EndpointCosts(msgspec.Struct, frozen=True, kw_only=True):
    """What a call costs; routes that are not listed cost `default_cost`."""

    default_cost: int
    endpoint_costs: list[EndpointCost] | None = None


class SportFilters(msgspec.Struct, frozen=True, kw_only=True):
    """Scopes and competitions by which a sport's series can be filtered."""

    scopes: list[str] | None = None
    competitions: dict[str, Any] | None = None


class FiltersBySport(msgspec.Struct, frozen=True, kw_only=True):
    """Filters of each sport, and the order in which the exchange shows the sports."""

    filters_by_sports: dict[str, SportFilters]
    sport_ordering: list[str] | None = None
