"""What one row is in Redis: key, value, index entries, expiry (docs/contracts.md § 3).

Pure, and the only rule set: the warm-up, the stream and the verification all come through here. A
row is JSON as the change stream's `data` shows it, so that nothing is lost between the two.

A key whose end has passed at `now` is no key. Without a `now` none has: what is written is judged
by Redis's own clock, which is the one that ends keys.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from ssmd_cache.errors import UnreadableRow
from ssmd_common import times
from ssmd_common.depth import is_deep, shallow
from ssmd_common.errors import MalformedTime
from ssmd_common.keys import Keys
from ssmd_common.status import NOT_YET_CLOSED
from ssmd_common.ttl import event_expires_at, market_expires_at
from ssmd_stream.change import Position, format_lsn

DEEPEST: Final = 256
"""How deep a row may be nested that readers of Redis are given."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

TABLES: Final = ("series", "events", "markets", "series_fees")
"""The tables that have keys, in the order in which a warm-up needs them."""


class SeriesFacts(msgspec.Struct, frozen=True):
    ticker: str
    category: str | None = None


class EventFacts(msgspec.Struct, frozen=True):
    event_ticker: str
    series_ticker: str
    status: str
    updated_at: datetime
    category: str | None = None
    strike_date: datetime | None = None
    deleted_at: datetime | None = None


class MarketFacts(msgspec.Struct, frozen=True):
    ticker: str
    event_ticker: str
    series_ticker: str
    status: str
    updated_at: datetime
    close_time: datetime | None = None
    settled_time: datetime | None = None
    deleted_at: datetime | None = None


class FeeFacts(msgspec.Struct, frozen=True):
    series_ticker: str
    effective_from: str
    """As it is spelled: a step counts whenever it begins."""


Facts = SeriesFacts | EventFacts | MarketFacts | FeeFacts


class SeriesPicture(msgspec.Struct, frozen=True):
    """`key` is None for a series that readers cannot be given; its category still counts."""

    ticker: str
    key: str | None
    category: str


class EventPicture(msgspec.Struct, frozen=True):
    """`key` is None for an event without one; its category still counts for its markets."""

    ticker: str
    series: str
    key: str | None
    category: str
    expires_ms: int | None


class MarketPicture(msgspec.Struct, frozen=True):
    """`listed` markets are in their category's set and, with a close time, among the expiring."""

    ticker: str
    event: str
    series: str
    key: str | None
    listed: bool
    closes: str | None
    """close_time in epoch seconds, as a sorted set's score is written."""
    expires_ms: int | None


class FeePicture(msgspec.Struct, frozen=True):
    """One step of the schedule under `key`; steps are in the order of `from_microseconds`."""

    series: str
    key: str
    from_microseconds: int


Picture = SeriesPicture | EventPicture | MarketPicture | FeePicture


def microseconds(moment: datetime) -> int:
    """Since 1970, exact."""
    return (moment - _EPOCH) // _MICROSECOND


def series_picture(facts: SeriesFacts, keys: Keys) -> SeriesPicture:
    return SeriesPicture(facts.ticker, keys.series(facts.ticker), facts.category or "")


def event_picture(facts: EventFacts, keys: Keys, now: datetime | None) -> EventPicture:
    key: str | None = keys.event(facts.series_ticker, facts.event_ticker)
    expires = event_expires_at(facts.status, facts.strike_date, facts.updated_at)
    if facts.deleted_at is not None or _has_passed(expires, now):
        key, expires = None, None
    return EventPicture(
        facts.event_ticker,
        facts.series_ticker,
        key,
        facts.category or "",
        None if expires is None else microseconds(expires) // 1000,
    )


def market_picture(facts: MarketFacts, keys: Keys, now: datetime | None) -> MarketPicture:
    key: str | None = keys.market(facts.series_ticker, facts.event_ticker, facts.ticker)
    expires = market_expires_at(
        facts.status, facts.close_time, facts.settled_time, facts.updated_at
    )
    if facts.deleted_at is not None or _has_passed(expires, now):
        key, expires = None, None
    listed = key is not None and facts.status in NOT_YET_CLOSED
    closes = None
    if listed and facts.close_time is not None:
        closes = seconds(facts.close_time)
    return MarketPicture(
        facts.ticker,
        facts.event_ticker,
        facts.series_ticker,
        key,
        listed,
        closes,
        None if expires is None else microseconds(expires) // 1000,
    )


def _has_passed(expires: datetime | None, now: datetime | None) -> bool:
    return expires is not None and now is not None and expires <= now


def fee_picture(facts: FeeFacts, keys: Keys) -> FeePicture:
    return FeePicture(
        facts.series_ticker, keys.fee(facts.series_ticker), times.microseconds(facts.effective_from)
    )


def seconds(moment: datetime) -> str:
    """Epoch seconds as a sorted set's score: the text of the number that is nearest."""
    return str(moment.timestamp())


def market_category(event_category: str | None, series_category: str | None) -> str:
    """The event's, else the series'; empty for none."""
    return event_category or series_category or ""


def value(row: bytes, position: Position) -> str:
    """The row's JSON with its position: what a reader gets."""
    return str(memoryview(row)[:-1], "utf-8") + stamps(position)


def stamps(position: Position) -> str:
    """A position as the last members of a row's JSON, and its brace."""
    lsn = format_lsn(position.lsn)
    return f',"epoch":{position.epoch},"lsn":"{lsn}","seq":{position.seq}}}'


_FACTS: Final[dict[str, type[Facts]]] = {
    "series": SeriesFacts,
    "events": EventFacts,
    "markets": MarketFacts,
    "series_fees": FeeFacts,
}
_DECODERS: Final = {table: msgspec.json.Decoder(facts) for table, facts in _FACTS.items()}


def facts_of(table: str, row: bytes) -> Facts:
    """The columns of a row that the rules need.

    A timestamp that no clock shows (PostgreSQL's infinity, or before Christ) counts as none.

    Raises:
        UnreadableRow: readers cannot be given the row, whatever its columns say.
    """
    if is_deep(row, DEEPEST):
        try:
            facts = _facts_of(table, shallow(row))
        except UnreadableRow:
            facts = None
        raise UnreadableRow("depth", f"nested more than {DEEPEST} deep", facts)
    return _facts_of(table, row)


def _facts_of(table: str, row: bytes) -> Facts:
    try:
        facts = _DECODERS[table].decode(row)
    except msgspec.ValidationError as error:
        try:
            facts = msgspec.convert(_without_odd_times(table, row), _FACTS[table])
        except msgspec.ValidationError:
            raise UnreadableRow("shape", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableRow("json", str(error)) from error
    if isinstance(facts, FeeFacts):
        try:
            times.microseconds(facts.effective_from)
        except MalformedTime as error:
            raise UnreadableRow("shape", str(error)) from error
    return facts


_PRIMARY_KEY: Final = {
    "series": "ticker",
    "events": "event_ticker",
    "markets": "ticker",
    "series_fees": "series_ticker",
}
_NAMED: Final = {
    table: re.compile(rb'"%b":("(?:[^"\\]|\\.)*")' % column.encode())
    for table, column in _PRIMARY_KEY.items()
}


def ticker_of(table: str, row: bytes) -> str:
    """Whose row it is, also of one that cannot be read; empty if even that cannot be found.

    Of a fee step its series.
    """
    # It stands before the columns that could hold the same name.
    match = _NAMED[table].search(row)
    try:
        return "" if match is None else str(msgspec.json.decode(match[1], type=str))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _without_odd_times(table: str, row: bytes) -> dict[str, Any]:
    columns: dict[str, Any] = dict(msgspec.json.decode(row, type=dict[str, Any]))
    for field in msgspec.structs.fields(_FACTS[table]):
        text = columns.get(field.name)
        if field.type is str or not isinstance(text, str) or "datetime" not in str(field.type):
            continue
        try:
            msgspec.convert(text, datetime)
        except msgspec.ValidationError:
            if field.required:
                columns[field.name] = _EPOCH
            else:
                del columns[field.name]
    return columns
