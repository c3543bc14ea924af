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


SINGLE = "mve_collection_ticker IS NULL"
FILTERS = (
    ("ticker = 'M000020'", 100),
    ("ticker IN ('M000020', 'M000021')", 100),
    ("event_ticker = 'E20'", 400),
    # As the API asks: of multivariate markets apart.
    (f"series_ticker = 'S20' AND {SINGLE}", 400),
    (f"series_ticker = 'S20' AND {SINGLE} AND status = 'open' AND deleted_at IS NULL", 400),
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


def looked_up(plan: dict[str, Any]) -> int:
    """Rows for which a table was read, not an index alone."""
    own = 0
    if "Relation Name" in plan and plan["Node Type"] != "Index Only Scan":
        own = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return int(own) + sum(map(looked_up, plan.get("Plans", ())))


def walked(plan: dict[str, Any]) -> int:
    """The most rows that one walk along an index has read."""
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    is_walk = plan["Node Type"] == "Index Only Scan" and plan["Actual Loops"] == 1
    return max([int(own) * is_walk, *map(walked, plan.get("Plans", ()))])


async def test_a_first_page_passes_over_those_that_came_later(many: Any) -> None:
    """They may stand before all others, and be many more: only indexes are read for them, and of
    those the part that a cursor leaves."""
    connection, at = many
    later = (
        "INSERT INTO markets (ticker, event_ticker, series_ticker)"
        " SELECT 'A' || lpad(g::text, 6, '0'), 'E1', 'S2' FROM generate_series(1, %s) g"
    )
    await connection.execute(later, (4 * MARKETS,))
    await connection.execute("UPDATE markets SET title = 'c'")
    await connection.execute("VACUUM ANALYZE")
    query = "SELECT * FROM markets_as_of_by_key(%s) ORDER BY ticker LIMIT 100"
    plan = await explained(connection, query, at)
    assert plan["Actual Rows"] == 100
    assert looked_up(plan) < 1500, plan
    query = "SELECT * FROM markets_as_of_by_key(%s) WHERE ticker > 'M' ORDER BY ticker LIMIT 100"
    plan = await explained(connection, query, at)
    assert plan["Actual Rows"] == 100
    assert walked(plan) < MARKETS / 4, plan
