"""Keys end when the table says, and their index entries with them."""

from typing import Any

SERIES = "INSERT INTO series (ticker, category) VALUES ('S', 'C')"
EVENT = "INSERT INTO events (event_ticker, series_ticker) VALUES ('E', 'S')"
MARKETS = (
    "INSERT INTO markets (ticker, event_ticker, series_ticker, status, close_time, settled_time)"
    " VALUES ('M', 'E', 'S', 'settled', now(), now() - interval '1 day' + interval '3 seconds'),"
    " ('N', 'E', 'S', 'settled', now() - interval '2 days', now()),"
    " ('O', 'E', 'S', 'settled', NULL, NULL)"
)


async def test_a_settled_market_expires_and_is_swept(world: Any) -> None:
    await world.commit(SERIES, EVENT, MARKETS)
    async with world.cache() as cache:
        await cache.ready()
        await world.settled()
        markets = await world.redis.hkeys("secmaster:markets")
        assert b"N" not in markets
        assert b"O" in markets
        ttl = await world.redis.pttl("secmaster:series:S:E:O")
        assert 86_000_000 < ttl <= 86_400_000

        async def swept() -> bool:
            return await world.redis.hkeys("secmaster:markets") == [b"O"]

        await world.eventually(swept, "the expired market left the index")
        assert await world.redis.smembers("secmaster:event_markets:E") == {b"O"}
        await world.assert_right()
        # Reactivated after settlement: no end any more, and back in the indexes.
        await world.commit("UPDATE markets SET status = 'active' WHERE ticker IN ('N', 'O')")
        await world.assert_right()
        assert await world.redis.pttl("secmaster:series:S:E:O") == -1


async def test_an_expired_event_keeps_its_category_for_its_markets(world: Any) -> None:
    await world.commit(
        SERIES,
        "INSERT INTO events (event_ticker, series_ticker, category, status, strike_date)"
        " VALUES ('E', 'S', 'Own', 'closed', now() - interval '2 days')",
        "INSERT INTO markets (ticker, event_ticker, series_ticker, status)"
        " VALUES ('M', 'E', 'S', 'closed')",
    )
    async with world.cache() as cache:
        await cache.ready()
        await world.commit("UPDATE markets SET status = 'active'")
        await world.assert_right()
        assert await world.redis.smembers("secmaster:markets:by_category:Own") == {b"M"}
        await world.commit("UPDATE events SET category = 'Other'")
        await world.assert_right()
