"""How PostgreSQL answers as of a moment: by indexes in what is and in what was."""

from typing import Any

import pytest
from history_witness import notice

MARKETS = 4000
SERIES = 200


@pytest.fixture
async def many(database: Any) -> Any:
    """A connection, and a moment before each market changed three times."""
    async with database.connect() as connection:
        await notice(connection)
        await connection.execute("SELECT history.maintain('90 days')")
        for statement in (
            f"INSERT INTO series (ticker) SELECT 'S' || g FROM generate_series(1, {SERIES}) g",
            (
                "INSERT INTO events (event_ticker, series_ticker)"
                f" SELECT 'E' || g, 'S' || g % {SERIES} + 1 FROM generate_series(1, {SERIES * 2}) g"
            ),
            (
                "INSERT INTO markets (ticker, event_ticker, series_ticker)"
                " SELECT 'M' || lpad(g::text, 6, '0'), event_ticker, series_ticker"
                f" FROM generate_series(1, {MARKETS}) g"
                f" JOIN events ON event_ticker = 'E' || g % {SERIES * 2} + 1"
            ),
        ):
            await connection.execute(statement)
        query = "SELECT clock_timestamp()::text"
        [(at,)] = await (await connection.execute(query)).fetchall()
        for title in ("a", "b"):
            await connection.execute("UPDATE markets SET title = %s", (title,))
        await connection.execute("DELETE FROM markets WHERE ticker LIKE '%%0'")
        # As autovacuum does: index-only scans depend on it.
        await connection.execute("VACUUM ANALYZE")
        yield connection, at


async def explained(connection: Any, query: str, at: str) -> dict[str, Any]:
    rows = await connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", (at,))
    [((((plan,)),))] = await rows.fetchall()
    return dict(plan["Plan"])


def read(plan: dict[str, Any]) -> int:
    """Rows that were read anywhere, also those that a filter left out."""
    own = 0
    if "Relation Name" in plan:
        own = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return int(own) + sum(map(read, plan.get("Plans", ())))


FILTERS = (
    ("ticker = 'M000020'", 100),
    ("ticker IN ('M000020', 'M000021')", 100),
    ("event_ticker = 'E20'", 400),
    ("series_ticker = 'S20'", 400),
    ("series_ticker = 'S20' AND status = 'open' AND deleted_at IS NULL", 400),
)


async def test_filters_and_first_pages_do_not_read_everything(many: Any) -> None:
    """Though each row has changed since, and some are no more."""
    connection, at = many
    for condition, most in FILTERS:
        query = f"SELECT * FROM markets_as_of(%s) WHERE {condition}"
        plan = await explained(connection, query, at)
        assert plan["Actual Rows"] > 0
        assert read(plan) < most, (condition, plan)
    for more in ("", "WHERE ticker > 'M002000' AND status = 'open'"):
        query = f"SELECT * FROM markets_as_of_by_key(%s) {more} ORDER BY ticker LIMIT 100"
        plan = await explained(connection, query, at)
        assert plan["Actual Rows"] == 100
        assert read(plan) < 3000, (more, plan)
