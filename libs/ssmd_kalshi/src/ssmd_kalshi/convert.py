"""Series, events and fees from the wire → rows of the published tables. Pure.

Empty text is None, and so is the year 1, which the exchange writes for "never". Markets are in
`ssmd_kalshi.markets`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ssmd_common import models
from ssmd_common.tickers import is_game
from ssmd_kalshi.errors import BadFieldError
from ssmd_kalshi.values import (
    DOLLARS,
    TIME,
    Fields,
    category_text,
    check_tickers,
    contracts,
    count,
    dollars,
    first_bad,
    time,
)
from ssmd_kalshi.wire import WireEvent, WireSeries, WireSeriesFeeChange


def event(wire: WireEvent) -> models.Event:
    """The row of an event, without its status, which follows from its markets."""
    try:
        if not wire.series_ticker:
            raise BadFieldError(
                "series_ticker", wire.series_ticker, "an event without a series has no place"
            )
        check_tickers(wire.event_ticker, wire.series_ticker)
        return models.Event(
            event_ticker=wire.event_ticker,
            title=wire.title or None,
            category=category_text(wire.category),
            series_ticker=wire.series_ticker,
            strike_date=TIME[wire.strike_date],
            mutually_exclusive=wire.mutually_exclusive,
            sub_title=wire.sub_title or None,
            strike_period=wire.strike_period or None,
            collateral_return_type=wire.collateral_return_type or None,
            fee_type_override=wire.fee_type_override or None,
            fee_multiplier_override=DOLLARS[wire.fee_multiplier_override],
            exchange_updated_at=TIME[wire.last_updated_ts],
        )
    except (ValueError, ArithmeticError, TypeError) as error:
        raise first_bad(wire, _EVENT_FIELDS, error) from error


def series(wire: WireSeries, *, active: bool = True) -> models.Series:
    """The row of a series; `volume` is whole contracts and None unless volumes were asked for."""
    try:
        check_tickers(wire.ticker)
        volume = wire.volume if wire.volume_fp is None else wire.volume_fp
        return models.Series(
            ticker=wire.ticker,
            title=wire.title or None,
            category=category_text(wire.category),
            tags=wire.tags,
            is_game=is_game(wire.ticker),
            active=active,
            volume=contracts(volume)[1],
            frequency=wire.frequency or None,
            fee_type=wire.fee_type or None,
            fee_multiplier=DOLLARS[wire.fee_multiplier],
            settlement_sources=wire.settlement_sources or None,
            contract_url=wire.contract_url or None,
            exchange_updated_at=TIME[wire.last_updated_ts],
        )
    except (ValueError, ArithmeticError, TypeError) as error:
        raise first_bad(wire, _SERIES_FIELDS, error) from error


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


# --- how each field is read, to name a bad one --------------------------------------------------

_EVENT_FIELDS: Fields = (
    ("strike_date", time),
    ("last_updated_ts", time),
    ("fee_multiplier_override", dollars),
)
_SERIES_FIELDS: Fields = (
    ("last_updated_ts", time),
    ("fee_multiplier", dollars),
    ("volume_fp", count),
    ("volume", count),
)
