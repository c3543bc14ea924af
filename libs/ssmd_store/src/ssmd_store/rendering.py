"""Rows as values that psycopg turns into COPY's text at once.

psycopg calls Python for every time it writes; the exchange's times repeat, so their texts are
remembered. JSON is written here, since a list or an object could also be meant as an array.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from ssmd_common.columns import Kind, columns_of
from ssmd_common.memo import Memo
from ssmd_common.models import Row
from ssmd_store.statements import Table

_TIMES: Memo[str] = Memo(str)


def renderer(table: Table, *, keeping: bool = False) -> Callable[[Row], list[Any]]:
    """From a staged row of a table to its values, in the order of the staged columns; `keeping`:
    and then the columns that a stored row keeps."""
    columns = [column for column in columns_of(table.staged) if not column.derived]
    json = tuple(i for i, column in enumerate(columns) if column.kind is Kind.JSON)
    times = tuple(i for i, column in enumerate(columns) if column.kind is Kind.TIME)
    # From the last to the first, since each is deleted from where it stands.
    names = tuple(enumerate(table.staged.__struct_fields__))
    others = [i for i, name in reversed(names) if name not in table.staged.columns()]
    encode = msgspec.json.encode

    def values(row: Row) -> list[Any]:
        fields = list(msgspec.structs.astuple(row))
        for i in others:
            del fields[i]
        for i in times:
            if (moment := fields[i]) is not None:
                fields[i] = _TIMES[moment]
        for i in json:
            if (value := fields[i]) is not None:
                fields[i] = encode(value).decode()
        return fields

    def with_kept(row: Row) -> list[Any]:
        return [*values(row), sorted(row.kept)]  # type: ignore[attr-defined]

    return with_kept if keeping else values
