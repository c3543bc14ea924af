"""Wire rows → rows of the published tables (`ssmd_common.models`). Pure.

Both price generations are understood: fixed-point dollars and counts as text, and the integer cents
and whole contracts of older replies; where both stand, dollars win. Empty text is None. The year 1,
which the exchange writes for "never", is None. `extra` of a market holds every field that has no
column of its own, quotes that change with every trade left out.

The exchange repeats values without end (`"0.0000"`, one close time for a whole event), so parsing
is remembered by text; that, and not cleverness, is why a page converts in a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Generic, TypeVar

from ssmd_common import models
from ssmd_common.prices import ask_cents, bid_cents, last_price_cents, whole_contracts
from ssmd_common.status import market_status
from ssmd_common.tickers import is_game
from ssmd_kalshi.errors import BadFieldError, excerpt
from ssmd_kalshi.pages import SetAside
from ssmd_kalshi.wire import (
    MAX_TICKER_CHARACTERS,
    Number,
    WireEvent,
    WireMarket,
    WireSeries,
    WireSeriesFeeChange,
)

V = TypeVar("V")

MEMO_ENTRIES = 200_000
MAX_STATUS_CHARACTERS = 16
_DOLLARS_LIMIT = Decimal(9_999)  # numeric(10,6) and numeric(8,4), rounding included
_COUNT_LIMIT = Decimal(10) ** 18  # numeric(20,2), and whole contracts in a bigint
_MAX_EXPONENT = 30


# --- values -------------------------------------------------------------------------------------


class _Memo(dict[Any, V], Generic[V]):
    """A function remembered by its argument; emptied when full. None and "" give None."""

    def __init__(self, parse: Callable[[Any], V]) -> None:
        super().__init__()
        self._parse = parse

    def __missing__(self, key: Any) -> V:
        if len(self) >= MEMO_ENTRIES:
            self.clear()
        value = self[key] = self._parse(key)
        return value


def decimal(value: Number) -> Decimal | None:
    """The exact number. ValueError or ArithmeticError for text that is none, NaN and infinities."""
    if value is None or value == "":
        return None
    # repr of a float is the shortest text that reads back the same: what the exchange wrote.
    number = Decimal(value if isinstance(value, str | int) else repr(value))
    if not number.is_finite() or abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError("it is not a number in any sensible range")
    return number


def dollars(value: Number) -> Decimal | None:
    number = decimal(value)
    if number is not None and abs(number) >= _DOLLARS_LIMIT:
        raise ValueError("it is not a price in dollars")
    return number


def count(value: Number) -> Decimal | None:
    number = decimal(value)
    if number is not None and abs(number) >= _COUNT_LIMIT:
        raise ValueError("it is not a number of contracts")
    return number


def time(value: str | None) -> datetime | None:
    """RFC 3339 text with any number of fractional digits (microseconds are kept) as UTC.

    The year 1 is how the exchange writes "never": None. A time without a zone is UTC.
    """
    if not value or value.startswith("0001-"):
        return None
    moment = datetime.fromisoformat(value)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("it is beyond the year 9999") from error


_DECIMAL = _Memo(decimal)
_DOLLARS = _Memo(dollars)
_COUNT = _Memo(count)
_WHOLE = _Memo(lambda value: whole_contracts(count(value)))
_BID = _Memo(lambda value: bid_cents(dollars(value)))
_ASK = _Memo(lambda value: ask_cents(dollars(value)))
_LAST = _Memo(lambda value: last_price_cents(dollars(value)))
_TIME = _Memo(time)


def _from_cents(cents: Number) -> str | None:
    """The older generation's integer cents as a text of dollars."""
    number = decimal(cents)
    return None if number is None else str(number.scaleb(-2))


# --- markets ------------------------------------------------------------------------------------

_VOLATILE = frozenset(
    [
        "yes_bid_size_fp",
        "yes_ask_size_fp",
        "liquidity",
        "liquidity_dollars",
        "previous_yes_bid",
        "previous_yes_ask",
        "previous_price",
        "previous_yes_bid_dollars",
        "previous_yes_ask_dollars",
        "previous_price_dollars",
    ]
)
_VOLATILE_PREFIXES = (
    "yes_bid",
    "yes_ask",
    "no_bid",
    "no_ask",
    "last_price",
    "previous_",
    "volume",
    "open_interest",
    "liquidity",
)
_CONVERTED = frozenset(
    [
        "unknown",
        "updated_time",
        "settlement_ts",
        "status",
        "yes_bid",
        "yes_ask",
        "no_bid",
        "no_ask",
        "last_price",
        "volume",
        "volume_24h",
        "open_interest",
        "settlement_value",
    ]
)
_EXTRA = tuple(
    name
    for name in WireMarket.__struct_fields__
    if name not in _VOLATILE | _CONVERTED | frozenset(models.Market.__struct_fields__)
)
_extra_values = attrgetter(*_EXTRA)


def market(
    wire: WireMarket, series_ticker: str, observed_at: datetime, *, observed_via: str = "rest"
) -> models.Market:
    """The row of a market; its series is its event's, which the market does not say.

    `status` is None where the exchange's word is not known: what is stored stays. Raises
    BadFieldError where a value has no meaning.
    """
    try:
        return _market(wire, series_ticker, observed_at, observed_via)
    except (ValueError, ArithmeticError, TypeError) as error:
        raise _first_bad(wire, _MARKET_FIELDS, error) from error


def _market(
    wire: WireMarket, series_ticker: str, observed_at: datetime, observed_via: str
) -> models.Market:
    event_ticker = wire.event_ticker
    if not event_ticker:
        raise BadFieldError("event_ticker", event_ticker, "a market without an event has no place")
    _check_ticker("ticker", wire.ticker)
    _check_ticker("event_ticker", event_ticker)
    yes_bid = wire.yes_bid_dollars
    yes_ask = wire.yes_ask_dollars
    no_bid = wire.no_bid_dollars
    no_ask = wire.no_ask_dollars
    last = wire.last_price_dollars
    if yes_bid is None or yes_ask is None or no_bid is None or no_ask is None or last is None:
        yes_bid = _from_cents(wire.yes_bid) if yes_bid is None else yes_bid
        yes_ask = _from_cents(wire.yes_ask) if yes_ask is None else yes_ask
        no_bid = _from_cents(wire.no_bid) if no_bid is None else no_bid
        no_ask = _from_cents(wire.no_ask) if no_ask is None else no_ask
        last = _from_cents(wire.last_price) if last is None else last
    settled_at = wire.settlement_value_dollars
    if settled_at is None and wire.settlement_value is not None:
        settled_at = _from_cents(wire.settlement_value)
    volume = wire.volume if wire.volume_fp is None else wire.volume_fp
    volume_24h = wire.volume_24h if wire.volume_24h_fp is None else wire.volume_24h_fp
    interest = wire.open_interest if wire.open_interest_fp is None else wire.open_interest_fp
    word = wire.status
    return models.Market(
        ticker=wire.ticker,
        event_ticker=event_ticker,
        title=wire.title or None,
        status=market_status(word),
        close_time=_TIME[wire.close_time],
        yes_bid=_BID[yes_bid],
        yes_ask=_ASK[yes_ask],
        no_bid=_BID[no_bid],
        no_ask=_ASK[no_ask],
        last_price=_LAST[last],
        volume=_WHOLE[volume],
        volume_24h=_WHOLE[volume_24h],
        open_interest=_WHOLE[interest],
        series_ticker=series_ticker,
        # The column is narrower than a word that nobody has seen yet may be.
        exchange_status=word[:MAX_STATUS_CHARACTERS] if word else None,
        yes_bid_dollars=_DOLLARS[yes_bid],
        yes_ask_dollars=_DOLLARS[yes_ask],
        no_bid_dollars=_DOLLARS[no_bid],
        no_ask_dollars=_DOLLARS[no_ask],
        last_price_dollars=_DOLLARS[last],
        volume_fp=_COUNT[volume],
        volume_24h_fp=_COUNT[volume_24h],
        open_interest_fp=_COUNT[interest],
        open_time=_TIME[wire.open_time],
        expected_expiration_time=_TIME[wire.expected_expiration_time],
        latest_expiration_time=_TIME[wire.latest_expiration_time],
        settled_time=_TIME[wire.settlement_ts],
        result=wire.result or None,
        settlement_value_dollars=_DOLLARS[settled_at],
        expiration_value=wire.expiration_value or None,
        yes_sub_title=wire.yes_sub_title or None,
        no_sub_title=wire.no_sub_title or None,
        market_type=wire.market_type or None,
        strike_type=wire.strike_type or None,
        floor_strike=_DECIMAL[wire.floor_strike],
        cap_strike=_DECIMAL[wire.cap_strike],
        custom_strike=wire.custom_strike or None,
        can_close_early=wire.can_close_early,
        rules_primary=wire.rules_primary or None,
        price_level_structure=wire.price_level_structure or None,
        price_ranges=wire.price_ranges or None,
        mve_collection_ticker=wire.mve_collection_ticker or None,
        is_provisional=wire.is_provisional,
        extra=_extra(wire),
        exchange_updated_at=_TIME[wire.updated_time],
        observed_at=observed_at,
        observed_via=observed_via,
    )


def _extra(wire: WireMarket) -> dict[str, Any] | None:
    extra = {
        name: value
        for name, value in zip(_EXTRA, _extra_values(wire), strict=True)
        if value is not None and value != ""
    }
    if wire.unknown:
        extra |= {
            name: value
            for name, value in wire.unknown.items()
            if not name.startswith(_VOLATILE_PREFIXES)
        }
    return extra or None


# --- events, series, fees -----------------------------------------------------------------------


def event(wire: WireEvent) -> models.Event:
    """The row of an event, without its status, which follows from its markets."""
    try:
        if not wire.series_ticker:
            raise BadFieldError(
                "series_ticker", wire.series_ticker, "an event without a series has no place"
            )
        _check_ticker("event_ticker", wire.event_ticker)
        _check_ticker("series_ticker", wire.series_ticker)
        return models.Event(
            event_ticker=wire.event_ticker,
            title=wire.title or None,
            category=_category(wire.category),
            series_ticker=wire.series_ticker,
            strike_date=_TIME[wire.strike_date],
            mutually_exclusive=wire.mutually_exclusive,
            sub_title=wire.sub_title or None,
            strike_period=wire.strike_period or None,
            collateral_return_type=wire.collateral_return_type or None,
            fee_type_override=wire.fee_type_override or None,
            fee_multiplier_override=_DOLLARS[wire.fee_multiplier_override],
            exchange_updated_at=_TIME[wire.last_updated_ts],
        )
    except (ValueError, ArithmeticError, TypeError) as error:
        raise _first_bad(wire, _EVENT_FIELDS, error) from error


def series(wire: WireSeries, *, active: bool = True) -> models.Series:
    """The row of a series; `volume` is whole contracts and None unless volumes were asked for."""
    try:
        _check_ticker("ticker", wire.ticker)
        volume = wire.volume if wire.volume_fp is None else wire.volume_fp
        return models.Series(
            ticker=wire.ticker,
            title=wire.title or None,
            category=_category(wire.category),
            tags=wire.tags,
            is_game=is_game(wire.ticker),
            active=active,
            volume=_WHOLE[volume],
            frequency=wire.frequency or None,
            fee_type=wire.fee_type or None,
            fee_multiplier=_DOLLARS[wire.fee_multiplier],
            settlement_sources=wire.settlement_sources or None,
            contract_url=wire.contract_url or None,
            exchange_updated_at=_TIME[wire.last_updated_ts],
        )
    except (ValueError, ArithmeticError, TypeError) as error:
        raise _first_bad(wire, _SERIES_FIELDS, error) from error


def fee_schedule(changes: Iterable[WireSeriesFeeChange]) -> list[models.SeriesFee]:
    """The steps of each series in order of time, each in force until the next one begins.

    Of two steps for the same moment the one with the greater id holds. Raises BadFieldError for a
    step without a time, a type or a multiplier.
    """
    steps: dict[str, dict[datetime, WireSeriesFeeChange]] = {}
    for change in sorted(changes, key=lambda change: change.id or ""):
        try:
            moment = time(change.scheduled_ts)
        except ValueError as error:
            raise BadFieldError("scheduled_ts", change.scheduled_ts, str(error)) from error
        if moment is None:
            raise BadFieldError("scheduled_ts", change.scheduled_ts, "a fee without a beginning")
        steps.setdefault(change.series_ticker, {})[moment] = change
    rows: list[models.SeriesFee] = []
    for ticker, by_moment in steps.items():
        moments = sorted(by_moment)
        for moment, following in zip(moments, [*moments[1:], None], strict=True):
            change = by_moment[moment]
            try:
                multiplier = dollars(change.fee_multiplier)
            except (ValueError, ArithmeticError) as error:
                raise BadFieldError("fee_multiplier", change.fee_multiplier, str(error)) from error
            if multiplier is None or not change.fee_type:
                raise BadFieldError("fee_type", change.fee_type, "a fee without type or multiplier")
            rows.append(
                models.SeriesFee(
                    series_ticker=ticker,
                    fee_type=change.fee_type,
                    fee_multiplier=multiplier,
                    effective_from=moment,
                    effective_to=following,
                    source_id=change.id or None,
                )
            )
    return rows


# --- many at once -------------------------------------------------------------------------------


@dataclass(slots=True)
class MarketRows:
    """What became of a page's markets: every one is in exactly one of the three lists."""

    rows: list[models.Market] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    orphans: list[WireMarket] = field(default_factory=list)
    """Markets whose event is not in `series_of`: read the event first, then convert these again."""


def market_rows(
    markets: Iterable[WireMarket], series_of: Mapping[str, str], observed_at: datetime
) -> MarketRows:
    """Convert a page; `series_of` maps event tickers to series tickers."""
    result = MarketRows()
    for wire in markets:
        series_ticker = series_of.get(wire.event_ticker or "")
        if series_ticker is None and wire.event_ticker:
            result.orphans.append(wire)
            continue
        try:
            result.rows.append(market(wire, series_ticker or "", observed_at))
        except BadFieldError as error:
            result.set_aside.append(SetAside(wire.ticker, str(error), excerpt(repr(wire), 2000)))
    return result


# --- naming what is wrong -----------------------------------------------------------------------

_Fields = Sequence[tuple[str, Callable[[Any], object]]]

_MARKET_FIELDS: _Fields = (
    *(
        (name, time)
        for name in [
            "close_time",
            "open_time",
            "expected_expiration_time",
            "latest_expiration_time",
            "settlement_ts",
            "updated_time",
        ]
    ),
    *(
        (name, dollars)
        for name in [
            "yes_bid_dollars",
            "yes_ask_dollars",
            "no_bid_dollars",
            "no_ask_dollars",
            "last_price_dollars",
            "settlement_value_dollars",
        ]
    ),
    *(
        (name, decimal)
        for name in ["yes_bid", "yes_ask", "no_bid", "no_ask", "last_price", "settlement_value"]
    ),
    *(
        (name, count)
        for name in [
            "volume_fp",
            "volume_24h_fp",
            "open_interest_fp",
            "volume",
            "volume_24h",
            "open_interest",
        ]
    ),
    ("floor_strike", decimal),
    ("cap_strike", decimal),
)
_EVENT_FIELDS: _Fields = (
    ("strike_date", time),
    ("last_updated_ts", time),
    ("fee_multiplier_override", dollars),
)
_SERIES_FIELDS: _Fields = (
    ("last_updated_ts", time),
    ("fee_multiplier", dollars),
    ("volume_fp", count),
    ("volume", count),
)


def _first_bad(row: object, fields: _Fields, error: Exception) -> BadFieldError:
    """Which field it was: the fast path does not keep book."""
    for name, parse in fields:
        value = getattr(row, name)
        try:
            parse(value)
        except (ValueError, ArithmeticError, TypeError):
            return BadFieldError(name, value, "it has no meaning here")
    return BadFieldError("row", None, excerpt(str(error)))


def _check_ticker(name: str, ticker: str) -> None:
    if len(ticker) > MAX_TICKER_CHARACTERS or not ticker.isprintable() or " " in ticker:
        raise BadFieldError(name, ticker, "it is not a ticker")


def _category(category: str | None) -> str | None:
    # The column's width; the longest real one has 24 characters.
    return category[:MAX_TICKER_CHARACTERS] if category else None
