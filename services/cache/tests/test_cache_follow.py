"""Warm up, follow, continue: the main path over real servers."""

import asyncio
from typing import Any

import msgspec
import nats.js.errors
import pytest

from ssmd_cache.writer.redis_writer import RedisWriter
from ssmd_stream.reader import Reader

SERIES = (
    "INSERT INTO series (ticker, title, category, tags)"
    " VALUES ('KXA', 'A \"quoted\" ü', 'Crypto', '{x,\"y z\"}')"
)
EVENT = (
    "INSERT INTO events (event_ticker, series_ticker, title, category, strike_date)"
    " VALUES ('KXA-1', 'KXA', 'First', 'Crypto', now() + interval '1 hour')"
)
MARKET = (
    "INSERT INTO markets (ticker, event_ticker, series_ticker, status, close_time, yes_bid_dollars,"
    " yes_bid, extra, custom_strike) VALUES ('KXA-1-T97500.99', 'KXA-1', 'KXA', 'active',"
    " now() + interval '1 hour', 0.4500, 45, '{\"a\": [1.50, null, \"é\"]}', '{\"b\": 1e2}')"
)


async def test_warm_up_then_follow(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKET)
    await world.commit(
        "INSERT INTO series_fees VALUES"
        " ('KXA', 'quadratic', 1, '2026-01-01', '2026-06-01 00:00:00.5'),"
        " ('KXA', 'quadratic', 0.5, '2026-06-01 00:00:00.5', NULL)"
    )
    async with world.cache() as cache:
        await cache.ready()
        await world.assert_right()
        await world.commit("UPDATE markets SET yes_bid_dollars = 0.123456, yes_bid = 12")
        await world.assert_right()
        await world.commit("UPDATE markets SET status = 'closed'")
        await world.assert_right()
        await world.commit(
            "UPDATE markets SET status = 'settled', result = 'yes', settled_time = now()",
            "UPDATE events SET status = 'settled'",
        )
        await world.assert_right()
        await world.commit("UPDATE markets SET status = 'active'")
        await world.assert_right()
        await world.commit("UPDATE markets SET deleted_at = now()")
        await world.assert_right()
        await world.commit("UPDATE markets SET deleted_at = NULL")
        await world.commit("DELETE FROM series_fees WHERE fee_multiplier = 1")
        await world.assert_right()
        await world.commit("DELETE FROM markets", "DELETE FROM events")
        await world.assert_right()


COMBINED_EVENT = (
    "INSERT INTO events (event_ticker, series_ticker, mve_collection_ticker)"
    " VALUES ('KXA-S1', 'KXA', 'KXA-R')"
)
COMBINED = (
    "INSERT INTO markets (ticker, event_ticker, series_ticker, status, mve_collection_ticker,"
    " mve_selected_legs) VALUES ('KXA-S1-M', 'KXA-S1', 'KXA', 'active', 'KXA-R',"
    ' \'[{"market_ticker": "KXA-1-T97500.99"}]\')'
)


async def test_multivariate_rows_leave_no_trace(world: Any) -> None:
    """Neither keys nor records: of ten rows for each other one nothing is remembered."""

    async def records() -> set[str]:
        own = [f"secmaster:_cache:{table}" for table in ("events", "markets")]
        return {ticker.decode() for key in own for ticker in await world.redis.hkeys(key)}

    await world.commit(SERIES, EVENT, MARKET, COMBINED_EVENT, COMBINED)
    async with world.cache() as cache:
        await cache.ready()
        await world.assert_right()
        known = await records()
        assert known == {"KXA-1", "KXA-1-T97500.99"}
        another = [each.replace("KXA-S1", "KXA-S2") for each in (COMBINED_EVENT, COMBINED)]
        await world.commit(*another)
        await world.commit("UPDATE markets SET title = 'x' WHERE mve_collection_ticker IS NOT NULL")
        await world.assert_right()
        assert await records() == known
        # Of an event that was read by its name, only its market tells what it is.
        await world.commit(COMBINED_EVENT.replace("KXA-S1", "KXA-S3").replace("'KXA-R'", "NULL"))
        await world.assert_right()
        await world.commit(
            COMBINED.replace("KXA-S1", "KXA-S3"),
            "UPDATE events SET mve_collection_ticker = 'KXA-R' WHERE event_ticker = 'KXA-S3'",
        )
        await world.assert_right()
        await world.commit("DELETE FROM markets", "DELETE FROM events")
        await world.assert_right()


async def test_it_says_what_redis_reflects(world: Any) -> None:
    """`service_status` has it from there: `redis` of "current as of" is judged by it."""
    await world.commit(SERIES, EVENT, MARKET)
    async with world.cache() as cache:
        await cache.ready()
        for bid in (12, 13):
            await world.commit(f"UPDATE markets SET yes_bid = {bid}")
            await world.settled()
            reached = {
                name: (await world.position())[name] for name in ("sequence", "epoch", "lsn")
            }

            async def is_told(reached: dict[str, Any] = reached) -> bool:
                return bool(reached.items() <= cache.health.position.items())

            await world.eventually(is_told, f"{reached}, but {cache.health.position}")
            assert cache.health.lag_seconds == 0


async def test_moves_take_keys_and_indexes_along(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKET)
    async with world.cache() as cache:
        await cache.ready()
        await world.commit("INSERT INTO series (ticker, category) VALUES ('KXB', 'Sports')")
        await world.commit("UPDATE events SET series_ticker = 'KXB'")
        await world.assert_right()
        await world.commit("UPDATE events SET category = 'Politics'")
        await world.assert_right()
        await world.commit("UPDATE events SET category = NULL")
        await world.assert_right()
        await world.commit("UPDATE series SET category = 'World' WHERE ticker = 'KXB'")
        await world.assert_right()
        await world.commit("UPDATE markets SET close_time = close_time + interval '1 day'")
        await world.assert_right()
        await world.commit("UPDATE markets SET close_time = NULL")
        await world.assert_right()


async def test_restart_continues_without_a_warm_up(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKET)
    async with world.cache() as cache:
        await cache.ready()
        await world.settled()
    warmed = (await world.position())["warmed_at"]
    await world.commit("UPDATE markets SET yes_bid = 46")
    async with world.cache() as cache:
        await world.assert_right()
        assert (await world.position())["warmed_at"] == warmed


async def test_a_new_epoch_drops_older_rows_at_its_end(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKET)
    async with world.cache() as cache:
        await cache.ready()
        # A deletion that the stream never told.
        await world.commit("DELETE FROM markets", publish=False)
        await world.announce(until="markets")
        await world.settled()
        assert await world.redis.hexists("secmaster:markets", "KXA-1-T97500.99")
        await world.announce()
        await world.assert_right()
        assert not await world.redis.exists("secmaster:markets")


async def test_flushed_redis_is_warmed_again(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKET)
    async with world.cache() as cache:
        await cache.ready()
        await world.settled()
        await world.redis.flushall()
        await world.assert_right()
        await world.valkey_server.kill()
        await world.commit("UPDATE markets SET yes_bid = 47")
        await world.valkey_server.start()
        await world.assert_right()


async def test_what_changed_while_no_cache_ran_leaves_nothing_behind(world: Any) -> None:
    """A new picture is written over the old one: what the old one held elsewhere must go."""
    await world.commit(SERIES, EVENT, MARKET)
    await world.commit("INSERT INTO series (ticker, category) VALUES ('KXB', 'Sports')")
    await world.commit(
        "INSERT INTO events (event_ticker, series_ticker) VALUES ('KXB-1', 'KXB'), ('KXB-2', 'KXB')"
    )
    await world.commit(
        "INSERT INTO markets (ticker, event_ticker, series_ticker, status, close_time)"
        " SELECT 'M' || n, 'KXB-' || 1 + n % 2, 'KXB', 'active', now() FROM generate_series(1, 6) n"
    )
    async with world.cache() as cache:
        await cache.ready()
        await world.settled()
    for statement in (
        "UPDATE events SET series_ticker = 'KXB', category = NULL WHERE series_ticker = 'KXA'",
        "UPDATE events SET category = 'Own' WHERE event_ticker = 'KXB-2'",
        "UPDATE markets SET status = 'closed' WHERE ticker = 'M1'",
        "UPDATE markets SET close_time = NULL WHERE ticker = 'M2'",
        "UPDATE markets SET event_ticker = 'KXB-1' WHERE ticker = 'M3'",
        "DELETE FROM markets WHERE ticker = 'M4'",
        "UPDATE markets SET deleted_at = now() WHERE ticker = 'M5'",
        "UPDATE events SET deleted_at = now() WHERE event_ticker = 'KXB-1'",
    ):
        await world.commit(statement, publish=False)
    await world.redis.incr("secmaster:_cache:rebuild_requests")
    async with world.cache(cache_warm_batch_rows=2):

        async def rebuilt() -> bool:
            return (await world.position()).get("rebuilds") == 1

        await world.eventually(rebuilt, "a new picture")
        await world.assert_right()
        assert await world.redis.smembers("secmaster:_cache:uncategorised:KXB") == {
            b"KXA-1", b"KXB-1"
        }  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
async def test_a_killed_warm_up_leaves_nothing_behind(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.commit(SERIES, EVENT, MARKET)
    fill, written = RedisWriter.fill, asyncio.Event()

    async def stuck(sink: RedisWriter, commands: Any) -> None:
        await fill(sink, commands)
        if await sink.client.exists("secmaster:markets"):
            written.set()
            await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(RedisWriter, "fill", stuck)
        async with world.cache(cache_warm_batch_rows=1) as cache:
            await written.wait()
            await cache.die()
    assert not (await world.position())["warm"]
    await world.commit("DELETE FROM markets", "DELETE FROM events", publish=False)
    async with world.cache():
        await world.assert_right()


async def test_a_stream_gap_is_answered_by_a_warm_up(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKET)
    async with world.cache() as cache:
        await cache.ready()
        await world.settled()
    await world.commit("UPDATE markets SET yes_bid = 48")
    await world.js.purge_stream("SECMASTER_CDC")
    async with world.cache() as cache:
        await world.assert_right()
        assert (await world.redis.hlen("secmaster:markets")) == 1
        await world.commit("UPDATE markets SET yes_bid = 49")
        await world.assert_right()
        await world.js.delete_stream("SECMASTER_CDC")
        await world.commit("UPDATE markets SET yes_bid = 50", publish=False)
        await world.create_stream()
        await world.assert_right()

        async def deleted() -> bool:
            try:
                return bool(
                    await world.js.delete_consumer("SECMASTER_CDC", cache.settings.consumer)
                )
            except nats.js.errors.NotFoundError:
                return False

        await world.eventually(deleted, "a consumer to delete")
        await world.commit("UPDATE markets SET yes_bid = 51")
        await world.assert_right()


@pytest.mark.parametrize("how", ["the stream was purged", "the last message was deleted"])
async def test_what_is_gone_before_it_came_is_missed_at_once(
    world: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Not only when there is a later message."""
    await world.commit(SERIES, EVENT, MARKET)
    open_reader, opening, go = Reader.open, asyncio.Event(), asyncio.Event()

    async def open_late(reader: Reader) -> None:
        opening.set()
        await go.wait()
        await open_reader(reader)

    # Its consumer is there, and nothing is asked of it yet.
    monkeypatch.setattr(Reader, "open", open_late)
    async with world.cache():
        async with asyncio.timeout(180):
            await opening.wait()
        await world.commit("UPDATE markets SET yes_bid_dollars = 0.48")
        if how == "the stream was purged":
            await world.js.purge_stream("SECMASTER_CDC")
        else:
            await world.js.delete_msg("SECMASTER_CDC", world.sequence)
        go.set()
        await world.assert_right()


async def test_a_redis_that_forgot_a_part_of_a_warm_up_is_not_warm(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restarted from a save that holds the position, and of the rows those written by then."""
    await world.commit(SERIES, EVENT, MARKET)
    fill, saved = RedisWriter.fill, list[tuple[bytes, bytes]]()

    async def forgetful(sink: RedisWriter, commands: Any) -> None:
        if await sink.client.exists("secmaster:events") and not saved:
            saved.extend(
                [
                    (key, await sink.client.dump(key))
                    for key in ("secmaster:position", "secmaster:_cache:series")
                ]
            )
            await sink.client.flushall()
            for key, content in saved:
                await sink.client.restore(key, 0, content)
        await fill(sink, commands)

    monkeypatch.setattr(RedisWriter, "fill", forgetful)
    async with world.cache(cache_warm_batch_rows=1):
        await world.assert_right()
    assert saved


async def test_a_stream_that_went_back_and_grew_again_is_not_continued(world: Any) -> None:
    """NATS was restored; the publisher announces from there on, past where the cache stands."""
    await world.commit(SERIES, EVENT, MARKET)
    async with world.cache() as cache:
        await cache.ready()
        await world.settled()
    await world.commit("UPDATE markets SET yes_bid = 60", publish=False)
    position = await world.position()
    await world.announce()
    # As if the announcement had begun before the last message that was read.
    await world.redis.set(
        "secmaster:position",
        msgspec.json.encode(position | {"sequence": world.sequence - 2}),
    )
    async with world.cache():
        await world.assert_right()


async def test_what_comes_over_a_new_connection_breaks_the_feed(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may have come back with less than it had."""
    open_feed, feeds = Reader.open, list[Reader]()

    async def opened(feed: Reader) -> None:
        feeds.append(feed)
        await open_feed(feed)

    monkeypatch.setattr(Reader, "open", opened)
    await world.commit(SERIES, EVENT, MARKET)
    async with world.cache() as cache:
        await cache.ready()
        await world.settled()
        feeds[0]._client.stats["reconnects"] += 1
        await world.commit("UPDATE markets SET yes_bid = 61")
        await world.assert_right()
        assert cache.health.last_error == "the connection to NATS was made anew"
    assert feeds[0].buffered == 0
    assert len(feeds) == 2


async def test_another_stream_of_the_same_name_is_not_continued(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKET)

    async def replaced(bid: int) -> None:
        """The stream is made anew, and is soon longer than what was read of the old one."""
        await world.js.delete_stream("SECMASTER_CDC")
        await world.commit(f"UPDATE markets SET yes_bid = {bid}", publish=False)
        await world.create_stream()
        for volume in range(20):
            await world.commit(f"UPDATE series SET volume = {bid * 100 + volume}")

    async with world.cache() as cache:
        await cache.ready()
        await world.settled()
        await replaced(50)
        await world.assert_right()
    await replaced(51)
    async with world.cache():
        await world.assert_right()


async def test_an_older_redis_is_read_on_from_where_it_stands(world: Any) -> None:
    """A restored save, or a replica that lagged when it took over."""
    await world.commit(SERIES, EVENT, MARKET)
    async with world.cache() as cache:
        await cache.ready()
        await world.settled()
        saved = [(key, await world.redis.dump(key)) for key in await world.redis.keys()]
        warmed = (await world.position())["warmed_at"]
        await world.commit("UPDATE markets SET yes_bid = 60, status = 'closed'")
        await world.commit("INSERT INTO series (ticker, category) VALUES ('KXB', 'Sports')")
        await world.settled()
        restore = world.redis.pipeline(transaction=True)
        restore.flushall()
        for key, content in saved:
            restore.restore(key, 0, content)
        await restore.execute()
        await world.assert_right()
        await world.commit("UPDATE markets SET yes_bid = 61")
        await world.assert_right()
        assert (await world.position())["warmed_at"] == warmed
