"""A table as the stream sees it: how its columns become JSON, its key, its subject."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, Self, TypeAlias

import msgspec

from ssmd_cdc.encode import changetype
from ssmd_cdc.encode.values import LONGEST_KEPT, MOST_KEPT, NULL, ToJson, TypeInfo, converter, text
from ssmd_cdc.errors import UnreadableValue
from ssmd_cdc.replication.pgoutput import Column, Value
from ssmd_stream import subjects

_TICKER_COLUMNS: Final[Mapping[str, str]] = {
    "series": "ticker",
    "events": "event_ticker",
    "markets": "ticker",
    "series_fees": "series_ticker",
    "market_lifecycle_events": "market_ticker|event_ticker",
}


Row: TypeAlias = list[Value] | Mapping[int, Value]
"""A row's values by column, or those that are asked for."""


class ColumnCache(dict[Value, bytes]):
    """A column's member of a JSON object, `"name":value`, by the column's text.

    Most columns hold few different values (a status, a strike type, a price in cents), so short
    ones are kept: looking one up costs a fraction of making it.
    """

    __slots__ = ("_label", "convert")

    def __init__(self, label: bytes, convert: ToJson) -> None:
        super().__init__({None: label + NULL})
        self._label = label
        self.convert = convert

    def __missing__(self, value: Value) -> bytes:
        if not isinstance(value, bytes):
            raise UnreadableValue("a column was not sent")
        made = self._label + self.convert(value)
        if len(made) <= LONGEST_KEPT:
            if len(self) >= MOST_KEPT:
                self.clear()
                self[None] = self._label + NULL
            self[value] = made
        return made


class TableEncoder(msgspec.Struct, frozen=True):
    """Everything about a table that does not change from row to row.

    The numbers are indexes into a row: `key` its primary key, `tokens` what its subject carries
    (the first that is not null of each), `identity` both, `watched` what the type depends on;
    `updated` is the type of an update that touches none of these.
    """

    table: str
    columns: tuple[str, ...]
    labels: tuple[bytes, ...]
    caches: tuple[ColumnCache, ...]
    key: tuple[int, ...]
    tokens: tuple[tuple[int, ...], ...]
    ticker: tuple[int, ...]
    identity: frozenset[int]
    watched: tuple[tuple[str, int], ...]
    watched_columns: frozenset[int]
    updated: str
    deleted_at: int | None

    @classmethod
    def of(
        cls,
        table: str,
        columns: Iterable[Column],
        key: Iterable[str],
        catalogue: Mapping[int, TypeInfo],
    ) -> Self:
        """The encoder of `table`; `key` names its primary key's columns, `catalogue` its types."""
        columns = tuple(columns)
        index = {column.name: at for at, column in enumerate(columns)}

        def find(choices: str) -> tuple[int, ...]:
            return tuple(index[name] for name in choices.split("|") if name in index)

        keys = tuple(index[name] for name in key if name in index)
        tokens = tuple(find(choices) for choices in subjects.TOKEN_COLUMNS.get(table, ()))
        watched = tuple((name, index[name]) for name in changetype.WATCHED if name in index)
        labels = tuple(text(column.name.encode()) + b":" for column in columns)
        converters = tuple(converter(column.type_oid, catalogue) for column in columns)
        return cls(
            table=table,
            columns=tuple(column.name for column in columns),
            labels=labels,
            caches=tuple(map(ColumnCache, labels, converters)),
            key=keys,
            tokens=tokens,
            ticker=find(_TICKER_COLUMNS.get(table, "")),
            identity=frozenset({*keys, *(at for choices in tokens for at in choices)}),
            watched=watched,
            watched_columns=frozenset(at for _, at in watched),
            updated=changetype.updated(table, {}, {}),
            deleted_at=index.get("deleted_at"),
        )

    def json(self, row: list[Value]) -> bytes:
        """A whole row as a JSON object."""
        return b"{%b}" % b",".join(
            [cache[value] for cache, value in zip(self.caches, row, strict=True)]
        )

    def one(self, at: int, value: Value) -> bytes:
        """One column's value as JSON."""
        return self.caches[at][value][len(self.labels[at]) :]

    def key_json(self, row: Row) -> bytes:
        """The primary key as a JSON object; null for a table without one."""
        if not self.key:
            return NULL
        return b"{%b}" % b",".join([self.caches[at][row[at]] for at in self.key])

    def ticker_json(self, row: Row) -> bytes:
        for at in self.ticker:
            if row[at] is not None:
                return self.one(at, row[at])
        return NULL

    def subject(self, op: str, row: Row) -> str:
        """As `ssmd_stream.subjects.subject`, from a row as PostgreSQL sent it."""
        return _subject(self.table, op, *[_first(row, choices) for choices in self.tokens])

    def watched_of(self, row: list[Value]) -> dict[str, bytes | None]:
        return {name: row[at] for name, at in self.watched}  # type: ignore[misc]


def _first(row: Row, choices: tuple[int, ...]) -> Value:
    for at in choices:
        if row[at] is not None:
            return row[at]
    return None


# Some 500 bytes each. Plain updates, which come again and again, are kept elsewhere (`fast_path`).
@lru_cache(maxsize=1 << 12)
def _subject(table: str, op: str, *raws: Value) -> str:
    return subjects.subject_of(
        table, op, [raw.decode() if isinstance(raw, bytes) else None for raw in raws]
    )


def table_name(namespace: str, name: str) -> str:
    """What the stream calls a table: its name, with the schema where that is not public."""
    return name if namespace == "public" else f"{namespace}.{name}"
