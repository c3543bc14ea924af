"""Rows as JSON, the same from PostgreSQL and from Redis.

Integers are integers, NUMERIC exact strings, timestamps as `ssmd_common.times` spells them, arrays
and jsonb JSON: the shape of the change stream (docs/contracts.md § 2). Columns come in the order
below, which is the tables' own.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader

from ssmd_common import times
from ssmd_common.depth import is_deep

Row = dict[str, Any]

SERIES: Final = (
    "ticker",
    "title",
    "category",
    "tags",
    "is_game",
    "active",
    "volume",
    "frequency",
    "fee_type",
    "fee_multiplier",
    "settlement_sources",
    "contract_url",
    "exchange_updated_at",
    "created_at",
    "updated_at",
    "extra",
)
EVENTS: Final = (
    "event_ticker",
    "title",
    "category",
    "series_ticker",
    "strike_date",
    "status",
    "mutually_exclusive",
    "deleted_at",
    "sub_title",
    "strike_period",
    "collateral_return_type",
    "fee_type_override",
    "fee_multiplier_override",
    "exchange_updated_at",
    "created_at",
    "updated_at",
    "extra",
)
MARKETS: Final = (
    "ticker",
    "event_ticker",
    "title",
    "status",
    "close_time",
    "yes_bid",
    "yes_ask",
    "no_bid",
    "no_ask",
    "last_price",
    "volume",
    "volume_24h",
    "open_interest",
    "deleted_at",
    "series_ticker",
    "exchange_status",
    "yes_bid_dollars",
    "yes_ask_dollars",
    "no_bid_dollars",
    "no_ask_dollars",
    "last_price_dollars",
    "volume_fp",
    "volume_24h_fp",
    "open_interest_fp",
    "open_time",
    "expected_expiration_time",
    "latest_expiration_time",
    "settled_time",
    "result",
    "settlement_value_dollars",
    "expiration_value",
    "yes_sub_title",
    "no_sub_title",
    "market_type",
    "strike_type",
    "floor_strike",
    "cap_strike",
    "custom_strike",
    "can_close_early",
    "rules_primary",
    "price_level_structure",
    "price_ranges",
    "mve_collection_ticker",
    "is_provisional",
    "extra",
    "exchange_updated_at",
    "observed_at",
    "observed_via",
    "created_at",
    "updated_at",
)
SERIES_FEES: Final = (
    "series_ticker",
    "fee_type",
    "fee_multiplier",
    "effective_from",
    "effective_to",
    "source_id",
)
FEES: Final = ("tier", "maker_fee", "taker_fee")
LIFECYCLE: Final = (
    "id",
    "market_ticker",
    "event_ticker",
    "event_type",
    "open_ts",
    "close_ts",
    "determined_ts",
    "settled_ts",
    "result",
    "metadata",
    "sent_at",
    "received_at",
    "dedupe_key",
)

SYNC_RUNS: Final = (
    "id",
    "job",
    "scope",
    "started_at",
    "finished_at",
    "outcome",
    "requests",
    "tokens",
    "fetched",
    "inserted",
    "updated",
    "unchanged",
    "deleted",
    "set_aside",
    "rejected_fields",
    "error",
)

# What a program must know of a market before it subscribes.
LOOKUP: Final = (
    "ticker",
    "event_ticker",
    "series_ticker",
    "status",
    "exchange_status",
    "open_time",
    "close_time",
    "settled_time",
    "result",
    "price_level_structure",
    "updated_at",
)

# Beside a market in a list; a single market has the whole rows.
EVENT_OF_MARKET: Final = (
    "event_ticker",
    "title",
    "sub_title",
    "category",
    "status",
    "strike_date",
    "mutually_exclusive",
)
SERIES_OF_MARKET: Final = ("ticker", "title", "category", "tags", "is_game", "volume")

MAX_DEPTH: Final = 128
"""Of what is sent and read: no reader's JSON has to follow further."""

_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_SIGNED_YEAR: Final = re.compile(r"(\+|-|(?=0000))(\d{4,})(-.*)", re.ASCII)

# Decimals stay exact in jsonb too.
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class Unreadable(ValueError):
    """No JSON, or JSON that common readers refuse."""


def decode(raw: bytes) -> Any:
    """Read JSON without losing a digit.

    Raises:
        Unreadable: it is none, or nested more than `MAX_DEPTH` deep.
    """
    if is_deep(raw, MAX_DEPTH):
        raise Unreadable(f"nested more than {MAX_DEPTH} deep")
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def encode(document: Any) -> bytes:
    return _encoder.encode(document)


def pick(row: Mapping[str, Any], columns: Sequence[str]) -> Row:
    """The columns in their order; KeyError if one is missing."""
    return {column: row[column] for column in columns}


class _TextLoader(Loader):
    def load(self, data: Buffer) -> str:
        return bytes(data).decode()


class _TimestampLoader(Loader):
    def load(self, data: Buffer) -> str:
        return times.spelled(bytes(data)).decode()


class _JsonLoader(Loader):
    def load(self, data: Buffer) -> Any:
        """One value that cannot be sent as JSON costs itself, not its row nor its page."""
        raw = bytes(data)
        try:
            return decode(raw)
        except Unreadable as error:
            return {"unreadable": str(error), "text": raw.decode()}


def nearest(spelling: str) -> datetime:
    """A time of a row to compare by: of one that Python cannot hold, the nearest that it can.

    Raises:
        MalformedTime: it is no time.
    """
    found = times.moment(spelling)
    if found is None:
        # Years up to 0 come before all that Python holds, and so does -infinity.
        early = spelling.startswith(("-", "0000"))
        return _FIRST if early else _LAST
    return found


def for_postgresql(spelling: str) -> str:
    """A time's spelling as PostgreSQL reads it, which has no signs before years but BC."""
    match = _SIGNED_YEAR.fullmatch(spelling)
    if match is None:
        return spelling
    sign, year, rest = match.groups()
    return f"{year}{rest}" if sign == "+" else f"{int(year) + 1:04d}{rest} BC"


def register(context: AdaptContext) -> None:
    """Make a connection or cursor load values in the shape above; its session's zone is UTC."""
    context.adapters.register_loader("timestamptz", _TimestampLoader)
    context.adapters.register_loader("numeric", _TextLoader)
    context.adapters.register_loader("jsonb", _JsonLoader)
