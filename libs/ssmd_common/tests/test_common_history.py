"""What history watches is what the registry says: no column is forgotten, none kept too much."""

from typing import Any

import pytest

from ssmd_common import tables
from ssmd_common.columns import Table

WATCHED = [table for table in tables.PUBLISHED.values() if table is not tables.LIFECYCLE]


@pytest.mark.parametrize("table", WATCHED, ids=lambda table: table.name)
async def test_history_watches_all_but_what_is_volatile(database: Any, table: Table) -> None:
    """A migration that adds a column has to say `SELECT history.watch('markets')` again."""
    tracked = [column.name for column in table.columns if not column.volatile]
    query = """
        SELECT w.volatile, w.key,
            (SELECT array_agg(a.attname::text) FROM pg_index i
                JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                WHERE i.indrelid = w.name::regclass AND i.indisprimary),
            (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_trigger t
                JOIN pg_depend d ON d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
                    AND d.refobjid = t.tgrelid AND d.refobjsubid > 0
                JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = d.refobjsubid
                WHERE t.tgrelid = w.name::regclass AND t.tgname = 'history_updated'),
            (SELECT array_agg(t.tgname::text ORDER BY t.tgname) FROM pg_trigger t
                WHERE t.tgrelid = w.name::regclass AND t.tgname LIKE 'history%%'
                    AND t.tgenabled = 'A')
        FROM history.watched w WHERE w.name = %s
    """
    async with database.connect() as connection:
        [found] = await (await connection.execute(query, (table.name,))).fetchall()
        volatile, key, primary, compared, triggers = found
        assert set(volatile) == {column.name for column in table.columns if column.volatile}
        assert set(key) == set(primary)
        assert set(compared) == set(tracked)
        assert triggers == [
            f"history_{what}" for what in ("deleted", "inserted", "truncated", "updated")
        ]
        # Each function still has the shape of the table, and tells each tracked column.
        await connection.execute("SELECT history.notice()")
        for source in ("(now())", "_snapshot(pg_current_snapshot())"):
            function = f"{table.name}_as_of{source}"
            told = await connection.execute(f"SELECT * FROM {function}")
            assert [column.name for column in told.description or ()] == list(table.names)
            plan = await connection.execute(
                f"EXPLAIN (VERBOSE, FORMAT JSON, COSTS OFF) SELECT * FROM {function}"
            )
            [(((explained,),))] = await plan.fetchall()
            for branch in branches(explained["Plan"]):
                nulls = [
                    name
                    for name, output in zip(table.names, branch, strict=True)
                    if output.startswith("NULL::")
                ]
                assert set(nulls) == set(volatile), function


def branches(plan: dict[str, Any]) -> list[list[str]]:
    """What each of both parts, the rows that are and those that were, gives."""
    if plan["Node Type"] == "Append":
        parts = [part for part in plan["Plans"] if part["Parent Relationship"] == "Member"]
        assert len(parts) == 2
        return [part["Output"] for part in parts]
    return next(filter(None, (branches(part) for part in plan.get("Plans", ()))), [])


def test_the_volatile_columns() -> None:
    """Filters and sorts on these make no sense as of a moment."""
    assert {table.name: [c.name for c in table.columns if c.volatile] for table in WATCHED} == {
        "series": ["volume", "exchange_updated_at", "updated_at"],
        "events": ["exchange_updated_at", "updated_at"],
        "markets": [
            *("yes_bid", "yes_ask", "no_bid", "no_ask", "last_price"),
            *("volume", "volume_24h", "open_interest"),
            *("yes_bid_dollars", "yes_ask_dollars", "no_bid_dollars", "no_ask_dollars"),
            *("last_price_dollars", "volume_fp", "volume_24h_fp", "open_interest_fp"),
            *("exchange_updated_at", "observed_at", "observed_via", "updated_at"),
        ],
        **{name: [] for name in ("series_fees", "fees")},
    }
