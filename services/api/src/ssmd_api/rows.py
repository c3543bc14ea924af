"""Rows as JSON, the same from PostgreSQL and from Redis.

Integers are integers, NUMERIC exact strings, timestamps RFC 3339 UTC (a fraction only where there
is one), arrays and jsonb JSON: the shape of the change stream (docs/contracts.md § 2). Columns come
in the order below, which is the tables' own.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader

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

# Decimals stay exact in jsonb too.
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


def decode(raw: bytes) -> Any:
    """Read JSON without losing a digit."""
    return _decoder.decode(raw)


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
        return timestamp(bytes(data).decode())


class _JsonLoader(Loader):
    def load(self, data: Buffer) -> Any:
        return decode(bytes(data))


def timestamp(text: str) -> str:
    """`2026-02-03 22:05:00.12+00`, as PostgreSQL writes it in UTC, in RFC 3339."""
    # infinity and years before Christ have no form in RFC 3339: they stay as they are.
    return f"{text[:-3].replace(' ', 'T')}Z" if text.endswith("+00") else text


def rfc3339(moment: datetime) -> str:
    """An aware time in the same form as `timestamp` gives."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0') if '.' in text else text}Z"


def register(context: AdaptContext) -> None:
    """Make a connection or cursor load values in the shape above; its session's zone is UTC."""
    context.adapters.register_loader("timestamptz", _TimestampLoader)
    context.adapters.register_loader("numeric", _TextLoader)
    context.adapters.register_loader("jsonb", _JsonLoader)
