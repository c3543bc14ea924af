"""What history records, whoever writes and however."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import psycopg
import pytest
import pytest_asyncio
from history_witness import Witness, notice, rows


class Recorded(NamedTuple):
    """A database with a series, an event and markets A and B; its record has begun before."""

    connection: psycopg.AsyncConnection[Any]
    witness: Witness
    database: Any

    async def __call__(self, *statements: str) -> None:
        """One transaction; a copy before and after it."""
        async with self.connection.transaction():
            for statement in statements:
                await self.connection.execute(statement)
        await self.witness.look()

    async def kinds(self, ticker: str) -> list[str]:
        query = "SELECT kind FROM history.markets_changes WHERE ticker = %s ORDER BY number"
        found = await (await self.connection.execute(query, (ticker,))).fetchall()
        return [kind for (kind,) in found]

    async def count(self, query: str) -> int:
        [(found,)] = await (await self.connection.execute(query)).fetchall()
        return int(found)


NEW = "INSERT INTO markets (ticker, event_ticker, series_ticker) VALUES"
BEGINNING = (
    "INSERT INTO series (ticker, title) VALUES ('S', 's')",
    "INSERT INTO events (event_ticker, series_ticker) VALUES ('E', 'S'), ('F', 'S')",
    f"{NEW} ('A', 'E', 'S'), ('B', 'E', 'S')",
)


@pytest_asyncio.fixture
async def recorded(database: Any) -> AsyncIterator[Recorded]:
    async with database.connect() as connection:
        await notice(connection)
        made = Recorded(connection, Witness(connection), database)
        await made.witness.look()
        await made(*BEGINNING)
        yield made


COPY = "COPY markets (ticker, event_ticker, series_ticker) FROM STDIN"


@pytest.mark.parametrize(
    "statements",
    [
        ("DELETE FROM markets WHERE ticker = 'A'",),
        ("UPDATE markets SET deleted_at = now() WHERE ticker = 'A'",),
        (
            "DELETE FROM markets WHERE ticker = 'A'",
            f"{NEW} ('A', 'E', 'S')",
            "UPDATE markets SET title = 'and changed' WHERE ticker = 'A'",
        ),
        # When a row began is not what a writer says of it.
        (
            (
                "INSERT INTO markets (ticker, event_ticker, series_ticker, created_at)"
                " VALUES ('C', 'E', 'S', '2020-01-01Z')"
            ),
        ),
        (
            "DELETE FROM markets WHERE ticker = 'A'",
            f"{NEW} ('A', 'E', 'S'), ('C', 'E', 'S')",
            "DELETE FROM markets WHERE ticker IN ('A', 'C')",
            f"{NEW} ('A', 'E', 'S')",
        ),
        ("UPDATE markets SET ticker = 'C' WHERE ticker = 'A'",),
        (
            "UPDATE markets SET ticker = 'C', title = 'moved' WHERE ticker = 'A'",
            "UPDATE markets SET ticker = 'A', status = 'closed' WHERE ticker = 'C'",
        ),
        ("UPDATE markets SET event_ticker = 'F' WHERE ticker = 'A'",),
        ("UPDATE series SET ticker = 'T' WHERE ticker = 'S'",),
        ("UPDATE events SET event_ticker = 'G', status = 'closed' WHERE event_ticker = 'E'",),
        (
            (
                "INSERT INTO markets (ticker, event_ticker, series_ticker, title) VALUES"
                " ('A', 'E', 'S', 'old'), ('C', 'E', 'S', 'new')"
                " ON CONFLICT (ticker) DO UPDATE SET title = excluded.title"
            ),
            (
                "INSERT INTO markets (ticker, event_ticker, series_ticker) VALUES ('A', 'E', 'S')"
                " ON CONFLICT DO NOTHING"
            ),
        ),
        (
            (
                "WITH gone AS (DELETE FROM markets WHERE ticker = 'A' RETURNING *), changed AS"
                " (UPDATE markets SET title = 'b' WHERE ticker = 'B') INSERT INTO markets"
                " (ticker, event_ticker, series_ticker, title)"
                " SELECT ticker, event_ticker, series_ticker, 'again' FROM gone"
                " UNION ALL SELECT 'C', 'E', 'S', 'new'"
            ),
        ),
        (
            (
                "MERGE INTO markets m"
                " USING (VALUES ('A'), ('B'), ('C')) v (ticker) ON v.ticker = m.ticker"
                " WHEN MATCHED AND m.ticker = 'A' THEN DELETE"
                " WHEN MATCHED THEN UPDATE SET title = 'merged'"
                " WHEN NOT MATCHED THEN"
                " INSERT (ticker, event_ticker, series_ticker) VALUES ('C', 'E', 'S')"
            ),
        ),
        ("TRUNCATE markets",),
        ("TRUNCATE series CASCADE",),
        (
            "TRUNCATE series CASCADE",
            *BEGINNING,
            "UPDATE markets SET title = 'again' WHERE ticker = 'B'",
        ),
        (
            "SAVEPOINT one",
            "UPDATE markets SET title = 'taken back' WHERE ticker = 'A'",
            "ROLLBACK TO one",
            "UPDATE markets SET title = 'kept' WHERE ticker = 'B'",
        ),
        (
            "UPDATE markets SET title = 'kept' WHERE ticker = 'B'",
            "SAVEPOINT one",
            "DELETE FROM markets WHERE ticker = 'A'",
            "ROLLBACK TO one",
            "SAVEPOINT two",
            "DELETE FROM markets WHERE ticker = 'B'",
            "RELEASE two",
        ),
        (
            "UPDATE markets SET title = 'one' WHERE ticker = 'A'",
            "SELECT set_config('ssmd_history.transaction', 'garbage', true)",
            "UPDATE markets SET title = 'two' WHERE ticker = 'A'",
            "SELECT set_config('ssmd_history.transaction', pg_current_xact_id() || ':9x', false)",
            "UPDATE markets SET title = 'three' WHERE ticker = 'A'",
            (
                "SELECT set_config('ssmd_history.transaction',"
                " pg_current_xact_id() || ':' || repeat('9', 30), true)"
            ),
            "DELETE FROM markets WHERE ticker = 'A'",
        ),
        (
            "UPDATE markets SET title = 'one' WHERE ticker = 'A'",
            "SET CONSTRAINTS ALL IMMEDIATE",
            "UPDATE markets SET title = 'two' WHERE ticker = 'A'",
            "UPDATE markets SET title = 'three' WHERE ticker = 'B'",
        ),
        (
            (
                "UPDATE markets SET open_time = 'infinity', close_time = '-infinity',"
                " cap_strike = 'NaN',"
                ' floor_strike = 1.500, custom_strike = \'{"a": [null, {"b": 1.50}]}\','
                " price_ranges = '[]', title = E'\\\\ \"quoted\" \\u00e9\\n', result = ''"
                " WHERE ticker = 'A'"
            ),
            "UPDATE series SET tags = ARRAY['a', NULL, 'b,\"c', ''], extra = '{\"x\": null}'",
        ),
        (
            (
                "INSERT INTO series_fees"
                " (series_ticker, fee_type, fee_multiplier, effective_from,"
                " effective_to)"
                " VALUES ('S', 'q', 1, '2026-01-01', '2026-02-01'),"
                " ('S', 'q', 2, '2026-02-01', NULL)"
            ),
            "UPDATE series_fees SET effective_from = '2026-01-02' WHERE effective_to IS NOT NULL",
            "DELETE FROM series_fees WHERE effective_to IS NULL",
            "UPDATE fees SET taker_fee = 0.1",
        ),
    ],
    ids=lambda statements: statements[0][:60],
)
async def test_each_change_is_told(recorded: Recorded, statements: tuple[str, ...]) -> None:
    """What was there before the change, and what one more change finds to undo."""
    await recorded(*statements)
    await recorded(
        "UPDATE markets SET open_time = now(), close_time = NULL, cap_strike = 1, floor_strike = 2,"
        " custom_strike = NULL, price_ranges = NULL, title = NULL, result = NULL",
        "UPDATE series SET tags = NULL, extra = NULL",
    )
    await recorded("TRUNCATE series, series_fees CASCADE", "DELETE FROM fees")
    await recorded.witness.check()


async def test_copy_is_recorded(recorded: Recorded) -> None:
    async with recorded.connection.cursor().copy(COPY) as copy:
        await copy.write("C\tE\tS\nD\tE\tS\n")
    await recorded.witness.look()
    await recorded("DELETE FROM markets")
    await recorded.witness.check()
    assert await recorded.kinds("D") == ["added", "removed"]


async def test_only_what_changed_is_kept(recorded: Recorded) -> None:
    before = await recorded.count("SELECT count(*) FROM history.commits")
    await recorded(
        "UPDATE markets SET yes_bid = 4, volume_fp = 2, observed_at = now(), updated_at = now()"
    )
    await recorded("UPDATE markets SET title = title, status = 'open'")
    assert await recorded.kinds("A") == ["added"]
    assert await recorded.count("SELECT count(*) FROM history.commits") == before
    await recorded("UPDATE markets SET yes_bid = 5, title = 'x', status = 'closed'")
    query = "SELECT was FROM history.markets_changes WHERE ticker = 'A' AND kind = 'changed'"
    [(was,)] = await (await recorded.connection.execute(query)).fetchall()
    assert was == {"title": None, "status": "open"}


async def test_what_was_rolled_back_leaves_nothing(recorded: Recorded) -> None:
    events = await recorded.count("SELECT count(*) FROM history.markets")
    async with recorded.connection.transaction(force_rollback=True):
        await recorded.connection.execute("UPDATE markets SET title = 'x'")
        await recorded.connection.execute("DELETE FROM markets")
    assert await recorded.count("SELECT count(*) FROM history.markets") == events
    await recorded.witness.look()
    await recorded.witness.check()


async def test_triggers_fire_in_a_replicas_role(recorded: Recorded) -> None:
    async with await psycopg.AsyncConnection.connect(recorded.database.admin_url) as admin:
        await admin.execute("SET session_replication_role = replica")
        await admin.execute("UPDATE markets SET title = 'x' WHERE ticker = 'A'")
        await admin.execute("DELETE FROM markets WHERE ticker = 'B'")
        await admin.execute(
            "INSERT INTO markets (ticker, event_ticker, series_ticker) VALUES ('C', 'E', 'S')"
        )
        await admin.commit()
        await recorded.witness.look()
        await admin.execute("TRUNCATE markets")
        await admin.commit()
    await recorded.witness.look()
    await recorded.witness.check()
    assert await recorded.kinds("A") == ["added", "changed", "removed"]
    assert await recorded.kinds("C") == ["added", "removed"]


async def test_two_writers_of_one_key(recorded: Recorded) -> None:
    """The second waits for the first; its events come later, though it began before."""
    change = "UPDATE markets SET title = %s WHERE ticker = %s"
    async with recorded.database.connect() as first, recorded.database.connect() as second:
        await second.execute("BEGIN")
        await second.execute(change, ("second", "B"))
        await first.execute("BEGIN")
        await first.execute(change, ("first", "A"))
        # Ended after both began: as of then it counts, and they do not.
        await recorded("UPDATE series SET title = 'meanwhile'")
        waiting = asyncio.create_task(second.execute(change, ("second", "A")))
        while not await recorded.count(  # noqa: ASYNC110
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ):
            await asyncio.sleep(0.01)
        await first.execute("COMMIT")
        await waiting
        await recorded.witness.look()
        await second.execute("COMMIT")
    await recorded.witness.look()
    await recorded("DELETE FROM markets")
    await recorded.witness.check()


async def test_a_transaction_under_way_does_not_count(recorded: Recorded) -> None:
    """Not even for itself: how it will end is not known."""
    execute = recorded.connection.execute
    before = recorded.witness.copies[-1]
    async with recorded.connection.transaction():
        await execute("UPDATE markets SET title = 'own' WHERE ticker = 'A'")
        # Others begin and end meanwhile: the counter goes on.
        async with recorded.database.connect() as other:
            await other.execute("INSERT INTO series (ticker) VALUES ('OTHER')")
            query = "SELECT pg_current_snapshot()::text, clock_timestamp()::text"
            snapshot, at = await (await other.execute(query)).fetchone()
        for name, moment in (("markets_as_of", at), ("markets_as_of_snapshot", snapshot)):
            told = await rows(recorded.connection, "markets", name, moment)
            assert told == before.rows["markets"], name


async def test_immediate_constraints_date_a_change_by_itself(recorded: Recorded) -> None:
    """A transaction that has noted its time goes on as another one: no row comes twice."""
    async with recorded.database.connect() as hasty:
        await hasty.execute("BEGIN; SET CONSTRAINTS ALL IMMEDIATE")
        await hasty.execute("UPDATE markets SET title = 'hasty' WHERE ticker = 'B'")
        query = "SELECT clock_timestamp()::text"
        [(at,)] = await (await recorded.connection.execute(query)).fetchall()
        await recorded.connection.execute("UPDATE markets SET title = '1' WHERE ticker = 'A'")
        await hasty.execute("UPDATE markets SET title = '2' WHERE ticker = 'A'")
        await hasty.execute("COMMIT")
    await recorded("UPDATE markets SET title = '3' WHERE ticker = 'A'")
    query = "SELECT ticker, title FROM markets_as_of(%s) ORDER BY ticker"
    found = await (await recorded.connection.execute(query, (at,))).fetchall()
    assert found == [("A", None), ("B", "hasty")]


async def test_volatile_columns_are_null(recorded: Recorded) -> None:
    await recorded("UPDATE markets SET yes_bid = 4, volume_fp = 2, title = 'x'")
    at = recorded.witness.copies[-1].at
    await recorded("UPDATE markets SET yes_bid = 5, title = 'y' WHERE ticker = 'A'")
    query = "SELECT ticker, title, yes_bid, volume_fp, updated_at FROM markets_as_of(%s) ORDER BY 1"
    found = await (await recorded.connection.execute(query, (at,))).fetchall()
    assert found == [("A", "x", None, None, None), ("B", "x", None, None, None)]


async def test_types_that_change_are_followed(recorded: Recorded) -> None:
    """What history could not hold would fail the writer."""
    long = "x" * 200
    await recorded(
        "DROP TRIGGER history_updated ON markets",
        "DROP TRIGGER history_updated ON series",
        "DROP TRIGGER categorise ON series",
        "ALTER TABLE markets ALTER ticker TYPE varchar(256)",
        "ALTER TABLE series ALTER category TYPE text",
        "SELECT history.watch(name) FROM history.watched",
    )
    await recorded(
        f"UPDATE markets SET ticker = '{long}' WHERE ticker = 'A'",
        f"UPDATE series SET category = '{long}'",
    )
    await recorded("UPDATE markets SET title = 'x'", "UPDATE series SET category = 'y'")
    await recorded("TRUNCATE series CASCADE")
    await recorded.witness.check()


async def test_history_is_not_published(recorded: Recorded) -> None:
    query = (
        "SELECT count(*) FROM pg_publication_tables WHERE schemaname = 'history'"
        " OR EXISTS (SELECT FROM pg_publication WHERE puballtables)"
    )
    assert await recorded.count(query) == 0
