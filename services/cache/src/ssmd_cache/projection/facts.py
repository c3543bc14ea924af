"""The columns of a row that the rules need, from its JSON as the stream's `data` shows it."""

import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ssmd_cache.errors import UnreadableRow
from ssmd_common import times
from ssmd_common.depth import is_deep, shallow
from ssmd_common.errors import MalformedTime
from ssmd_stream.change import KEY_COLUMN

DEEPEST: Final = 256
"""How deep a row may be nested that readers of Redis are given."""

_SOME_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SeriesFacts(msgspec.Struct, frozen=True):
    ticker: str
    category: str | None = None


class EventFacts(msgspec.Struct, frozen=True):
    ticker: str = msgspec.field(name="event_ticker")
    series_ticker: str
    status: str
    updated_at: datetime
    category: str | None = None
    strike_date: datetime | None = None
    deleted_at: datetime | None = None
    mve_collection_ticker: str | None = None


class MarketFacts(msgspec.Struct, frozen=True):
    ticker: str
    event_ticker: str
    series_ticker: str
    status: str
    updated_at: datetime
    close_time: datetime | None = None
    settled_time: datetime | None = None
    deleted_at: datetime | None = None
    mve_collection_ticker: str | None = None


class FeeFacts(msgspec.Struct, frozen=True):
    """One step of a series' schedule."""

    ticker: str = msgspec.field(name="series_ticker")
    effective_from: str
    """As it is spelled: a step counts whenever it begins."""


Facts = SeriesFacts | EventFacts | MarketFacts | FeeFacts


def is_multivariate(facts: Facts) -> bool:
    """Whether the row has no key because there are ten times as many of its kind as of others."""
    return isinstance(facts, EventFacts | MarketFacts) and facts.mve_collection_ticker is not None


_FACTS: Final[dict[str, type[Facts]]] = {
    "series": SeriesFacts,
    "events": EventFacts,
    "markets": MarketFacts,
    "series_fees": FeeFacts,
}
TABLES: Final = tuple(_FACTS)
"""The tables that have keys, in the order in which a warm-up needs them."""

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


_NAMED: Final = {
    table: re.compile(rb'"%b":("(?:[^"\\]|\\.)*")' % KEY_COLUMN[table].encode()) for table in TABLES
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
        text = columns.get(field.encode_name)
        if field.type is str or not isinstance(text, str) or "datetime" not in str(field.type):
            continue
        try:
            msgspec.convert(text, datetime)
        except msgspec.ValidationError:
            if field.required:
                columns[field.encode_name] = _SOME_TIME
            else:
                del columns[field.encode_name]
    return columns
