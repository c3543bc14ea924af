"""Rows as JSON, the same from PostgreSQL and from Redis.

Integers are integers, NUMERIC exact strings, timestamps as `ssmd_common.times` spells them, arrays
and jsonb JSON: the shape of the change stream (docs/contracts.md § 2). A row has the columns of its
table (`ssmd_common.tables`), in their order, or those that are chosen here.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import msgspec
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.types.string import TextLoader

from ssmd_common import tables, times
from ssmd_common.columns import Column, Kind, Table
from ssmd_common.depth import is_deep

Row = dict[str, Any]

SYNC_RUNS: Final = tables.SYNC_RUNS.without("unread")
"""Which rows a run did not read may be many: they count for freshness only."""

KEYS: Final = tables.API_KEYS.without("key_hash")

LOOKUP: Final = tables.MARKETS.only(
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
"""What a program must know of a market before it subscribes."""

# Beside a market in a list; a single market has the whole rows.
EVENT_OF_MARKET: Final = tables.EVENTS.only(
    "event_ticker",
    "title",
    "sub_title",
    "category",
    "status",
    "strike_date",
    "mutually_exclusive",
)
SERIES_OF_MARKET: Final = tables.SERIES.only(
    "ticker", "title", "category", "tags", "is_game", "volume"
)

MARKET: Final = Table(
    "markets",
    (
        *tables.MARKETS.columns,
        Column(
            name="expiration_time",
            kind=Kind.TIME,
            note="`latest_expiration_time`, by an older name.",
        ),
    ),
)
"""A market's row in lists, in exports and by itself: the last two follow from what stands beside
them."""

FEES_IN_FORCE: Final = Table(
    "fees_in_force",
    (
        Column(name="fee_type"),
        Column(name="fee_multiplier", kind=Kind.NUMERIC),
        Column(
            name="by",
            note="`event` where the event overrides the type or the multiplier, else `schedule`.",
        ),
        Column(name="effective_from", kind=Kind.TIME, note="Of the schedule's step."),
        Column(name="effective_to", kind=Kind.TIME, note="Of the schedule's step."),
    ),
)
"""What `include=fees` says of a row: see `feeschedule.Terms`."""

FOLLOWED: Final = ("event.category", "series.category", "latest_expiration_time")
"""What these two follow from."""

MAX_DEPTH: Final = 128
"""Of what is sent and read: no reader's JSON has to follow further."""

ROW_DEPTH: Final = MAX_DEPTH + 4
"""Of a list of rows that have such values, also in parents and in lists beside a row."""

_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_SIGNED_YEAR: Final = re.compile(r"(\+|-|(?=0000))(\d{4,})(-.*)", re.ASCII)

# Decimals stay exact in jsonb too.
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class Unreadable(ValueError):
    """No JSON, or JSON that common readers refuse."""


def decode(raw: bytes, deepest: int = MAX_DEPTH) -> Any:
    """Read JSON without losing a digit.

    Raises:
        Unreadable: it is none, or nested more than `deepest` deep.
    """
    if is_deep(raw, deepest):
        raise Unreadable(f"nested more than {deepest} deep")
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def loaded_json(raw: bytes) -> Any:
    """A value of jsonb. One that cannot be sent as JSON costs itself, not its row nor its page."""
    try:
        return decode(raw)
    except Unreadable as error:
        return {"unreadable": str(error), "text": raw.decode()}


def encode(document: Any) -> bytes:
    return _encoder.encode(document)


def named(table: Table, values: Sequence[Any]) -> Row:
    """A row of values that begin with the table's columns."""
    return dict(zip(table.names, values, strict=False))


def completed(market: Row) -> Row:
    """A market with its event and series, and with what `MARKET` has beside the table's columns."""
    category = market["event"]["category"]
    return market | {
        "category": market["series"]["category"] if category is None else category,
        "expiration_time": market["latest_expiration_time"],
    }


def pick(row: Mapping[str, Any], table: Table) -> Row:
    """The table's columns in their order; KeyError if one is missing."""
    return {name: row[name] for name in table.names}


class _TimestampLoader(Loader):
    def load(self, data: Buffer) -> str:
        return spelled(bytes(data))


@lru_cache(maxsize=4096)
def spelled(raw: bytes) -> str:
    """PostgreSQL's text of a time as it is sent; rows of one transaction have the same times."""
    return times.spelled(raw).decode()


class _JsonLoader(Loader):
    def load(self, data: Buffer) -> Any:
        return loaded_json(bytes(data))


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
    context.adapters.register_loader("numeric", TextLoader)
    context.adapters.register_loader("jsonb", _JsonLoader)


async def configure(connection: AdaptContext) -> None:
    """The same for each connection of a pool."""
    register(connection)
