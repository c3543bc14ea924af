"""Reply bytes → wire rows. A whole page fast when all is well, row by row when something is new.

The fast path decodes straight into structs that forbid unknown fields. A page that does not fit (an
unknown field, a type that changed, text that is not valid Unicode) is decoded again without a
schema and its rows are read one at a time: unknown fields are counted and kept, and a row that
cannot be read is set aside with its reason while the others go on. Pure but for the counting
(`drift`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from ssmd_kalshi.drift import Drift
from ssmd_kalshi.errors import BrokenReplyError, excerpt
from ssmd_kalshi.pages import Page, SetAside
from ssmd_kalshi.wire import (
    UNKNOWN_FIELD,
    WireEvent,
    WireEventFeeChange,
    WireMarket,
    WireRow,
    WireSeries,
    WireSeriesFeeChange,
)

R = TypeVar("R", bound=WireRow)
T = TypeVar("T")

RAW_CHARACTERS = 2000

_has_nul = re.compile(rb"\\u0000").search
"""NUL is valid in JSON and impossible in PostgreSQL: one of them would fail a whole batch there.
A regular expression, because `in` takes twice as long over a page."""


class PageReader(Generic[R]):
    """Reads replies of the form `{"<key>": [row, …], "cursor": …}`."""

    def __init__(self, key: str, row: type[R], ticker_field: str, entity: str) -> None:
        self._key = key
        self._row = row
        self._entity = entity
        self._ticker_field = ticker_field
        names = frozenset(field.encode_name for field in msgspec.structs.fields(row))
        self._known = names - {UNKNOWN_FIELD}
        rows = ("rows", list[row], msgspec.field(name=key))  # type: ignore[valid-type]
        reply = msgspec.defstruct("Reply", [rows, ("cursor", str, "")])
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(reply)

    def page(self, body: bytes, drift: Drift) -> Page[R]:
        """Raises BrokenReplyError where the reply as a whole is not such a page."""
        if _has_nul(body):
            return self._page_by_row(body, drift)
        try:
            reply = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return self._page_by_row(body, drift)
        self._count(reply.rows, drift)
        return Page(items=reply.rows, set_aside=[], cursor=reply.cursor)

    def _count(self, rows: list[R], drift: Drift) -> None:
        drift.count_rows(self._entity, len(rows))
        drift.check_words(self._entity, rows)
        if self._row is WireEvent:
            for event in rows:
                if event.markets:  # type: ignore[attr-defined]
                    MARKETS._count(event.markets, drift)  # type: ignore[attr-defined]

    def one(self, body: bytes, drift: Drift) -> R:
        """The row of a reply `{"<key>": row}`; a row that cannot be read is a BrokenReplyError."""
        reply = _object(body)
        value = reply.get(self._key)
        if not isinstance(value, dict):
            raise BrokenReplyError(_wrong_shape(self._key, "object", body))
        if self._entity == "event" and "markets" in reply and value.get("markets") is None:
            # Without nested markets the event's markets stand beside it.
            value["markets"] = reply["markets"]
        reading = _Reading()
        row = self._read(value, reading)
        reading.count(drift)
        if row is None:
            raise BrokenReplyError(
                f"the reply's {self._key} cannot be read ({reading.set_aside[-1].reason}): "
                "the exchange's format changed, update ssmd"
            )
        self._count([row], drift)
        return row

    def _page_by_row(self, body: bytes, drift: Drift) -> Page[R]:
        reply = _object(body)
        if self._key not in reply:
            raise BrokenReplyError(_wrong_shape(self._key, "list", body))
        values = reply[self._key]
        if values is None:
            values = []
        cursor = reply.get("cursor")
        if not isinstance(values, list) or not isinstance(cursor, str | None):
            raise BrokenReplyError(_wrong_shape(self._key, "list", body))
        reading = _Reading()
        rows = [self._read(value, reading) for value in values]
        items = [row for row in rows if row is not None]
        reading.count(drift)
        self._count(items, drift)
        return Page(items=items, set_aside=reading.set_aside, cursor=cursor or "")

    def _read(self, value: object, reading: _Reading) -> R | None:
        """One row, or None and an entry in `reading.set_aside`. Consumes `value`."""
        if not isinstance(value, dict):
            reading.put_aside(self._entity, None, "the row is not an object", value)
            return None
        ticker = value.get(self._ticker_field)
        try:
            if names := value.keys() - self._known:
                unknown = {name: value.pop(name) for name in names}
                value[UNKNOWN_FIELD] = unknown
                reading.note(self._entity, unknown)
            nested = value.pop("markets", None) if self._row is WireEvent else None
            row = msgspec.convert(value, self._row)
            if isinstance(nested, list):
                markets = [MARKETS._read(market, reading) for market in nested]
                row = msgspec.structs.replace(row, markets=[m for m in markets if m is not None])
            return row
        except (msgspec.MsgspecError, RecursionError) as error:
            ticker = excerpt(ticker) if isinstance(ticker, str) and ticker else None
            reading.put_aside(self._entity, ticker, excerpt(str(error)), value)
            return None


@dataclass(slots=True)
class _Reading:
    """What one reply brought that is new or unreadable; counted once at its end."""

    set_aside: list[SetAside] = field(default_factory=list)
    entities: list[str] = field(default_factory=list)
    unknown: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], object] = field(default_factory=dict)

    def note(self, entity: str, unknown: dict[str, Any]) -> None:
        for name, value in unknown.items():
            self.unknown[entity, name] += 1
            self.examples.setdefault((entity, name), value)

    def put_aside(self, entity: str, ticker: str | None, reason: str, value: object) -> None:
        self.set_aside.append(SetAside(ticker, reason, _raw(value)))
        self.entities.append(entity)

    def count(self, drift: Drift) -> None:
        for key, count in self.unknown.items():
            drift.count_unknown_field(*key, count, self.examples[key])
        for entity in self.entities:
            drift.count_set_aside(entity)


def decode_object(body: bytes, into: type[T], key: str | None = None) -> T:
    """A reply that is one object (or whose `key` is): BrokenReplyError where it is not."""
    reply = _object(body)
    value: object = reply if key is None else reply.get(key)
    try:
        return msgspec.convert(value, into)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BrokenReplyError(
            f"the reply has another shape than expected ({excerpt(str(error))}): "
            "if it stays so the exchange's format changed, update ssmd"
        ) from error


def _object(body: bytes) -> dict[str, Any]:
    try:
        reply = _lenient(body) if _has_nul(body) else msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        reply = _lenient(body)
    except RecursionError as error:
        raise BrokenReplyError("the reply is nested too deeply to be one of ours") from error
    if not isinstance(reply, dict):
        raise BrokenReplyError(f"the reply is not a JSON object: {excerpt(body, 80)}")
    return reply


def _lenient(body: bytes) -> object:
    """Unpaired surrogates, NUL and bytes that are not UTF-8 spoil a title, not a page."""
    try:
        return _clean(json.loads(body.decode("utf-8", "replace")))
    except (ValueError, RecursionError) as error:
        raise BrokenReplyError(
            f"the reply is not complete JSON ({len(body)} bytes, beginning {excerpt(body, 80)!r})"
        ) from error


def _clean(value: Any) -> Any:
    """The value without NUL and unpaired surrogates, which PostgreSQL cannot hold."""
    if isinstance(value, str):
        return _printable(value)
    if isinstance(value, dict):
        return {_printable(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_clean(v) for v in value]
    return value


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")


def _raw(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=True)[:RAW_CHARACTERS]
    except (ValueError, RecursionError):
        return repr(type(value))


def _wrong_shape(key: str, kind: str, body: bytes) -> str:
    return f'the reply has no {kind} "{key}": {excerpt(body, 80)}'


MARKETS = PageReader("markets", WireMarket, "ticker", "market")
MARKET = PageReader("market", WireMarket, "ticker", "market")
EVENTS = PageReader("events", WireEvent, "event_ticker", "event")
EVENT = PageReader("event", WireEvent, "event_ticker", "event")
SERIES_LIST = PageReader("series", WireSeries, "ticker", "series")
SERIES_FEE_CHANGES = PageReader(
    "series_fee_change_arr", WireSeriesFeeChange, "series_ticker", "series_fee_change"
)
EVENT_FEE_CHANGES = PageReader(
    "event_fee_changes", WireEventFeeChange, "event_ticker", "event_fee_change"
)
