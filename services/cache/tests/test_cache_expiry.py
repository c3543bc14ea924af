"""Keys end when the table says, and their index entries with them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ssmd_cache.verify.verifier import Verifier
from ssmd_common.keys import Keys

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


@pytest.mark.parametrize("days", [-2, 2])
async def test_a_clock_that_jumped_changes_nothing(
    world: Any, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """Redis's clock ends keys, so it alone says which have ended: not this process's."""

    class Jumped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=days)

    monkeypatch.setattr("ssmd_cache.writer.names.datetime", Jumped)
    monkeypatch.setattr("time.time", lambda: datetime.now(UTC).timestamp() + days * 86400)
    await world.commit(
        SERIES,
        EVENT,
        "INSERT INTO markets (ticker, event_ticker, series_ticker, status, close_time) VALUES"
        " ('ENDED', 'E', 'S', 'settled', now() - interval '25 hours'),"
        " ('ENDS', 'E', 'S', 'settled', now() - interval '23 hours'),"
        " ('OPEN', 'E', 'S', 'active', now() + interval '1 hour')",
    )
    async with world.cache() as cache:
        await cache.ready()
        await world.assert_right()
        assert set(await world.redis.hkeys("secmaster:markets")) == {b"ENDS", b"OPEN"}
        await world.commit("UPDATE markets SET status = 'settled' WHERE ticker = 'OPEN'")
        await world.assert_right()
        async with world.database.connect() as connection:
            report = await Verifier(connection, world.redis, Keys(""), rechecks=1).full()
        assert not report.differences
