"""The snapshot joins the stream by visibility: nothing is lost, nothing is told twice."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ssmd_cache import service
from ssmd_cache.database import snapshot as joining
from ssmd_cache.projection.facts import TABLES
from ssmd_stream.change import parse_lsn
from ssmd_stream.stream import Stream

SERIES = "INSERT INTO series (ticker, category) VALUES ('S', 'C'), ('T', 'D')"
EVENT = "INSERT INTO events (event_ticker, series_ticker) VALUES ('E', 'S')"
MARKET = (
    "INSERT INTO markets (ticker, event_ticker, series_ticker, status, yes_bid)"
    " VALUES ('M', 'E', 'S', 'active', 1)"
)
XID = "SELECT pg_current_xact_id()::text::bigint"


async def publish_update(world: Any, xid: int, lsn: int, bid: int) -> None:
    row = next(iter((await world.tables())["markets"].values())) | {"yes_bid": bid}
    message = world.message("markets", "update", row, row, xid=xid, lsn=lsn, seq=0)
    await world.publish("cdc.markets.update.S.E.M", message)


async def test_a_transaction_open_during_the_snapshot_is_not_lost(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKET)
    async with world.database.connect() as other:
        # Begun, with an id, before the warm-up; its commit comes after.
        await other.execute("BEGIN")
        await other.execute("UPDATE markets SET yes_bid = 2")
        row = await (await other.execute(XID)).fetchone()
        async with world.cache(cache_snapshot_wait_seconds=0.2) as cache:
            await cache.ready()
            assert b'"yes_bid":1,' in await world.redis.get("secmaster:series:S:E:M")
            await other.execute("COMMIT")
            await publish_update(world, row[0], 1 << 40, 2)
            await world.assert_right()


async def test_joining_early_outlives_a_stream_that_discards(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first message is gone before the picture is made, every time."""
    await world.commit(SERIES, EVENT, MARKET)
    await world.js.update_stream(name="SECMASTER_CDC", subjects=["cdc.>"], max_msgs=40)
    warm_up = service.warm_up

    async def slow(*arguments: Any, **more: Any) -> Any:
        await world.commit("UPDATE markets SET volume = coalesce(volume, 0) + 1")
        return await warm_up(*arguments, **more)

    monkeypatch.setattr(service, "warm_up", slow)
    for volume in range(50):
        await world.commit(f"UPDATE markets SET volume = {volume}")
    async with world.database.connect() as other, other.transaction():
        await other.execute("SELECT pg_current_xact_id()")
        async with world.cache(cache_snapshot_wait_seconds=0.1):
            await world.assert_right()


async def test_a_streamed_and_still_invisible_transaction_is_applied(world: Any) -> None:
    """What synchronous replication can do: the stream has it, the snapshot does not."""
    await world.commit(SERIES, EVENT, MARKET)
    async with world.database.connect() as other, other.transaction():
        await other.execute("UPDATE markets SET yes_bid = 2")
        row = await (await other.execute(XID)).fetchone()
        # Streamed with a commit LSN that lies before the snapshot's.
        cursor = await other.execute("SELECT pg_current_wal_lsn()::text")
        lsn = parse_lsn((await cursor.fetchone())[0])
        await publish_update(world, row[0], lsn, 2)
        async with world.cache(cache_snapshot_wait_seconds=0.2) as cache:
            await cache.ready()
            await world.settled()
            assert b'"yes_bid":2,' in await world.redis.get("secmaster:series:S:E:M")


async def test_the_join_waits_for_older_transactions(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKET)
    stream = Stream(world.nats)
    async with world.database.connect() as other:
        await other.execute("BEGIN")
        await other.execute("UPDATE markets SET yes_bid = 2")

        async def join() -> joining.Join:
            async with joining.join(
                world.settings().database_url, stream, wait_seconds=60, budget_seconds=10
            ) as joined:
                return joined

        waiting = asyncio.create_task(join())
        done, _ = await asyncio.wait({waiting}, timeout=timedelta(seconds=0.5).total_seconds())
        assert not done
        await other.execute("COMMIT")
        joined = await waiting
    assert joined.sequence == world.sequence


async def test_tables_are_read_to_their_end_without_cancelling_a_query(
    world: Any, monkeypatch: Any
) -> None:
    """A cancellation that PostgreSQL sees in time aborts the snapshot of the tables to come."""
    cancelled: list[psycopg.AsyncConnection[Any]] = []

    async def cancel(connection: psycopg.AsyncConnection[Any], *, timeout: float) -> None:
        cancelled.append(connection)

    monkeypatch.setattr(psycopg.AsyncConnection, "cancel_safe", cancel)
    await world.commit(SERIES, EVENT, MARKET)
    async with joining.join(
        world.settings().database_url, Stream(world.nats), wait_seconds=60, budget_seconds=10
    ) as joined:
        now = datetime.now(UTC)
        read = {table: [p async for p in joined.rows.all(table, now, 1)] for table in TABLES}
    assert [len(pages) for pages in read.values()] == [2, 1, 1, 0]
    assert not cancelled


async def test_no_id_that_a_snapshot_has_seen_is_given_again_after_a_crash(
    private_postgres: Any, own_world: Any
) -> None:
    """A change under such an id would be taken for one that the snapshot holds."""
    world = own_world
    await world.create_stream()
    for _ in range(200):
        await world.pg.execute("SELECT pg_current_xact_id()")
    async with joining.join(
        world.settings().database_url, Stream(world.nats), wait_seconds=60, budget_seconds=10
    ) as joined:
        pass
    await private_postgres.kill()
    await private_postgres.start()
    async with world.database.connect() as connection:
        row = await (await connection.execute(XID)).fetchone()
    assert not joined.snapshot.sees(row[0])


async def test_changes_the_snapshot_holds_are_not_applied_again(world: Any) -> None:
    """A change between S0 and the snapshot comes again: a reader must not see it undone."""
    await world.commit(SERIES, EVENT, MARKET)
    stream = Stream(world.nats)
    original = stream.info

    async def info() -> Any:
        found = await original()
        # After S0 was noted, before the snapshot: two changes of one row.
        if not later:
            later.extend(await world.commit("UPDATE markets SET yes_bid = 2"))
            later.extend(await world.commit("UPDATE markets SET yes_bid = 3"))
        return found

    later: list[Any] = []
    stream.info = info  # type: ignore[method-assign]
    async with joining.join(
        world.settings().database_url, stream, wait_seconds=60, budget_seconds=10
    ) as joined:
        assert joined.sequence < world.sequence
        for message in later:
            assert joined.snapshot.sees(message["xid"])
    # And the position that warmed rows get is below that of all that follows.
    assert joined.position < (1, int(later[0]["lsn"].split("/")[1], 16), 0)


async def test_an_announcement_after_the_join_counts_with_all_that_follows(world: Any) -> None:
    """The announced row is older than the snapshot; the change that follows must count again."""
    await world.commit(SERIES, EVENT, MARKET)
    async with world.cache() as cache:
        await cache.ready()
    # In the database before the new picture, in the stream only after it.
    [update] = await world.commit("UPDATE markets SET yes_bid = 5", publish=False)
    gone = await world.commit(
        "INSERT INTO series (ticker) VALUES ('X')", publish=False
    ) + await world.commit("DELETE FROM series WHERE ticker = 'X'", publish=False)
    await world.redis.flushall()
    async with world.cache() as cache:
        await cache.ready()
    # While no cache runs, so that all of it comes as one batch.
    await world.announce()
    old = update | {"epoch": world.epoch, "data": update["data"] | {"yes_bid": 1}}
    announced = old | {"xid": None, "op": "insert", "lsn": "FF/0"}
    await world.publish("cdc.markets.insert.S.E.M", announced)
    await world.publish("cdc.series.insert.X", gone[0] | {"epoch": world.epoch, "xid": None})
    later = update | {"epoch": world.epoch, "lsn": "FF/1"}
    await world.publish("cdc.markets.update.S.E.M", later)
    again = gone[1] | {"epoch": world.epoch, "lsn": "FF/2"}
    await world.publish("cdc.series.delete.X", again)
    async with world.cache():
        await world.assert_right()


async def test_a_message_of_an_older_epoch_is_a_leftover(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKET)
    old = list(world.sent)
    async with world.cache() as cache:
        await cache.ready()
        await world.commit("DELETE FROM markets")
        await world.announce()
        await world.settled()
        for where, payload in old:
            await world.js.publish(where, payload)
        await world.assert_right()


async def test_truncate_and_markers_are_answered_from_the_database(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKET)
    async with world.cache() as cache:
        await cache.ready()
        [message] = await world.commit("UPDATE markets SET yes_bid = 9", publish=False)
        marker = message | {"data": None, "error": "too large"}
        await world.publish("cdc.markets.update.S.E.M", marker)
        await world.assert_right()
        await world.commit("DELETE FROM markets", publish=False)
        lsn = parse_lsn(message["lsn"]) + 1
        row = world.message("markets", "truncate", None, None, xid=10**9, lsn=lsn, seq=0)
        await world.publish("cdc.markets.truncate", row)
        await world.assert_right()
        await world.js.publish("cdc.markets.update.S.E.M", b"what no publisher of ours writes")
        await world.commit("UPDATE series SET category = 'D'")
        await world.assert_right()
