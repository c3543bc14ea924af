"""The oracle under generated workloads: the stream replayed equals the tables."""

import asyncio
import random
from typing import Any

import psycopg
import pytest

SERIES = "INSERT INTO series (ticker, title) VALUES (%s, %s)"


async def seed(db: psycopg.AsyncConnection[Any], series: int = 5) -> None:
    for number in range(series):
        await db.execute(SERIES, (f"KX{number}", f"series {number}"))
        await db.execute(
            "INSERT INTO events (event_ticker, series_ticker) VALUES (%s, %s)",
            (f"KX{number}-E", f"KX{number}"),
        )


async def copy_markets(db: psycopg.AsyncConnection[Any], prefix: str, count: int) -> None:
    async with db.cursor().copy(
        "COPY markets (ticker, event_ticker, series_ticker, title, yes_bid) FROM STDIN"
    ) as copy:
        for number in range(count):
            await copy.write_row((f"{prefix}-{number}", "KX0-E", "KX0", "t\\n\t'", number % 100))


async def test_copy_of_thousands_of_rows(bench: Any, atomic: bool) -> None:
    publisher = bench.start(cdc_durable=atomic)
    await publisher.leading()
    async with bench.database.connect() as db:
        await seed(db)
        await copy_markets(db, "M", 5000)
        await db.execute("UPDATE markets SET yes_bid = yes_bid + 1")
    stream = await bench.assert_faithful(publisher)
    inserts = [b for b in stream.bodies if b["table"] == "markets" and b["op"] == "insert"]
    assert len(inserts) == 5000
    assert len({body["lsn"] for body in inserts}) == 1


async def test_savepoints_rolled_back(bench: Any) -> None:
    publisher = bench.start()
    await publisher.leading()
    async with bench.database.connect() as db:
        await seed(db)
        async with db.transaction():
            await copy_markets(db, "KEPT", 10)
            with pytest.raises(ZeroDivisionError):
                async with db.transaction():
                    await copy_markets(db, "GONE", 10)
                    await db.execute("UPDATE markets SET title = 'gone'")
                    raise ZeroDivisionError
            async with db.transaction():
                await db.execute("UPDATE markets SET title = 'kept' WHERE ticker = 'KEPT-1'")
        with pytest.raises(ZeroDivisionError):
            async with db.transaction():
                await db.execute("DELETE FROM markets")
                raise ZeroDivisionError
    await bench.assert_faithful(publisher)


async def test_keys_that_change_and_cascade(bench: Any) -> None:
    publisher = bench.start()
    await publisher.leading()
    async with bench.database.connect() as db:
        await seed(db)
        await copy_markets(db, "M", 5)
        await db.execute("UPDATE markets SET ticker = 'NEW.1' WHERE ticker = 'M-1'")
        await db.execute("UPDATE events SET event_ticker = 'MOVED' WHERE event_ticker = 'KX0-E'")
        # Keys that pass through each other within one transaction.
        async with db.transaction():
            await db.execute("UPDATE markets SET ticker = 'TMP' WHERE ticker = 'M-2'")
            await db.execute("UPDATE markets SET ticker = 'M-2' WHERE ticker = 'M-3'")
            await db.execute("UPDATE markets SET ticker = 'M-3' WHERE ticker = 'TMP'")
    stream = await bench.assert_faithful(publisher)
    assert not [b for b in stream.bodies if b["op"] == "update" and b["table"] == "events"]


async def test_truncate(bench: Any) -> None:
    publisher = bench.start()
    await publisher.leading()
    async with bench.database.connect() as db:
        await seed(db)
        await copy_markets(db, "M", 20)
        async with db.transaction():
            await db.execute("TRUNCATE events CASCADE")
            await db.execute(
                "INSERT INTO events (event_ticker, series_ticker) VALUES ('AGAIN', 'KX0')"
            )
    stream = await bench.assert_faithful(publisher)
    truncates = {subject for _, subject, _, body in stream.messages if body["op"] == "truncate"}
    assert truncates == {"cdc.events.truncate", "cdc.markets.truncate"}


async def test_columns_come_and_go_in_mid_stream(bench: Any) -> None:
    publisher = bench.start()
    await publisher.leading()
    async with bench.database.connect() as db:
        await seed(db)
        await db.execute("ALTER TABLE series ADD note numeric(10,4) DEFAULT 0.5")
        await db.execute("INSERT INTO series (ticker, note) VALUES ('WITH', 1.25)")
        async with db.transaction():
            await db.execute("UPDATE series SET title = 'in between' WHERE ticker = 'WITH'")
            await db.execute("ALTER TABLE series RENAME note TO remark")
            await db.execute("UPDATE series SET remark = 2 WHERE ticker = 'WITH'")
        await db.execute("ALTER TABLE series DROP remark")
        await db.execute("UPDATE series SET title = 'last' || ticker")
    stream = await bench.settled(publisher)
    stream.assert_in_order()
    assert [
        (b["data"].get("note"), b["data"].get("remark"), b["data"]["title"])
        for b in stream.bodies
        if b["ticker"] == "WITH"
    ] == [
        ("1.2500", None, None),
        ("1.2500", None, "in between"),
        (None, "2.0000", "in between"),
        (None, None, "lastWITH"),
    ]


async def test_a_table_that_joins_the_publication_is_followed(bench: Any) -> None:
    publisher = bench.start()
    await publisher.leading()
    async with bench.database.connect() as db:
        await db.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
        await db.execute("CREATE DOMAIN cents AS numeric(6,2)")
        await db.execute("CREATE TABLE teams (id int PRIMARY KEY, m mood[], c cents, cs cents[])")
        await db.execute("ALTER TABLE teams REPLICA IDENTITY FULL")
        await db.execute("ALTER PUBLICATION secmaster_cdc ADD TABLE teams")
        await db.execute("INSERT INTO teams VALUES (1, '{sad,NULL}', 1.5, '{1,2.25}')")
        await db.execute("UPDATE teams SET m = '{ok}'")
    stream = await bench.settled(publisher)
    insert, update = (body for body in stream.bodies if body["table"] == "teams")
    assert insert["data"] == {"id": 1, "m": ["sad", None], "c": "1.50", "cs": ["1.00", "2.25"]}
    assert update["changes"] == {"m": {"old": ["sad", None], "new": ["ok"]}}
    assert update["type"] == "teams_updated"


async def test_unchanged_toast_is_whole(bench: Any) -> None:
    publisher = bench.start()
    await publisher.leading()
    long = "".join(random.Random(1).choices('abcdefghij"\\\n', k=50_000))
    async with bench.database.connect() as db:
        await seed(db)
        await copy_markets(db, "M", 1)
        await db.execute("ALTER TABLE markets ALTER rules_primary SET STORAGE EXTERNAL")
        await db.execute("UPDATE markets SET rules_primary = %s", (long,))
        await db.execute("UPDATE markets SET yes_bid = 7")
        await db.execute("UPDATE markets SET ticker = 'RENAMED'")
    stream = await bench.assert_faithful(publisher)
    assert stream.bodies[-1]["data"]["rules_primary"] == long


async def test_concurrent_writers_that_interleave(bench: Any) -> None:
    """Several sessions write, roll back, move keys and delete, all at once, with seeded chance."""
    publisher = bench.start()
    await publisher.leading()

    async def write(number: int) -> None:
        chance = random.Random(number)
        async with bench.database.connect() as db:
            # Sooner than the server's deadlock_timeout, which is a second.
            await db.execute("SET lock_timeout = '100ms'")
            for step in range(40):
                try:
                    async with db.transaction():
                        for _ in range(chance.randint(1, 5)):
                            await one_write(db, chance, f"W{number}-{step}")
                        if chance.random() < 0.2:
                            raise psycopg.Rollback
                except (psycopg.errors.LockNotAvailable, psycopg.errors.UniqueViolation):
                    pass

    async with bench.database.connect() as db:
        await seed(db)
    await asyncio.gather(*(write(number) for number in range(4)))
    await bench.assert_faithful(publisher)


async def one_write(db: psycopg.AsyncConnection[Any], chance: random.Random, name: str) -> None:
    number = chance.randint(0, 20)
    match chance.randint(0, 6):
        case 0 | 1:
            await copy_markets(db, f"{name}-{chance.random()}", chance.randint(0, 4))
        case 2 | 3:
            await db.execute(
                "UPDATE markets SET yes_bid = %s, title = title || 'x' WHERE yes_bid < 3",
                (number,),
            )
        case 4:
            await db.execute(
                "UPDATE markets SET ticker = ticker || '.r' WHERE yes_bid = 2"
                " AND length(ticker) < 100"
            )
        case 5:
            await db.execute(
                "INSERT INTO fees VALUES (%s, 0.1, 0.2) ON CONFLICT (tier) DO UPDATE"
                " SET maker_fee = fees.maker_fee + 0.0001",
                (f"t{number}",),
            )
        case 6:
            await db.execute("DELETE FROM markets WHERE yes_bid = 1")
