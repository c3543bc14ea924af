"""The tables of a compacted day and their columns (docs/parquet.md is made from this). Pure.

A column has one type of Arrow, and says how the archive's line has it. Prices are dollars with six
digits after the point, counts contracts with four, numbers of the secmaster have ten: what needs
more is not rounded, its message stands in the table `other`.
"""

from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from typing import Final, NamedTuple

import pyarrow as pa

from ssmd_archive.layout import Layout
from ssmd_common.columns import Kind
from ssmd_common.tables import PUBLISHED

VERSION: Final = 1
"""Of these schemas: a day that another version wrote is compacted anew."""

TEXT: Final = pa.string()
INTEGER: Final = pa.int64()
BOOLEAN: Final = pa.bool_()
TIME: Final = pa.timestamp("us", "UTC")
PRICE: Final = pa.decimal128(18, 6)
COUNT: Final = pa.decimal128(18, 4)
NUMBER: Final = pa.decimal128(38, 10)
TEXTS: Final = pa.list_(TEXT)
LEVELS: Final = pa.list_(pa.struct([("price", PRICE), ("count", COUNT)]))


class Origin(StrEnum):
    """Where a column comes from."""

    MESSAGE = "message"
    """The member of its name."""
    JSON = "json"
    """The same, as the JSON that it is."""
    ROW = "row"
    """The member of its name of `data`."""
    ARCHIVE = "archive"
    """The archive itself."""


class Column(NamedTuple):
    name: str
    type: pa.DataType
    what: str
    required: bool = False
    origin: Origin = Origin.MESSAGE


ROW_GROUP: Final = 122_880
"""Rows: what DuckDB gives to a thread at once; polars and pyarrow read groups of this size well."""
WIDE_ROW_GROUP: Final = 16_384
"""Of tables whose rows have JSON of some kilobytes: a group is in memory while it is written."""
ODD_ROW_GROUP: Final = 2_048
"""Of tables whose rows may be as large as a message can be."""


class Table(NamedTuple):
    """`says` are members that each of its messages has with this value."""

    name: str
    columns: tuple[Column, ...]
    order: tuple[str, ...]
    """Sorted by these columns; no two rows have the same in all of them."""
    says: tuple[tuple[str, str], ...] = ()
    row_group: int = ROW_GROUP
    """Rows in a group of the file, at most."""

    @property
    def schema(self) -> pa.Schema:
        """What stands in the file."""
        return pa.schema(
            [pa.field(one.name, one.type, not one.required) for one in self.columns],
            metadata={"ssmd.table": self.name, "ssmd.schema": str(VERSION)},
        )

    def of(self, *origins: Origin) -> Iterator[Column]:
        """The columns that come from these."""
        return (column for column in self.columns if column.origin in origins)


_PLACE: Final = (
    Column("_chain", INTEGER, "the archive's chain", required=True, origin=Origin.ARCHIVE),
    Column("_seq", INTEGER, "the stream's sequence", required=True),
    Column("_stored_at", TIME, "when JetStream stored it, cut to microseconds", required=True),
)
_CAPTURE: Final = (
    *_PLACE,
    Column("connector", TEXT, "whose", required=True),
    Column("session", TEXT, "one life of one WebSocket connection", required=True),
    Column("frame", INTEGER, "its frames from 1", required=True),
    Column("received_at", TIME, "when connector received it", required=True),
)
_EXCHANGE: Final = (
    *_CAPTURE,
    Column("source", TEXT, "`ws`, or `rest` for what a repair fetched", required=True),
    Column("series", TEXT, "null where the secmaster did not know the market yet"),
    Column("event", TEXT, "likewise"),
    Column("ticker", TEXT, "the market", required=True),
    Column("sid", INTEGER, "the exchange's subscription"),
    Column("seq", INTEGER, "its sequence number"),
    Column("exchange_time", TIME, "the exchange's own time"),
)
_BY_TIME: Final = ("_stored_at", "_chain", "_seq")
_BY_TICKER: Final = ("ticker", *_BY_TIME)
_V1: Final = ("v", "1")

_TRADE: Final = Table(
    "trade",
    (
        *_EXCHANGE,
        Column("trade_id", TEXT, "the exchange's", required=True),
        Column("price", PRICE, "what YES cost, dollars", required=True),
        Column("count", COUNT, "contracts", required=True),
        Column("taker_side", TEXT, "`yes` or `no`: the outcome that the taker bet on"),
        Column("block", BOOLEAN, "true of a block trade, else null"),
    ),
    _BY_TICKER,
    (_V1, ("channel", "trade")),
)
_TICKER: Final = Table(
    "ticker",
    (
        *_EXCHANGE,
        Column("price", PRICE, "the last, dollars"),
        Column("yes_bid", PRICE, "dollars"),
        Column("yes_ask", PRICE, "dollars"),
        Column("yes_bid_size", COUNT, "contracts"),
        Column("yes_ask_size", COUNT, "contracts"),
        Column("last_size", COUNT, "contracts"),
        Column("volume", COUNT, "contracts"),
        Column("open_interest", COUNT, "contracts"),
    ),
    _BY_TICKER,
    (_V1, ("channel", "ticker")),
)
_BOOK: Final = Table(
    "book",
    (
        *_EXCHANGE,
        Column("yes_price", BOOLEAN, "NO's prices are what YES costs there", required=True),
        Column("yes", LEVELS, "a snapshot's levels; null in a change"),
        Column("no", LEVELS, "likewise"),
        Column("side", TEXT, "a change's: `yes` or `no`"),
        Column("price", PRICE, "a change's, dollars"),
        Column("delta", COUNT, "a change's: so many contracts more, or fewer"),
    ),
    _BY_TICKER,
    (_V1, ("channel", "book")),
    WIDE_ROW_GROUP,
)
_SESSION: Final = Table(
    "session",
    (
        *_CAPTURE,
        Column("n", INTEGER, "numbers the session's records from 1", required=True),
        Column("what", TEXT, "what happened", required=True),
        Column("of_channel", TEXT, "what it is about; null: the whole connection"),
        Column("sid", INTEGER, "the exchange's subscription"),
        Column("tickers", TEXTS, "which markets; null: all"),
        Column("everything", BOOLEAN, "true where the channel carries all markets, else null"),
        Column("yes_price", BOOLEAN, "of a subscription to books"),
        Column("published", TEXT, "messages of each channel, JSON", origin=Origin.JSON),
        Column("dropped", TEXT, "likewise", origin=Origin.JSON),
        Column("since", TIME, "of a gap, a repair, a takeover"),
        Column("until", TIME, "likewise"),
        Column("trades", INTEGER, "how many a repair found"),
        Column("code", INTEGER, "the exchange's, of an error"),
        Column("reason", TEXT, "why"),
    ),
    _BY_TIME,
    (_V1, ("channel", "session")),
    WIDE_ROW_GROUP,
)
_UNREADABLE: Final = Table(
    "unreadable",
    (
        *_CAPTURE,
        Column("reason", TEXT, "why it could not be read", required=True),
        Column("of_channel", TEXT, "of which channel it was"),
        Column("sid", INTEGER, "the exchange's subscription"),
        Column("seq", INTEGER, "its sequence number"),
        Column("raw", TEXT, "the frame's bytes in base64", required=True),
    ),
    _BY_TIME,
    (_V1, ("channel", "unreadable")),
    ODD_ROW_GROUP,
)
OTHERS: Final = Table(
    "other",
    (
        *_PLACE,
        Column("folder", TEXT, "where its line stands", required=True),
        Column("subject", TEXT, "of a message of `_other`"),
        Column("payload", pa.binary(), "as published", required=True),
        Column("why", TEXT, "why it is in no other table", required=True),
    ),
    _BY_TIME,
    row_group=ODD_ROW_GROUP,
)
"""What no other table can have: messages of `_other`, and those that do not fit a schema."""

_KINDS: Final = {
    Kind.TEXT: TEXT,
    Kind.INTEGER: INTEGER,
    Kind.NUMERIC: NUMBER,
    Kind.TIME: TIME,
    Kind.BOOLEAN: BOOLEAN,
    Kind.TEXTS: TEXTS,
}
_ENVELOPE: Final = (
    *_PLACE,
    Column("lsn", TEXT, "of the commit", required=True),
    Column("seq", INTEGER, "within the commit", required=True),
    Column("epoch", INTEGER, "of cdc", required=True),
    Column("xid", INTEGER, "the transaction; null: announced, not changed"),
    Column("op", TEXT, "insert, update, delete, truncate, snapshot_begin, snapshot_end", True),
    Column("type", TEXT, "what happened", required=True),
    Column("timestamp", TIME, "of the commit", required=True),
    Column("ticker", TEXT, "what it is about"),
    Column("error", TEXT, "set on a marker of a row that could not be carried"),
    Column("final", BOOLEAN, "of the last table of an announcement"),
    Column("key", TEXT, "the primary key, JSON", origin=Origin.JSON),
    Column("data", TEXT, "the row after the change, JSON", origin=Origin.JSON),
    Column("changes", TEXT, "what differs, JSON", origin=Origin.JSON),
    Column("before", TEXT, "the row that a delete removed, JSON", origin=Origin.JSON),
)


def _changes(name: str) -> Table:
    """A table of the secmaster: the envelope, and each column of the row that is no JSON."""
    taken = {column.name for column in _ENVELOPE}
    row = tuple(
        Column(column.name, _KINDS[column.kind], "the row's", origin=Origin.ROW)
        for column in PUBLISHED[name].columns
        if column.kind in _KINDS and column.name not in taken
    )
    return Table(name, _ENVELOPE + row, _BY_TICKER, (_V1, ("table", name)), WIDE_ROW_GROUP)


@cache
def tables(layout: Layout) -> dict[str, Table]:
    """The table of each folder of a stream, but for `other`."""
    if layout.has_states:
        return {name: _changes(name) for name in sorted(layout.tables) if name in PUBLISHED}
    known = {
        "trade": _TRADE,
        "ticker": _TICKER,
        "book": _BOOK,
        "session": _SESSION,
        "unreadable": _UNREADABLE,
        "books_session": _SESSION._replace(name="books_session"),
        "books_unreadable": _UNREADABLE._replace(name="books_unreadable"),
    }
    return {name: known[name] for name in sorted(layout.tables)}
