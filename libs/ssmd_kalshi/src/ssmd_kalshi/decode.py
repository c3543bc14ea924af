"""Reply bytes → wire rows. A whole page fast when all is well, row by row when something is new.

The fast path decodes straight into structs that forbid unknown fields. A page that does not fit (an
unknown field, a value of another type, text that is no valid Unicode) is decoded again without a
schema and its rows are read one at a time: unknown fields are counted and kept, a field that cannot
be read is rejected with its reason while the rest of its row is read, and only a row without a
readable ticker is rejected. Pure but for the counting (`drift`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec

from ssmd_common.models import RejectedRow
from ssmd_kalshi import lenient, unread, wire
from ssmd_kalshi.drift import Drift
from ssmd_kalshi.errors import BadFieldError, BrokenReplyError, excerpt
from ssmd_kalshi.pages import Page
from ssmd_kalshi.unread import Unread
from ssmd_kalshi.wire import (
    REJECTED_FIELD,
    UNKNOWN_FIELD,
    WireCollection,
    WireEvent,
    WireEventFeeChange,
    WireMarket,
    WireRow,
    WireSeries,
    WireSeriesFeeChange,
    WireTrade,
)

R = TypeVar("R", bound=WireRow)
T = TypeVar("T")

RAW_CHARACTERS = 2000

_has_nul = re.compile(rb"\\u0000").search
"""NUL is valid in JSON and impossible in PostgreSQL: one of them would fail a whole batch there.
A regular expression, because `in` takes twice as long over a page."""

_CHECKS: Mapping[object, unread.Check] = {
    wire.Text: unread.text_fault,
    wire.Number: unread.number_fault,
    wire.Flag: unread.flag_fault,
    wire.Object: unread.object_fault,
    wire.Objects: unread.objects_fault,
    wire.Texts: unread.texts_fault,
}
"""By the type that a field is declared with."""

_event_tickers = attrgetter("event_ticker")


class PageReader(Generic[R]):
    """Reads replies of the form `{"<key>": [row, …], "cursor": …}`.

    `whole` rows are rejected for any field: a step of a fee schedule is no step without one.
    """

    def __init__(
        self, key: str, row: type[R], ticker_field: str, entity: str, *, whole: bool = False
    ) -> None:
        self._key = key
        self._row = row
        self._entity = entity
        self._ticker_field = ticker_field
        self._whole = whole
        fields = msgspec.structs.fields(row)
        ours = {UNKNOWN_FIELD, REJECTED_FIELD, ticker_field, "markets"}
        self._known = frozenset(field.encode_name for field in fields) - ours | {ticker_field}
        self._checks = {
            field.name: _CHECKS[field.type] for field in fields if field.encode_name not in ours
        }
        rows = ("rows", list[row], msgspec.field(name=key))  # type: ignore[valid-type]
        reply = msgspec.defstruct("Reply", [rows, ("cursor", str, "")])
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(reply)

    def page(self, body: bytes, drift: Drift) -> Page[R]:
        """Raises BrokenReplyError where the reply as a whole is not such a page."""
        if _has_nul(body):
            return self._page_by_row(body, drift)
        try:
            reply = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._page_by_row(body, drift)
        rows = reply.rows
        if self._row is WireEvent:
            rows = [_with_parent(event) for event in rows]
        self._count(rows, drift)
        return Page(items=rows, rejected_rows=[], cursor=reply.cursor)

    def _count(self, rows: list[R], drift: Drift) -> None:
        drift.count_rows(self._entity, len(rows))
        drift.check_words(self._entity, rows)
        if self._row is WireEvent:
            for event in rows:
                if event.markets:  # type: ignore[attr-defined]
                    MARKETS._count(event.markets, drift)  # type: ignore[attr-defined]

    def one(self, body: bytes, drift: Drift) -> R:
        """The row of a reply `{"<key>": row}`. BadFieldError for a row without a readable ticker,
        BrokenReplyError for a reply without a row."""
        reply, clean = _object(body)
        value = reply.get(self._key)
        if not isinstance(value, dict):
            raise BrokenReplyError(_wrong_shape(self._key, "object", body))
        if self._entity == "event" and "markets" in reply and value.get("markets") is None:
            # Without nested markets the event's markets stand beside it.
            value["markets"] = reply["markets"]
        reading = _Reading(clean)
        row = self._read(value, reading)
        reading.count(drift)
        if row is None:
            unread.check_ticker(self._ticker_field, value.get(self._ticker_field))
            raise BadFieldError(self._key, value, reading.rejected_rows[-1].reason)
        self._count([row], drift)
        return row

    def _page_by_row(self, body: bytes, drift: Drift) -> Page[R]:
        reply, clean = _object(body)
        if self._key not in reply:
            raise BrokenReplyError(_wrong_shape(self._key, "list", body))
        values = reply[self._key]
        if values is None:
            values = []
        cursor = reply.get("cursor")
        if not isinstance(values, list) or not isinstance(cursor, str | None):
            raise BrokenReplyError(_wrong_shape(self._key, "list", body))
        if cursor and unread.text_fault(cursor):
            raise BrokenReplyError(f"the reply's cursor is no text: {excerpt(body, 80)}")
        reading = _Reading(clean)
        rows = [self._read(value, reading) for value in values]
        items = [row for row in rows if row is not None]
        reading.count(drift)
        self._count(items, drift)
        return Page(items=items, rejected_rows=reading.rejected_rows, cursor=cursor or "")

    def _read(self, value: object, reading: _Reading) -> R | None:
        """One row, or None and an entry in `reading.rejected_rows`."""
        if not isinstance(value, dict):
            reading.reject(self._entity, None, "the row is not an object", value)
            return None
        ticker = value.get(self._ticker_field)
        if fault := unread.ticker_fault(ticker):
            shown = excerpt(ticker) if isinstance(ticker, str) and ticker else None
            reason = f"{self._ticker_field} is {excerpt(unread.json_text(ticker), 80)}: {fault}"
            reading.reject(self._entity, shown, reason, value)
            return None
        plain = dict(value)
        nested = plain.pop("markets", None) if self._row is WireEvent else None
        unknown: dict[str, Any] = {}
        rejected: list[Unread] = []
        if foreign := plain.keys() - self._known:
            for name in sorted(foreign):
                one = plain.pop(name)
                reading.note(self._entity, name, one)
                if fault := unread.text_fault(name) or unread.json_fault(one):
                    rejected.append(Unread(name, fault, one))
                else:
                    unknown[name] = one
        row = self._at_once(plain) if reading.clean else None
        if row is None:
            row = self._by_field(plain, rejected)
        # The row is new and nobody else's yet; a copy would take as long as all of its reading.
        if unknown:
            msgspec.structs.force_setattr(row, "unknown", unknown)
        if rejected:
            msgspec.structs.force_setattr(row, "rejected", tuple(rejected))
        if rejected and self._whole and (fault := self._missing(rejected)):
            reading.reject(self._entity, ticker, fault, value)
            return None
        return row if nested is None else self._with_markets(row, nested, reading)

    def _missing(self, rejected: list[Unread]) -> str | None:
        return next((one.reason for one in rejected if one.name in self._checks), None)

    def _at_once(self, fields: dict[str, Any]) -> R | None:
        """The row if it is good; most are, whatever it is that another row of the page has."""
        try:
            return msgspec.convert(fields, self._row)
        except (msgspec.MsgspecError, RecursionError):
            return None

    def _by_field(self, fields: dict[str, Any], rejected: list[Unread]) -> R:
        """The row, with those of its fields that can be read; the others come to `rejected`."""
        good: dict[str, Any] = {self._ticker_field: fields[self._ticker_field]}
        for name, check in self._checks.items():
            value = fields.get(name)
            if value is None:
                continue
            if fault := check(value):
                rejected.append(Unread(name, fault, value))
            else:
                good[name] = value
        return self._row(**good)

    def _with_markets(self, event: Any, nested: object, reading: _Reading) -> Any:
        """The event with those of its markets that can be read."""
        if not isinstance(nested, list):
            fault = "it is not a list of markets"
            # What markets there are is not known: nobody may take their absence for an end.
            reading.reject("market", None, f"markets of {event.event_ticker}: {fault}", nested)
            rejected = (*event.rejected, Unread("markets", fault, nested))
            return msgspec.structs.replace(event, rejected=rejected)
        markets = [MARKETS._read(market, reading) for market in nested]
        readable = [market for market in markets if market is not None]
        return _with_parent(msgspec.structs.replace(event, markets=readable))


def _with_parent(event: Any) -> Any:
    """The event, named by all of its markets: one that stands in an event is the event's, whether
    it says so readably or not."""
    ticker = event.event_ticker
    if not event.markets or set(map(_event_tickers, event.markets)) == {ticker}:
        return event
    markets: list[WireMarket] = []
    for market in event.markets:
        said = market.event_ticker
        if fault := unread.ticker_fault(said):
            rejected = (*market.rejected, Unread("event_ticker", fault, said)) if said else ()
            market = msgspec.structs.replace(
                market, event_ticker=ticker, rejected=rejected or market.rejected
            )
        markets.append(market)
    return msgspec.structs.replace(event, markets=markets)


@dataclass(slots=True)
class _Reading:
    """What one reply brought that is new or unreadable; counted once at its end."""

    clean: bool
    """There is no text in it that PostgreSQL could not hold."""
    rejected_rows: list[RejectedRow] = field(default_factory=list)
    entities: list[str] = field(default_factory=list)
    unknown: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], object] = field(default_factory=dict)

    def note(self, entity: str, name: str, value: object) -> None:
        self.unknown[entity, name] += 1
        self.examples.setdefault((entity, name), value)

    def reject(self, entity: str, ticker: str | None, reason: str, value: object) -> None:
        raw = unread.cut(unread.json_text(value), RAW_CHARACTERS)
        self.rejected_rows.append(RejectedRow(ticker, reason, raw))
        self.entities.append(entity)

    def count(self, drift: Drift) -> None:
        for (entity, name), count in self.unknown.items():
            example = self.examples[entity, name]
            drift.count_unknown_field(entity, unread.printable(name), count, example)
        for entity in self.entities:
            drift.count_rejected_row(entity)


def decode_object(body: bytes, into: type[T], key: str | None = None) -> T:
    """A reply that is one object (or whose `key` is): BrokenReplyError where it is not."""
    reply, clean = _object(body)
    value: object = reply if key is None else reply.get(key)
    try:
        if not clean:
            value = unread.mended(value)
        return msgspec.convert(value, into)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BrokenReplyError(
            f"the reply has another shape than expected ({excerpt(str(error))}): "
            "if it stays so the exchange's format changed, update ssmd"
        ) from error


def _object(body: bytes) -> tuple[dict[str, Any], bool]:
    """The reply, and whether every text in it is one that PostgreSQL can hold."""
    try:
        reply, clean = msgspec.json.decode(body), not _has_nul(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        reply, clean = _lenient(body), False
    if not isinstance(reply, dict):
        raise BrokenReplyError(f"the reply is not a JSON object: {excerpt(body, 80)}")
    return reply, clean


def _lenient(body: bytes) -> object:
    try:
        return lenient.loads(body)
    except (ValueError, RecursionError) as error:
        raise BrokenReplyError(
            f"the reply is not complete JSON ({len(body)} bytes, beginning {excerpt(body, 80)!r})"
        ) from error


def _wrong_shape(key: str, kind: str, body: bytes) -> str:
    return f'the reply has no {kind} "{key}": {excerpt(body, 80)}'


MARKETS = PageReader("markets", WireMarket, "ticker", "market")
MARKET = PageReader("market", WireMarket, "ticker", "market")
EVENTS = PageReader("events", WireEvent, "event_ticker", "event")
COLLECTIONS = PageReader(
    "multivariate_contracts", WireCollection, "collection_ticker", "collection"
)
EVENT = PageReader("event", WireEvent, "event_ticker", "event")
SERIES_LIST = PageReader("series", WireSeries, "ticker", "series")
SERIES_FEE_CHANGES = PageReader(
    "series_fee_change_arr",
    WireSeriesFeeChange,
    "series_ticker",
    "series_fee_change",
    whole=True,
)
EVENT_FEE_CHANGES = PageReader(
    "event_fee_changes", WireEventFeeChange, "event_ticker", "event_fee_change", whole=True
)
TRADES = PageReader("trades", WireTrade, "trade_id", "trade")
