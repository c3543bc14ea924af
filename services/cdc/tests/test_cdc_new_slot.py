"""A slot that is made while others write."""

import asyncio
from typing import Any

import psycopg
from prometheus_client import REGISTRY

PATIENCE_SECONDS = 180


def began(cause: str) -> float:
    """Epochs begun in this process for that reason."""
    return REGISTRY.get_sample_value("ssmd_cdc_epochs_total", {"cause": cause}) or 0.0


async def begin(db: psycopg.AsyncConnection[Any]) -> str:
    """A transaction that has a number; it."""
    await db.execute("BEGIN")
    [[number]] = await (await db.execute("SELECT pg_current_xact_id()::text")).fetchall()
    return str(number)


async def waited_for(db: psycopg.AsyncConnection[Any], number: str) -> None:
    """Until somebody waits for the transaction: whoever makes the slot, as nobody else does."""
    query = (
        "SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"
        " AND transactionid::text = %s"
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await (await db.execute(query, [number])).fetchall():
            await db.execute("SELECT pg_sleep(0.02)")


async def test_a_slot_that_postgresql_cannot_read_is_made_anew(own_server: Any, bench: Any) -> None:
    """As it was at one first start of many: a partition of history was made meanwhile. The slot's
    snapshot lacks the table that `maker` makes, as its subtransaction is numbered after the slot
    was begun and its transaction before; `other` and what is inserted beside it keep PostgreSQL
    from making a better one."""
    before = began("slot_unreadable")
    async with await psycopg.AsyncConnection.connect(own_server.admin_url, autocommit=True) as db:
        # Any change of the catalog after the slot was made has PostgreSQL look anew.
        await db.execute("ALTER SYSTEM SET autovacuum = off")
        await db.execute("SELECT pg_reload_conf()")
    async with (
        bench.database.connect() as db,
        bench.database.connect() as maker,
        bench.database.connect() as other,
    ):
        first = await begin(maker)
        publisher = bench.start()
        await waited_for(db, first)
        second = await begin(other)
        await maker.execute("SAVEPOINT one")
        await maker.execute("CREATE TABLE made_meanwhile (number int)")
        await maker.execute("COMMIT")
        await waited_for(db, second)
        await bench.insert(1, "T")
        await other.execute("COMMIT")
        # What is committed before the slot is there is no part of it.
        await publisher.leading()
        await db.execute("INSERT INTO made_meanwhile VALUES (1)")
    await bench.insert(5, "U")
    stream = await bench.assert_faithful(publisher)
    assert began("slot_unreadable") == before + 1
    assert stream.epochs == {1, 2}
