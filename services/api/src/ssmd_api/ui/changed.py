"""What a change was: each column from its old value to its new one, as it is shown."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ssmd_api.rows import encode
from ssmd_api.ui.columns import kind_of
from ssmd_api.versions import Version
from ssmd_common.columns import Kind, Table

_BESIDE_OTHERS: Final = ("updated_at", "observed_at", "observed_via", "exchange_updated_at")
"""They change along with others, and say nothing of what it is."""

_LONGEST: Final = 160


@dataclass(frozen=True, slots=True)
class Changed:
    name: str
    kind: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class ShownVersion:
    """What became of a row, and when that was known."""

    at: str
    kind: str
    changes: list[Changed]


def shown_versions(table: Table, versions: Iterable[Version]) -> list[ShownVersion]:
    return [ShownVersion(each.at, each.kind, changes_of(table, each.changes)) for each in versions]


def changes_of(table: Table, changes: Mapping[str, Mapping[str, Any]]) -> list[Changed]:
    """In the order of the table's columns; a rounded value whose exact one changed is left out."""
    exact = {column.name: column.exact for column in table.columns if column.exact}
    found = [
        _changed(table, name, values)
        for name, values in _ordered(table, changes)
        if exact.get(name, "") not in changes
    ]
    return [change for change in found if change.name not in _BESIDE_OTHERS] or found


def _ordered(
    table: Table, changes: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in table.names:
        if name in changes:
            yield name, changes[name]
    # A column that is newer than this program.
    yield from ((name, values) for name, values in changes.items() if name not in table.names)


def _changed(table: Table, name: str, values: Mapping[str, Any]) -> Changed:
    kind = "text"
    if name in table.names:
        column = table[name]
        kind = kind_of(column, name)
        if column.kind is Kind.TIME:
            kind = "time"
        elif kind not in ("price", "count"):
            kind = "text"
    old, new = values.get("old"), values.get("new")
    return Changed(name, kind, *((old, new) if kind != "text" else (_text(old), _text(new))))


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else encode(value).decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
