"""The bodies of lifecycle messages: what each says, by column. Pure.

Field names are those of the exchange's AsyncAPI specification, channel `market_lifecycle_v2`; times
come as seconds since 1970 and become UTC. An absent field says nothing, an empty one that there is
none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from ssmd_lifecycle.messages import EVENT_KINDS, MAX_TICKER_CHARACTERS, Kind, MalformedMessage

Clearable = msgspec.UnsetType | None


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
