"""A market's category is its event's, else its series', whoever writes what and when."""

import asyncio
import random
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ssmd_common.migrations import migration_files
from ssmd_stack.database import Database, migrate

STALE = """
    SELECT m.ticker, m.category, coalesce(e.category, s.category)
    FROM markets m JOIN events e USING (event_ticker) JOIN series s ON s.ticker = e.series_ticker
    WHERE m.category IS DISTINCT FROM
        CASE WHEN m.mve_collection_ticker IS NULL THEN coalesce(e.category, s.category) END
"""
Connection = psycopg.AsyncConnection[Any]


async def stale(connection: Connection) -> list[Any]:
    return await (await connection.execute(STALE)).fetchall()


async def category(connection: Connection, ticker: str) -> str | None:
    query = "SELECT category FROM markets WHERE ticker = %s"
    [(found,)] = await (await connection.execute(query, (ticker,))).fetchall()
    return found  # type: ignore[no-any-return]


async def add_parents(connection: Connection) -> None:
    await connection.execute(
        "INSERT INTO series (ticker, category) VALUES ('S', 'Of series'), ('T', 'Of another')"
    )
    await connection.execute(
        "INSERT INTO events (event_ticker, series_ticker, category)"
        " VALUES ('S-1', 'S', 'Of event'), ('S-2', 'S', NULL), ('T-1', 'T', NULL)"
    )


async def add_market(connection: Connection, ticker: str, event: str, **more: Any) -> None:
    row = {"ticker": ticker, "event_ticker": event, "series_ticker": event.partition("-")[0]}
    row |= more
    await connection.execute(
        sql.SQL("INSERT INTO markets ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(map(sql.Placeholder, row)),
        ),
        row,
    )


async def test_the_category_follows_what_it_is_of(database: Database) -> None:
    async with database.connect() as connection:
        await add_parents(connection)
        for event in ("S-1", "S-2"):
            await add_market(connection, f"{event}-M", event)
        assert await category(connection, "S-1-M") == "Of event"
        assert await category(connection, "S-2-M") == "Of series"

        async def then(statement: Any, *of_events: str | None) -> None:
            await connection.execute(statement)
            found = [await category(connection, f"S-{number}-M") for number in (1, 2)]
            assert found == list(of_events), statement
            assert not await stale(connection), statement

        await then("UPDATE series SET category = 'New' WHERE ticker = 'S'", "Of event", "New")
        await then(
            "UPDATE events SET category = 'Own' WHERE event_ticker = 'S-2'", "Of event", "Own"
        )
        await then("UPDATE events SET category = NULL", "New", "New")
        await then("UPDATE series SET category = NULL WHERE ticker = 'S'", None, None)
        # An event moves to another series with its markets, and a market to another event.
        await then(
            "UPDATE events SET series_ticker = 'T' WHERE event_ticker = 'S-1'", "Of another", None
        )
        await then(
            "UPDATE markets SET event_ticker = 'T-1', series_ticker = 'T' WHERE ticker = 'S-2-M'",
            *["Of another"] * 2,
        )
        # What somebody else writes there does not stay.
        await then("UPDATE markets SET category = 'Wrong'", *["Of another"] * 2)
        await then("UPDATE markets SET mve_collection_ticker = 'C'", None, None)
        await then("UPDATE series SET category = 'Last'", None, None)
        await then("UPDATE events SET category = 'Last'", None, None)
        await then("UPDATE markets SET mve_collection_ticker = NULL", "Last", "Last")


async def test_a_change_of_a_parent_writes_those_markets_only_whose_category_it_is(
    database: Database,
) -> None:
    """Each is a message of the stream."""
    async with database.connect() as connection:
        await add_parents(connection)
        for event in ("S-1", "S-2", "T-1"):
            await add_market(connection, f"{event}-M", event)

        async def written(statement: Any) -> list[str]:
            before = "SELECT ticker, xmin::text FROM markets"
            was = dict(await (await connection.execute(before)).fetchall())
            await connection.execute(statement)
            now = dict(await (await connection.execute(before)).fetchall())
            return sorted(ticker for ticker in now if now[ticker] != was[ticker])

        assert await written("UPDATE series SET category = 'Else'") == ["S-2-M", "T-1-M"]
        assert await written("UPDATE series SET category = 'Else', title = 'New'") == []
        # A page completes what a message began: mostly that changes no category.
        assert await written("UPDATE events SET category = 'Else' WHERE series_ticker = 'T'") == []
        assert await written("UPDATE events SET category = 'E' WHERE event_ticker = 'S-1'") == [
            "S-1-M"
        ]


async def waits(connection: Connection, other: Connection) -> None:
    """Until a session waits for a lock that another has."""
    query = "SELECT %s = ANY (pg_blocking_pids(%s))"
    pids = (connection.info.backend_pid, other.info.backend_pid)
    async with asyncio.timeout(60):
        while await (await connection.execute(query, pids)).fetchone() != (True,):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("change", "event"),
    [
        ("UPDATE series SET category = 'New' WHERE ticker = 'S'", "S-2"),
        ("UPDATE events SET category = 'New' WHERE event_ticker = 'S-1'", "S-1"),
        ("UPDATE events SET category = 'New' WHERE event_ticker = 'S-2'", "S-2"),
    ],
)
async def test_a_market_that_comes_while_its_parent_changes(
    database: Database, change: Any, event: str
) -> None:
    """In either order, and whether or not the writer has locked the event, as ours do."""
    async with database.connect() as one, database.connect() as other:
        await add_parents(one)
        # The market first: the change waits for it, and then finds it.
        async with one.transaction():
            await add_market(one, "FIRST", event)
            changing = asyncio.create_task(other.execute(change))
            await waits(one, other)
        await changing
        assert await category(one, "FIRST") == "New"
        assert not await stale(one)
        # The change first: the market waits for it, and reads it then.
        async with one.transaction():
            await one.execute(change.replace("New", "Newer"))
            adding = asyncio.create_task(add_market(other, "SECOND", event))
            await waits(one, other)
        await adding
        assert await category(one, "SECOND") == "Newer"
        assert not await stale(one)


async def test_an_event_that_comes_while_its_series_changes(database: Database) -> None:
    """With its first market: no change of the series could find either."""
    change = "UPDATE series SET category = 'New' WHERE ticker = 'S'"
    event = "INSERT INTO events (event_ticker, series_ticker) VALUES (%s, 'S')"
    async with database.connect() as one, database.connect() as other:
        await add_parents(one)
        async with one.transaction():
            await one.execute(event, ("S-3",))
            changing = asyncio.create_task(other.execute(change))
            await waits(one, other)
            await add_market(one, "FIRST", "S-3")
        await changing
        async with one.transaction():
            await one.execute(change.replace("New", "Newer"))
            adding = asyncio.create_task(other.execute(event, ("S-4",)))
            await waits(one, other)
        await adding
        await add_market(other, "SECOND", "S-4")
        assert [await category(one, name) for name in ("FIRST", "SECOND")] == ["Newer", "Newer"]
        assert not await stale(one)


async def test_any_course_of_changes_leaves_no_category_stale(database: Database) -> None:
    rng = random.Random(56)
    names = ("A", "B", None)
    async with database.connect() as connection:
        for number in range(3):
            await connection.execute("INSERT INTO series (ticker) VALUES (%s)", (f"S{number}",))
        events: dict[str, str] = {}
        markets: list[str] = []
        for step in range(300):
            series, value = f"S{rng.randrange(3)}", rng.choice(names)
            match rng.randrange(7):
                case 0:
                    events[f"E{step}"] = series
                    await connection.execute(
                        "INSERT INTO events (event_ticker, series_ticker, category)"
                        " VALUES (%s, %s, %s)",
                        (f"E{step}", series, value),
                    )
                case 1 | 2 if events:
                    event = rng.choice([*events])
                    markets.append(f"M{step}")
                    collection = rng.choice([None, None, "C"])
                    await add_market(
                        connection, f"M{step}", event, series_ticker=events[event],
                        mve_collection_ticker=collection,
                    )  # fmt: skip
                case 3:
                    await connection.execute(
                        "UPDATE series SET category = %s WHERE ticker = %s", (value, series)
                    )
                case 4 if events:
                    await connection.execute(
                        "UPDATE events SET category = %s WHERE event_ticker = %s",
                        (value, rng.choice([*events])),
                    )
                case 5 if events:
                    event = rng.choice([*events])
                    events[event] = series
                    await connection.execute(
                        "UPDATE events SET series_ticker = %s, category = %s"
                        " WHERE event_ticker = %s",
                        (series, value, event),
                    )
                case 6 if markets:
                    event = rng.choice([*events])
                    await connection.execute(
                        "UPDATE markets SET event_ticker = %s, series_ticker = %s"
                        " WHERE ticker = %s",
                        (event, events[event], rng.choice(markets)),
                    )
            assert not await stale(connection), step


async def test_the_markets_that_are_there_get_theirs(empty_database: Database) -> None:
    """By the migrations that add the column."""
    files = migration_files()
    await migrate(empty_database.url, [file for file in files if file.name < "026"])
    async with empty_database.connect() as connection:
        await add_parents(connection)
        for event in ("S-1", "S-2"):
            await add_market(connection, f"{event}-M", event)
            await add_market(connection, f"{event}-C", event, mve_collection_ticker="C")
    await migrate(empty_database.url, [file for file in files if file.name >= "026"])
    async with empty_database.connect() as connection:
        assert not await stale(connection)
        assert await category(connection, "S-1-M") == "Of event"
        assert await category(connection, "S-2-M") == "Of series"
