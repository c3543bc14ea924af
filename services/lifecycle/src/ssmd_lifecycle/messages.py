"""Lifecycle messages, parsed once into typed values. Pure.

Whatever arrives becomes a message: one whose type or shape is not known keeps its words and claims
nothing. A market message's `claims` are what it says of the market, by column of `markets`; times
come as seconds since 1970 and become UTC. Field names are those of the exchange's AsyncAPI
specification, channel `market_lifecycle_v2`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

import msgspec

MARKET_CHANNEL: Final = "market_lifecycle_v2"
MULTIVARIATE_CHANNEL: Final = "multivariate_market_lifecycle"
MAX_TICKER_CHARACTERS: Final = 128
MAX_TYPE_CHARACTERS: Final = 32

Clearable = msgspec.UnsetType | None


class Kind(StrEnum):
    """What a message says happened."""

    CREATED = "created"
    ACTIVATED = "activated"
    DEACTIVATED = "deactivated"
    CLOSE_DATE_UPDATED = "close_date_updated"
    DETERMINED = "determined"
    SETTLED = "settled"
    PRICE_LEVEL_STRUCTURE_UPDATED = "price_level_structure_updated"
    METADATA_UPDATED = "metadata_updated"
    EVENT_LIFECYCLE = "event_lifecycle"
    EVENT_FEE_UPDATE = "event_fee_update"
    UNKNOWN = "unknown"


PAUSES: Final = frozenset({Kind.ACTIVATED, Kind.DEACTIVATED})
EVENT_KINDS: Final = frozenset({Kind.EVENT_LIFECYCLE, Kind.EVENT_FEE_UPDATE})

# Where two messages of one market bear the same millisecond, its life goes in this order.
_COURSE: Final = {kind: place for place, kind in enumerate(Kind)}


@dataclass(frozen=True, slots=True)
class LifecycleMessage:
    """One message as it is kept and applied.

    `kind` is UNKNOWN, and `fault` says why, where the message is only kept; `event_type` is the
    exchange's own word even then. `applies` is false for what is kept and not applied: the
    multivariate channel, and the unknown.
    """

    kind: Kind
    event_type: str
    market_ticker: str | None
    event_ticker: str | None
    series_ticker: str | None
    sent_at: datetime | None
    received_at: datetime
    seq: int | None
    claims: Mapping[str, Any]
    whole: str
    """The whole message as JSON text."""
    dedupe_key: str
    content_key: str
    """Equal for messages with the same type and body, whenever they were sent."""
    applies: bool = True
    fault: str | None = None
    times: Mapping[str, datetime] = field(default_factory=dict)
    """The moments that the message names, by column of `market_lifecycle_events`."""

    @property
    def heard_at(self) -> datetime:
        """When the exchange said it; never later than it arrived."""
        return self.received_at if self.sent_at is None else min(self.sent_at, self.received_at)

    @property
    def order(self) -> tuple[datetime, int, int, str]:
        """Sorts the messages of one ticker as the exchange said them."""
        return (self.heard_at, self.seq or 0, _COURSE[self.kind], self.dedupe_key)

    @property
    def ticker(self) -> str | None:
        """Whom it is about."""
        return self.market_ticker or self.event_ticker


class MalformedMessage(ValueError):
    """A message of a known type with a value that has no meaning."""


class _Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """`additional_metadata` of `created`."""

    event_ticker: str | None = None
    title: str | Clearable = msgspec.UNSET
    yes_sub_title: str | Clearable = msgspec.UNSET
    no_sub_title: str | Clearable = msgspec.UNSET
    rules_primary: str | Clearable = msgspec.UNSET
    rules_secondary: str | Clearable = msgspec.UNSET
    can_close_early: bool | Clearable = msgspec.UNSET
    expected_expiration_ts: float | int | Clearable = msgspec.UNSET
    strike_type: str | Clearable = msgspec.UNSET
    floor_strike: float | int | str | Clearable = msgspec.UNSET
    cap_strike: float | int | str | Clearable = msgspec.UNSET
    custom_strike: dict[str, Any] | Clearable = msgspec.UNSET


class _MarketBody(_Metadata, frozen=True, kw_only=True):
    """`msg` of a market message. Every kind may carry every field: what is there counts."""

    market_ticker: str
    open_ts: float | int | Clearable = msgspec.UNSET
    close_ts: float | int | Clearable = msgspec.UNSET
    determination_ts: float | int | Clearable = msgspec.UNSET
    settled_ts: float | int | Clearable = msgspec.UNSET
    result: str | Clearable = msgspec.UNSET
    settlement_value: str | float | int | Clearable = msgspec.UNSET
    price_level_structure: str | Clearable = msgspec.UNSET
    price_ranges: list[dict[str, Any]] | Clearable = msgspec.UNSET
    exchange_index: int | Clearable = msgspec.UNSET
    additional_metadata: _Metadata | None = None


class _EventBody(msgspec.Struct, frozen=True, kw_only=True):
    event_ticker: str
    series_ticker: str
    title: str | None = None
    subtitle: str | None = None
    collateral_return_type: str | None = None
    strike_date: float | int | None = None
    strike_period: str | None = None


class _FeeBody(msgspec.Struct, frozen=True, kw_only=True):
    event_ticker: str
    fee_type_override: str | None
    fee_multiplier_override: float | int | str | None


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a body says, before it is joined with the envelope."""

    kind: Kind
    market_ticker: str | None = None
    event_ticker: str | None = None
    series_ticker: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    times: Mapping[str, datetime] = field(default_factory=dict)


def parse_body(envelope_type: str, body: Mapping[str, Any]) -> Parsed:
    """Read the `msg` of a message.

    Raises:
        MalformedMessage: the type is not known, or a value has no meaning.
    """
    try:
        match envelope_type:
            case "market_lifecycle_v2" | "multivariate_market_lifecycle":
                return _market(body)
            case "event_lifecycle":
                return _event(body)
            case "event_fee_update":
                return _fee(body)
    except (msgspec.ValidationError, ValueError, ArithmeticError, TypeError) as error:
        raise MalformedMessage(str(error)) from error
    raise MalformedMessage("the type is not known")


def _market(body: Mapping[str, Any]) -> Parsed:
    said = msgspec.convert(body, _MarketBody, strict=False)
    word = body.get("event_type")
    kind = Kind(word) if word in _MARKET_KINDS else None
    if kind is None:
        raise MalformedMessage("the event type is not known")
    inner = said.additional_metadata
    claims: dict[str, Any] = _descriptive(inner) if inner else {}
    claims |= _descriptive(said)
    times: dict[str, datetime] = {}
    for name, value, column in (
        ("open_ts", said.open_ts, "open_time"),
        ("close_ts", said.close_ts, "close_time"),
        ("determined_ts", said.determination_ts, None),
        ("settled_ts", said.settled_ts, "settled_time"),
    ):
        if isinstance(value, float | int):
            times[name] = moment(value)
            if column:
                claims[column] = times[name]
    if kind is Kind.DETERMINED:
        claims["result"] = _given(said.result) or None
        claims["settlement_value_dollars"] = _dollars(_given(said.settlement_value))
    elif result := _given(said.result):
        claims["result"] = result
    if structure := _given(said.price_level_structure):
        claims["price_level_structure"] = structure
    if ranges := _given(said.price_ranges):
        claims["price_ranges"] = ranges
    if kind is Kind.CREATED:
        rules = _given(inner.rules_secondary) if inner else None
        extra = {"rules_secondary": rules or None, "exchange_index": _given(said.exchange_index)}
        claims["extra"] = {name: value for name, value in extra.items() if value is not None}
    event_ticker = said.event_ticker or (inner.event_ticker if inner else None)
    return Parsed(
        kind=kind,
        market_ticker=_ticker(said.market_ticker),
        event_ticker=_ticker(event_ticker) if event_ticker else None,
        claims=claims,
        times=times,
    )


_MARKET_KINDS: Final = frozenset(Kind) - EVENT_KINDS - {Kind.UNKNOWN}
_TEXTS: Final = ("title", "yes_sub_title", "no_sub_title", "rules_primary", "strike_type")


def _descriptive(said: _Metadata) -> dict[str, Any]:
    """Texts and strikes; an absent field claims nothing, an empty one claims that there is none."""
    claims: dict[str, Any] = {}
    for name in _TEXTS:
        if (text := getattr(said, name)) is not msgspec.UNSET:
            claims[name] = text or None
    for name in ("floor_strike", "cap_strike"):
        if (strike := getattr(said, name)) is not msgspec.UNSET:
            claims[name] = _decimal(strike)
    if said.custom_strike is not msgspec.UNSET:
        claims["custom_strike"] = said.custom_strike or None
    if said.can_close_early is not msgspec.UNSET:
        claims["can_close_early"] = said.can_close_early
    if isinstance(said.expected_expiration_ts, float | int):
        claims["expected_expiration_time"] = moment(said.expected_expiration_ts)
    return claims


def _event(body: Mapping[str, Any]) -> Parsed:
    said = msgspec.convert(body, _EventBody, strict=False)
    return Parsed(
        kind=Kind.EVENT_LIFECYCLE,
        event_ticker=_ticker(said.event_ticker),
        series_ticker=_ticker(said.series_ticker),
        claims={
            "title": said.title or None,
            "sub_title": said.subtitle or None,
            "collateral_return_type": said.collateral_return_type or None,
            "strike_date": None if not said.strike_date else moment(said.strike_date),
            "strike_period": said.strike_period or None,
        },
    )


def _fee(body: Mapping[str, Any]) -> Parsed:
    said = msgspec.convert(body, _FeeBody, strict=False)
    return Parsed(
        kind=Kind.EVENT_FEE_UPDATE,
        event_ticker=_ticker(said.event_ticker),
        claims={
            "fee_type_override": said.fee_type_override or None,
            "fee_multiplier_override": _decimal(said.fee_multiplier_override),
        },
    )


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as UTC; MalformedMessage where no calendar has that day."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError) as error:
        raise MalformedMessage(f"{seconds} is not a time in seconds") from error


def _decimal(value: Any) -> Decimal | None:
    if value is None or value == "":
        return None
    # repr of a float is the shortest text that reads back the same: what the exchange wrote.
    number = Decimal(value if isinstance(value, str | int) else repr(value))
    if not number.is_finite() or abs(number.adjusted()) > 30:
        raise MalformedMessage("a number is out of any sensible range")
    return number


def _dollars(value: Any) -> Decimal | None:
    number = _decimal(value)
    if number is not None and abs(number) >= 10_000:
        raise MalformedMessage("an amount is larger than its column, numeric(10,6)")
    return number


def _given(value: Any) -> Any:
    return None if value is msgspec.UNSET else value


def _ticker(text: str) -> str:
    if not text or len(text) > MAX_TICKER_CHARACTERS:
        raise MalformedMessage("a ticker is empty or longer than 128 characters")
    return text
