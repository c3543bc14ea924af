"""From the columns of a row to its record, and from the record to its value and index entries.

A key whose end has passed at `now` is no key. Without a `now` none has: what is written is judged
by Redis's own clock, which is the one that ends keys.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, assert_never

from ssmd_cache.projection.facts import (
    EventFacts,
    Facts,
    FeeFacts,
    MarketFacts,
    SeriesFacts,
    is_multivariate,
)
from ssmd_cache.projection.records import (
    EventRecord,
    FeeStep,
    MarketRecord,
    Record,
    RowRecord,
    SeriesRecord,
)
from ssmd_common import times
from ssmd_common.keys import Keys
from ssmd_common.status import NOT_YET_CLOSED
from ssmd_common.ttl import event_expires_at, market_expires_at
from ssmd_stream.change import Position, format_lsn

_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def project(
    facts: Facts,
    keys: Keys,
    now: datetime | None = None,
    *,
    position: str = "",
    generation: str = "",
    category: str = "",
) -> Record:
    """The record of a row; `category` is a market's, as its parents have it, where it is known."""
    match facts:
        case MarketFacts():
            expires = market_expires_at(
                facts.status, facts.close_time, facts.settled_time, facts.updated_at
            )
            if is_multivariate(facts) or facts.deleted_at is not None or _has_passed(expires, now):
                return MarketRecord(position, generation)
            listed, closes = facts.status in NOT_YET_CLOSED, ""
            if listed and facts.close_time is not None:
                closes = seconds(facts.close_time)
            return MarketRecord(
                position,
                generation,
                keys.market(facts.series_ticker, facts.event_ticker, facts.ticker),
                facts.event_ticker,
                facts.series_ticker,
                "1" if listed else "0",
                category if listed else "",
                closes,
                _milliseconds(expires),
            )
        case EventFacts():
            expires = event_expires_at(facts.status, facts.strike_date, facts.updated_at)
            key = keys.event(facts.series_ticker, facts.ticker)
            if is_multivariate(facts) or facts.deleted_at is not None or _has_passed(expires, now):
                key, expires = "", None
            own = facts.category or ""
            return EventRecord(
                position, generation, key, facts.series_ticker, own, _milliseconds(expires)
            )
        case SeriesFacts():
            key = keys.series(facts.ticker)
            return SeriesRecord(position, generation, key, facts.category or "")
        case FeeFacts():
            return FeeStep(times.microseconds(facts.effective_from), position, generation)
        case _:
            assert_never(facts)


def keyless(
    table: str, facts: Facts | None = None, position: str = "", generation: str = ""
) -> RowRecord:
    """The record of a row of series, events or markets that is gone or cannot be given to readers.

    The category of a series or an event still counts for its markets, where it is known.
    """
    match table, facts:
        case "events", EventFacts():
            series, category = facts.series_ticker, facts.category or ""
            return EventRecord(position, generation, series=series, category=category)
        case "events", _:
            return EventRecord(position, generation)
        case "series", SeriesFacts():
            return SeriesRecord(position, generation, category=facts.category or "")
        case "series", _:
            return SeriesRecord(position, generation)
        case _:
            return MarketRecord(position, generation)


def each_entry(ticker: str, record: Record, keys: Keys, visit: Callable[..., None]) -> None:
    """The index entries that readers see of a row, each as the command that puts it in.

    visit(command, key, *arguments), as `lua/entries.lua` does it for a change. In a warm-up it is
    called half a million times: a list of them would take twice as long.
    """
    if isinstance(record, MarketRecord) and record.key:
        visit("HSET", keys.markets, ticker, record.key)
        visit("SADD", keys.event_markets(record.event), ticker)
        if record.category:
            visit("SADD", keys.markets_by_category(record.category), ticker)
        if record.closes:
            visit("ZADD", keys.expiring, record.closes, ticker)
    elif isinstance(record, EventRecord) and record.key:
        visit("HSET", keys.events, ticker, record.key)


def value(row: bytes, position: Position) -> str:
    """The row's JSON with its position: what a reader gets."""
    return str(memoryview(row)[:-1], "utf-8") + stamps(position)


def stamps(position: Position) -> str:
    """A position as the last members of a row's JSON, and its brace."""
    lsn = format_lsn(position.lsn)
    return f',"epoch":{position.epoch},"lsn":"{lsn}","seq":{position.seq}}}'


def market_category(event_category: str | None, series_category: str | None) -> str:
    """The event's, else the series'; empty for none."""
    return event_category or series_category or ""


def seconds(moment: datetime) -> str:
    """Seconds since 1970 as a sorted set's score: the text of the number that is nearest."""
    return str(moment.timestamp())


def milliseconds(moment: datetime) -> int:
    """Since 1970."""
    return (moment - _1970) // _MILLISECOND


def _milliseconds(moment: datetime | None) -> str:
    return "" if moment is None else str(milliseconds(moment))


def _has_passed(expires: datetime | None, now: datetime | None) -> bool:
    return expires is not None and now is not None and expires <= now
