"""A table as the stream sees it: how its columns become JSON, its key, its subject."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, Self

import msgspec

from ssmd_cdc import changetype
from ssmd_cdc.pgoutput import Column, Value
from ssmd_cdc.values import NULL, ToJson, TypeInfo, converter, text
from ssmd_common import subjects

_TICKER_COLUMNS: Final[Mapping[str, str]] = {
    "series": "ticker",
    "events": "event_ticker",
    "markets": "ticker",
    "series_fees": "series_ticker",
    "market_lifecycle_events": "market_ticker|event_ticker",
}

# NATS takes control lines of 4 KiB; our columns hold 128 characters, others' may hold anything.
_LONGEST_TOKEN: Final = 512


class Shape(msgspec.Struct, frozen=True):
    """Everything about a table that does not change from row to row.

    The numbers are indexes into a row: `key` its primary key, `tokens` what its subject carries
    (the first that is not null of each), `identity` both, `watched` what the type depends on.
    """

    table: str
    columns: tuple[str, ...]
    labels: tuple[bytes, ...]
    to_json: tuple[ToJson, ...]
    key: tuple[int, ...]
    tokens: tuple[tuple[int, ...], ...]
    ticker: tuple[int, ...]
    identity: tuple[int, ...]
    watched: tuple[tuple[str, int], ...]
    deleted_at: int | None

    @classmethod
    def of(
        cls,
        table: str,
        columns: Iterable[Column],
        key: Iterable[str],
        catalogue: Mapping[int, TypeInfo],
    ) -> Self:
        """The shape of `table`; `key` names its primary key's columns, `catalogue` its types."""
        columns = tuple(columns)
        index = {column.name: at for at, column in enumerate(columns)}

        def find(choices: str) -> tuple[int, ...]:
            return tuple(index[name] for name in choices.split("|") if name in index)

        keys = tuple(index[name] for name in key if name in index)
        tokens = tuple(find(choices) for choices in subjects.TOKEN_COLUMNS.get(table, ()))
        return cls(
            table=table,
            columns=tuple(column.name for column in columns),
            labels=tuple(text(column.name.encode()) + b":" for column in columns),
            to_json=tuple(converter(column.type_oid, catalogue) for column in columns),
            key=keys,
            tokens=tokens,
            ticker=find(_TICKER_COLUMNS.get(table, "")),
            identity=tuple(sorted({*keys, *(at for choices in tokens for at in choices)})),
            watched=tuple((name, index[name]) for name in changetype.WATCHED if name in index),
            deleted_at=index.get("deleted_at"),
        )

    def json(self, row: list[Value]) -> bytes:
        """A whole row as a JSON object."""
        return b"{%b}" % b",".join(
            [
                label + (NULL if value is None else convert(value))  # type: ignore[arg-type]
                for label, convert, value in zip(self.labels, self.to_json, row, strict=True)
            ]
        )

    def one(self, at: int, value: Value) -> bytes:
        """One column's value as JSON."""
        return NULL if value is None else self.to_json[at](value)  # type: ignore[arg-type]

    def key_json(self, row: list[Value]) -> bytes:
        """The primary key as a JSON object; null for a table without one."""
        if not self.key:
            return NULL
        return b"{%b}" % b",".join(self.labels[at] + self.one(at, row[at]) for at in self.key)

    def ticker_json(self, row: list[Value]) -> bytes:
        for at in self.ticker:
            if row[at] is not None:
                return self.one(at, row[at])
        return NULL

    def subject(self, op: str, row: list[Value]) -> str:
        """As `ssmd_common.subjects.subject`, from a row as PostgreSQL sent it."""
        tokens = [_token(_first(row, choices)) for choices in self.tokens]
        return ".".join(["cdc", subjects.token(self.table), op, *(tokens or ["_"])])

    def watched_of(self, row: list[Value]) -> dict[str, bytes | None]:
        return {name: row[at] for name, at in self.watched}  # type: ignore[misc]


def _first(row: list[Value], choices: tuple[int, ...]) -> Value:
    for at in choices:
        if row[at] is not None:
            return row[at]
    return None


@lru_cache(maxsize=1 << 16)
def _token(raw: Value) -> str:
    return subjects.token(raw.decode() if isinstance(raw, bytes) else None)[:_LONGEST_TOKEN]


def table_name(namespace: str, name: str) -> str:
    """What the stream calls a table: its name, with the schema where that is not public."""
    return name if namespace == "public" else f"{namespace}.{name}"
