"""Series, events and fees from the wire → rows of the published tables.

Empty text is None, and so is the year 1, which the exchange writes for "never". What cannot be read
is None and named in `rejected`; that is counted, and the module is pure else. `extra` holds every
field that has no column of its own, and what the exchange sent in fields that were rejected.
Markets are in `ssmd_kalshi.markets`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from ssmd_common import models, tables
from ssmd_common.models import RejectedRow
from ssmd_common.tickers import is_game
from ssmd_kalshi.drift import count_rejected
from ssmd_kalshi.errors import BadFieldError, excerpt
from ssmd_kalshi.unread import Unread, check_ticker, ticker_fault
from ssmd_kalshi.values import (
    DOLLARS,
    TIME,
    Columns,
    Fields,
    StandIns,
    category_text,
    contracts,
    decimal,
    dollars,
    json_value,
    kept_values,
    lasting,
    readers,
    rejected_fields,
    same_name,
    time,
    without_bad,
)
from ssmd_kalshi.wire import (
    Number,
    WireCollection,
    WireEvent,
    WireRow,
    WireSeries,
    WireSeriesFeeChange,
)

W = TypeVar("W", bound=WireRow)
R = TypeVar("R")


def readable(items: Iterable[W], to_row: Callable[[W], R]) -> tuple[list[R], list[RejectedRow]]:
    """The rows of a page by one of the functions here, and what has no readable ticker."""
    rows: list[R] = []
    rejected_rows: list[RejectedRow] = []
    for wire in items:
        try:
            rows.append(to_row(wire))
        except BadFieldError as error:
            ticker = getattr(wire, _KEYS.get(type(wire), "ticker"))
            rejected_rows.append(RejectedRow(ticker, str(error), excerpt(repr(wire), 2000)))
    return rows, rejected_rows


_KEYS = {WireEvent: "event_ticker", WireCollection: "collection_ticker"}


def event(wire: WireEvent) -> models.Event:
    """The row of an event, without its status, which follows from its markets.

    `series_ticker` is "" where it cannot be read: the row then stands for one that is stored, or
    has no place. Raises BadFieldError for an event without a readable ticker.
    """
    check_ticker("event_ticker", wire.event_ticker)
    good, bad = without_bad(wire, _EVENT_FIELDS, {})
    series_ticker = wire.series_ticker
    if fault := ticker_fault(series_ticker):
        if all(one.name != "series_ticker" for one in bad):
            bad.append(Unread("series_ticker", fault, series_ticker))
        series_ticker = ""
    count_rejected("event", bad, WireEvent)
    return models.Event(
        event_ticker=good.event_ticker,
        title=good.title or None,
        category=category_text(good.category),
        series_ticker=series_ticker or "",
        strike_date=TIME[good.strike_date],
        mutually_exclusive=good.mutually_exclusive,
        sub_title=good.sub_title or None,
        strike_period=good.strike_period or None,
        collateral_return_type=good.collateral_return_type or None,
        fee_type_override=good.fee_type_override or None,
        fee_multiplier_override=DOLLARS[good.fee_multiplier_override],
        extra=_extra(good, _EVENT_EXTRA, bad),
        exchange_updated_at=TIME[good.last_updated_ts],
        rejected=rejected_fields(bad, good, EVENT_COLUMNS, {}),
    )


def series(wire: WireSeries, *, active: bool = True) -> models.Series:
    """The row of a series; `volume` is whole contracts and None unless volumes were asked for.

    Raises BadFieldError for a series without a readable ticker.
    """
    check_ticker("ticker", wire.ticker)
    good, bad = without_bad(wire, _SERIES_FIELDS, SERIES_STAND_INS)
    count_rejected("series", bad, WireSeries)
    volume = good.volume if good.volume_fp is None else good.volume_fp
    return models.Series(
        ticker=good.ticker,
        title=good.title or None,
        category=category_text(good.category),
        tags=good.tags,
        is_game=is_game(good.ticker),
        active=active,
        volume=contracts(volume)[1],
        frequency=good.frequency or None,
        fee_type=good.fee_type or None,
        fee_multiplier=DOLLARS[good.fee_multiplier],
        settlement_sources=good.settlement_sources or None,
        contract_url=good.contract_url or None,
        extra=_extra(good, _SERIES_EXTRA, bad),
        exchange_updated_at=TIME[good.last_updated_ts],
        rejected=rejected_fields(bad, good, SERIES_COLUMNS, SERIES_STAND_INS),
    )


def collection(wire: WireCollection) -> models.Collection:
    """The row of a collection. Its events are kept without their quoters, who change all day, and
    without what is null.

    Raises BadFieldError for one without a readable ticker, or without its series' ticker.
    """
    check_ticker("collection_ticker", wire.collection_ticker)
    check_ticker("series_ticker", wire.series_ticker)
    good, bad = without_bad(wire, _COLLECTION_FIELDS, {})
    count_rejected("collection", bad, WireCollection)
    return models.Collection(
        collection_ticker=good.collection_ticker,
        series_ticker=good.series_ticker or "",
        title=good.title or None,
        description=good.description or None,
        functional_description=good.functional_description or None,
        open_date=TIME[good.open_date],
        close_date=TIME[good.close_date],
        associated_events=_associated(good),
        is_ordered=good.is_ordered,
        is_single_market_per_event=good.is_single_market_per_event,
        is_all_yes=good.is_all_yes,
        size_min=_whole(good.size_min),
        size_max=_whole(good.size_max),
        price_level_structure=good.price_level_structure or None,
        price_ranges=good.price_ranges or None,
        extra=_extra(good, _COLLECTION_EXTRA, bad),
        rejected=rejected_fields(bad, good, COLLECTION_COLUMNS, {}),
    )


def _associated(wire: WireCollection) -> list[Any] | None:
    found: list[Any] = [
        {
            name: value
            for name, value in event.items()
            if name != "active_quoters" and value is not None
        }
        for event in wire.associated_events or ()
    ]
    if not found:
        # Replies of the older generation.
        found = [{"ticker": ticker} for ticker in wire.associated_event_tickers or ()]
    return found or None


def _whole(value: Number) -> int | None:
    number = decimal(value)
    if number is None:
        return None
    if number != int(number) or abs(number) >= 2**63:
        raise ValueError("it is not a whole number")
    return int(number)


def _extra(wire: WireRow, names: Iterable[str], bad: Iterable[Unread]) -> dict[str, Any] | None:
    """What has no column. Absent and empty values say nothing; zero and false do."""
    said = {name: getattr(wire, name) for name in names}
    extra = {name: value for name, value in said.items() if value not in (None, "", [], {})}
    return {**extra, **lasting(wire.unknown or {}), **kept_values(bad)} or None


def fee_schedule(
    changes: Iterable[WireSeriesFeeChange],
) -> tuple[list[models.SeriesFee], list[RejectedRow]]:
    """The steps of each series in order of time, each in force until the next one begins, and the
    steps that cannot be read: one of them is no reason to forget the others.

    Of two steps for the same moment the one with the greater id holds.
    """
    steps: dict[str, dict[datetime, models.SeriesFee]] = {}
    unreadable: list[RejectedRow] = []
    for change in sorted(changes, key=lambda change: change.id or ""):
        try:
            step = _step(change)
        except BadFieldError as error:
            raw = excerpt(repr(change), 2000)
            unreadable.append(RejectedRow(change.series_ticker, str(error), raw))
            continue
        steps.setdefault(step.series_ticker, {})[step.effective_from] = step
    rows: list[models.SeriesFee] = []
    for by_moment in steps.values():
        moments = sorted(by_moment)
        for moment, following in zip(moments, [*moments[1:], None], strict=True):
            rows.append(msgspec.structs.replace(by_moment[moment], effective_to=following))
    return rows, unreadable


def _step(change: WireSeriesFeeChange) -> models.SeriesFee:
    """BadFieldError without a ticker, a time, a type or a multiplier."""
    check_ticker("series_ticker", change.series_ticker)
    good, bad = without_bad(change, _STEP_FIELDS, {})
    for one in bad:
        if one.name in change.__struct_fields__:
            raise BadFieldError(one.name, one.kept, one.why)
    moment, multiplier = time(good.scheduled_ts), dollars(good.fee_multiplier)
    if moment is None:
        raise BadFieldError("scheduled_ts", good.scheduled_ts, "a fee without a beginning")
    if multiplier is None or not good.fee_type:
        raise BadFieldError("fee_type", good.fee_type, "a fee without type or multiplier")
    return models.SeriesFee(
        series_ticker=good.series_ticker,
        fee_type=good.fee_type,
        fee_multiplier=multiplier,
        effective_from=moment,
        source_id=good.id or None,
    )


# --- how each field is read, and what it stands for ---------------------------------------------


SERIES_STAND_INS: StandIns = {"volume": "volume_fp"}

COLLECTION_COLUMNS: Columns = {
    **same_name(WireCollection, tables.COLLECTIONS),
    "associated_event_tickers": ("associated_events",),
}
EVENT_COLUMNS: Columns = {
    **same_name(WireEvent, tables.EVENTS),
    "last_updated_ts": ("exchange_updated_at",),
}
SERIES_COLUMNS: Columns = {
    **same_name(WireSeries, tables.SERIES),
    "volume_fp": ("volume",),
    "last_updated_ts": ("exchange_updated_at",),
}


def _without_column(wire: type[WireRow], columns: Columns) -> tuple[str, ...]:
    ours = {"unknown", "rejected", "markets"}
    return tuple(name for name in wire.__struct_fields__ if name not in columns.keys() | ours)


_COLLECTION_EXTRA = _without_column(WireCollection, COLLECTION_COLUMNS)
_EVENT_EXTRA = _without_column(WireEvent, EVENT_COLUMNS)
_SERIES_EXTRA = _without_column(WireSeries, SERIES_COLUMNS)

_COLLECTION_FIELDS: Fields = {
    **dict.fromkeys(("open_date", "close_date"), TIME.__getitem__),
    **dict.fromkeys(("size_min", "size_max"), _whole),
    "price_ranges": json_value,
}
_EVENT_FIELDS: Fields = {
    **readers(EVENT_COLUMNS, tables.EVENTS),
    **dict.fromkeys(("product_metadata", "settlement_sources"), json_value),
    "fee_multiplier_override": DOLLARS.__getitem__,
}
_SERIES_FIELDS: Fields = {
    **readers(SERIES_COLUMNS, tables.SERIES),
    **dict.fromkeys(("categories", "product_metadata", "additional_prohibitions"), json_value),
    **dict.fromkeys(("volume_fp", "volume"), contracts),
    "fee_multiplier": DOLLARS.__getitem__,
}
_STEP_FIELDS: Fields = {"scheduled_ts": time, "fee_multiplier": dollars}
