"""The bodies of lifecycle messages: what each says, by column. Pure.

Field names are those of the exchange's AsyncAPI specification, channel `market_lifecycle_v2`. An
absent field says nothing, an empty one that there is none. Each field is read by itself: one that
cannot be read is rejected and names no column, and all others count (`fields`).
"""

from collections.abc import Mapping
from typing import Any, Final

from ssmd_common.models import RejectedField
from ssmd_kalshi.unread import RAW_CHARACTERS, cut, json_text
from ssmd_lifecycle.feed import fields
from ssmd_lifecycle.feed.messages import EVENT_KINDS, Kind, MalformedMessage, Parsed
from ssmd_lifecycle.feed.storable import is_marked


def parse_body(envelope_type: str, body: Mapping[str, Any]) -> Parsed:
    """Read the `msg` of a message.

    Raises:
        MalformedMessage: its kind is not known, or whom it is about cannot be read.
    """
    match envelope_type:
        case "market_lifecycle_v2" | "multivariate_market_lifecycle":
            return _market(body)
        case "event_lifecycle":
            return _event(body)
        case "event_fee_update":
            return _fee(body)
    raise MalformedMessage("the type is not known")


class _Body:
    """A body's fields; `rejected` gathers those that could not be read."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.rejected: list[RejectedField] = []
        self._body = body
        inner = body.get("additional_metadata")
        self._inner: Mapping[str, Any] = {}
        if isinstance(inner, dict) and not is_marked(inner):
            self._inner = inner
        elif inner is not None:
            self._reject("additional_metadata", (), "it is not an object", inner)

    def identity(self, name: str) -> str:
        """The ticker that says whom the message is about."""
        try:
            ticker = fields.ticker(self._body.get(name))
        except ValueError as error:
            raise MalformedMessage(f"{name}: {error}") from error
        if ticker is None:
            raise MalformedMessage(f"{name} is missing")
        return ticker

    def columns(self, named: fields.Fields) -> dict[str, Any]:
        """What the body says, by column; None where it says that there is none."""
        columns: dict[str, Any] = {}
        for name, (column, parse) in named.items():
            given = self._given(name)
            if given is _ABSENT:
                continue
            try:
                if is_marked(given):
                    raise ValueError("it cannot be stored")
                columns[column] = None if given is None or given == "" else parse(given)
            except (ValueError, TypeError, ArithmeticError) as error:
                self._reject(name, (column,), str(error) or type(error).__name__, given)
        return columns

    def given(self, named: fields.Fields) -> dict[str, Any]:
        """Likewise, of those columns only that the body has a value for."""
        return {name: value for name, value in self.columns(named).items() if value is not None}

    def _given(self, name: str) -> Any:
        """The field's value; what is empty or missing may stand in `additional_metadata`."""
        value = self._body.get(name, _ABSENT)
        if value is _ABSENT or value is None or value == "":
            return self._inner.get(name, value)
        return value

    def _reject(self, name: str, columns: tuple[str, ...], reason: str, value: Any) -> None:
        raw = value["unreadable"] if is_marked(value) else json_text(value)
        self.rejected.append(
            RejectedField(
                field=name, columns=columns, reason=reason, raw=cut(str(raw), RAW_CHARACTERS)
            )
        )


_ABSENT: Final = object()
_MARKET_KINDS: Final = frozenset(Kind) - EVENT_KINDS - {Kind.UNKNOWN}

# What these say by being empty is nothing: the exchange does not take them back.
_ONLY_GIVEN: Final = (
    *fields.MARKET_TIMES.values(),
    "expected_expiration_time",
    "price_level_structure",
    "price_ranges",
    "result",
    "settlement_value_dollars",
)


def _market(body: Mapping[str, Any]) -> Parsed:
    event_type = body.get("event_type")
    if not isinstance(event_type, str) or event_type not in _MARKET_KINDS:
        raise MalformedMessage("the event type is not known")
    kind, read = Kind(event_type), _Body(body)
    market_ticker = read.identity("market_ticker")
    columns = read.columns(fields.MARKET)
    for column in _ONLY_GIVEN:
        if columns.get(column, _ABSENT) is None:
            del columns[column]
    if kind is Kind.DETERMINED:
        unreadable = {column for field in read.rejected for column in field.columns}
        for column in ("result", "settlement_value_dollars"):
            if column not in unreadable:
                columns.setdefault(column, None)
    times = {
        name: columns[column]
        for name, column in fields.MARKET_TIMES.items()
        if columns.get(column) is not None
    }
    columns.pop("determined_ts", None)
    event_ticker = read.columns(fields.PARENT).get("event_ticker")
    if kind is Kind.CREATED:
        columns["extra"] = read.given(fields.EXTRA)
    return Parsed(
        kind=kind,
        market_ticker=market_ticker,
        event_ticker=event_ticker,
        columns=columns,
        times=times,
        rejected=tuple(read.rejected),
    )


def _event(body: Mapping[str, Any]) -> Parsed:
    read = _Body(body)
    return Parsed(
        kind=Kind.EVENT_LIFECYCLE,
        event_ticker=read.identity("event_ticker"),
        series_ticker=read.columns(fields.SERIES).get("series_ticker"),
        # A new event's message has nothing to take back.
        columns=read.given(fields.EVENT) | {"extra": read.given(fields.EVENT_EXTRA)},
        rejected=tuple(read.rejected),
    )


def _fee(body: Mapping[str, Any]) -> Parsed:
    read = _Body(body)
    return Parsed(
        kind=Kind.EVENT_FEE_UPDATE,
        event_ticker=read.identity("event_ticker"),
        columns=read.columns(fields.FEE),
        rejected=tuple(read.rejected),
    )
