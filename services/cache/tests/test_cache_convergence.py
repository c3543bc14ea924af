"""Whatever happens, Redis ends as what an independent function computes from the tables."""

import contextlib
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

CATEGORIES = ["Crypto", "Sports", "Politics & more", "", None]
STATUSES = ["open", "active", "closed", "settled"]
STEPS = 60


def literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, datetime):
        return f"'{value.isoformat()}'"
    return f"'{value}'" if isinstance(value, str) else str(value)


class Chaos:
    """Random statements over a small universe, so that they meet."""

    def __init__(self, world: Any, seed: int) -> None:
        self.world, self.random = world, random.Random(seed)

    def moment(self) -> datetime | None:
        """Around now: some expiries have passed, some are near, some are far; sometimes none."""
        if self.random.random() < 0.15:
            return None
        # Never so near that the instant itself decides the comparison.
        hours = self.random.choice([-80, -30, -25, -23, -10, -1, 1, 10, 100])
        return datetime.now(UTC) + timedelta(hours=hours, microseconds=self.random.randrange(10**6))

    async def pick(self, table: str) -> dict[str, Any] | None:
        rows = list((await self.world.tables())[table].values())
        return self.random.choice(rows) if rows else None

    async def statement(self) -> str | None:
        pick, choice = self.random.randrange(16), self.random.choice
        number = self.random.randrange(12)
        series, event = await self.pick("series"), await self.pick("events")
        market = await self.pick("markets")
        if series is None or pick == 0:
            return (
                f"INSERT INTO series (ticker, category, title) VALUES ('KX{number}',"
                f" {literal(choice(CATEGORIES))}, 'Ü \"{number}\"') ON CONFLICT DO NOTHING"
            )
        if event is None or pick == 1:
            return (
                "INSERT INTO events (event_ticker, series_ticker, category, status, strike_date,"
                f" updated_at) VALUES ('E-{number}', '{series['ticker']}',"
                f" {literal(choice(CATEGORIES))}, '{choice(['open', 'closed', 'settled'])}',"
                f" {literal(self.moment())}, {literal(self.moment() or datetime.now(UTC))})"
                " ON CONFLICT DO NOTHING"
            )
        if market is None or pick in (2, 3, 4):
            return (
                "INSERT INTO markets (ticker, event_ticker, series_ticker, status, close_time,"
                f" settled_time, yes_bid_dollars) VALUES ('M-{number}.5',"
                f" '{event['event_ticker']}',"
                f" '{event['series_ticker']}', '{choice(STATUSES)}',"
                f" {literal(self.moment())}, {literal(self.moment())}, 0.{number}) ON CONFLICT DO"
                " NOTHING"
            )
        this = f"WHERE ticker = '{market['ticker']}'"
        that = f"WHERE event_ticker = '{event['event_ticker']}'"
        fee = f"'{series['ticker']}', 'quadratic', {number}"
        year = 2020 + self.random.randrange(4)
        return {
            5: f"UPDATE markets SET status = '{choice(STATUSES)}' {this}",
            6: f"UPDATE markets SET close_time = {literal(self.moment())} {this}",
            7: f"UPDATE markets SET yes_bid_dollars = 0.{number}, volume = {number} {this}",
            8: f"UPDATE markets SET deleted_at = {literal(self.moment())} {this}",
            9: f"UPDATE events SET category = {literal(choice(CATEGORIES))} {that}",
            10: f"UPDATE events SET status = '{choice(['open', 'closed', 'settled'])}',"
            f" strike_date = {literal(self.moment())}, deleted_at = NULL {that}",
            11: f"UPDATE events SET series_ticker = '{series['ticker']}' {that}",
            12: f"UPDATE series SET category = {literal(choice(CATEGORIES))}"
            f" WHERE ticker = '{series['ticker']}'",
            13: f"DELETE FROM markets {this}",
            14: f"UPDATE events SET deleted_at = now() {that}",
            15: f"INSERT INTO series_fees VALUES ({fee}, '{year}-01-01',"
            f" '{year}-07-01 00:00:00.25') ON CONFLICT (series_ticker, effective_from)"
            " DO UPDATE SET fee_multiplier = excluded.fee_multiplier"
            if number < 8
            else f"DELETE FROM series_fees WHERE series_ticker = '{series['ticker']}'",
        }[pick]

    async def commit(self) -> None:
        statements = [await self.statement() for _ in range(self.random.choice([1, 1, 1, 2, 5]))]
        with contextlib.suppress(Exception):
            # Random statements may contradict each other: then nothing happened.
            await self.world.commit(*(s for s in statements if s))

    async def swapped(self) -> None:
        """Messages in another order than that of their positions."""
        first = await self.world.commit(await self.statement(), publish=False)
        second = await self.world.commit(await self.statement(), publish=False)
        from ssmd_common.subjects import subject

        for message in [*reversed(second), *reversed(first)]:
            row = message["data"] or message["key"]
            await self.world.publish(subject(message["table"], message["op"], row), message)

    async def again(self) -> None:
        """What was published is published again, later."""
        if self.world.sent:
            where, payload = self.random.choice(self.world.sent)
            await self.world.js.publish(where, payload)


@pytest.mark.parametrize("seed", range(6))
async def test_redis_converges(world: Any, seed: int) -> None:
    chaos = Chaos(world, seed)
    for _ in range(20):
        await chaos.commit()
    for _ in range(4):
        async with world.cache(cache_batch_changes=chaos.random.choice([1, 3, 500])) as cache:
            for _ in range(STEPS // 4):
                match chaos.random.randrange(24):
                    case 0:
                        await world.redis.flushall()
                    case 1:
                        await world.announce()
                    case 2:
                        await world.announce(until=chaos.random.choice(["events", "markets"]))
                        await world.announce()
                    case 3:
                        await world.redis.incr("secmaster:_cache:rebuild_requests")
                    case 4:
                        await chaos.swapped()
                    case 5 | 6:
                        await chaos.again()
                    case 7:
                        await cache.ready()
                        await world.assert_right()
                    case 8:
                        await world.js.purge_stream("SECMASTER_CDC")
                    case _:
                        await chaos.commit()
            if chaos.random.random() < 0.4:
                await world.assert_right()
        # While no cache runs the world goes on.
        for _ in range(3):
            await chaos.commit()
    async with world.cache() as cache:
        await cache.ready()
        await world.assert_right()
