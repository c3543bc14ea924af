"""The registry of columns against PostgreSQL, and against itself."""

from typing import Any

import pytest

from ssmd_common import tables
from ssmd_common.columns import Kind, Table

TABLES = (*tables.PUBLISHED.values(), tables.COLLECTIONS, tables.SYNC_RUNS, tables.API_KEYS)
NARROWER = {"int4": "int8", "varchar": "text"}


async def columns_of(database: Any, table: str) -> list[tuple[str, str]]:
    """Name and type, in the table's order."""
    query = (
        "SELECT column_name, udt_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s ORDER BY ordinal_position"
    )
    async with database.connect() as connection:
        found = await (await connection.execute(query, (table,))).fetchall()
    return [(name, NARROWER.get(kind, kind)) for name, kind in found]


OLD_NAME = ("set_aside", "jsonb")
"""Of `rejected_rows`, for one version (migration 019)."""


async def test_the_registry_is_the_database(database: Any) -> None:
    """A column that only one of them has, or of another type or place, fails here by its name."""
    for table in TABLES:
        declared = [(column.name, str(column.kind)) for column in table.columns]
        found = await columns_of(database, table.name)
        if table is tables.SYNC_RUNS:
            # Users see what a run did before what went wrong; migrations add columns at the end.
            declared = sorted([*declared, OLD_NAME])
            found = sorted(found)
        assert declared == found, table.name


async def test_primary_keys_are_those_of_the_database(database: Any) -> None:
    query = """
        SELECT array_agg(a.attname ORDER BY k.place) FROM pg_index i
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
        WHERE i.indisprimary AND i.indrelid = %s::regclass
    """
    async with database.connect() as connection:
        found = {
            table: tuple((await (await connection.execute(query, (table,))).fetchone())[0])
            for table in tables.PRIMARY_KEY
        }
    assert found == tables.PRIMARY_KEY


def test_what_no_writer_provides_is_named_here() -> None:
    assert {table.name: [c.name for c in table.columns if c.derived] for table in TABLES} == {
        "series": ["created_at", "updated_at"],
        "events": ["status", "deleted_at", "created_at", "updated_at"],
        "markets": ["deleted_at", "created_at", "updated_at", "category"],
        **{name: [] for name in ("series_fees", "fees", "market_lifecycle_events")},
        "multivariate_collections": ["created_at", "updated_at"],
        **{name: [] for name in ("sync_runs", "api_keys")},
    }


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_what_is_rounded_has_its_exact_column(table: Table) -> None:
    for column in table.columns:
        assert bool(column.exact) == (column.rounding is not None)
        if column.exact:
            assert column.kind is Kind.INTEGER
            assert table[column.exact].kind is Kind.NUMERIC


def test_some_columns_of_a_table() -> None:
    some = tables.EVENTS.only("title", "event_ticker")
    assert some.names == ("title", "event_ticker")
    assert some["title"] is tables.EVENTS["title"]
    assert tables.FEES.without("maker_fee").names == ("tier", "taker_fee")
    assert list(tables.EVENTS.sorts) == ["event_ticker", "strike_date"]
    for wrong in (tables.EVENTS.only, tables.EVENTS.without, tables.EVENTS.__getitem__):
        with pytest.raises(KeyError, match="volume"):
            wrong("volume")
