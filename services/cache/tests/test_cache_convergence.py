"""Whatever happens, Redis ends as what an independent function computes from the tables."""

import asyncio
import contextlib
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ssmd_stream.subjects import subject

# What is cancelled while it closes a connection of psycopg leaves it to the collector.
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

CATEGORIES = ["Crypto", "Sports", "Politics & more", "", None]
STATUSES = ["open", "active", "closed", "settled"]


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
        """Two changes of a row, in another order than that of their positions."""
        market = await self.pick("markets")
        if market is None:
            return
        update = "UPDATE markets SET status = '{}', volume = {} WHERE ticker = '{}'"
        first, second = [
            await self.world.commit(
                update.format(self.random.choice(STATUSES), volume, market["ticker"]), publish=False
            )
            for volume in (self.random.randrange(10**6), self.random.randrange(10**6))
        ]
        for message in [*reversed(second), *reversed(first)]:
            row = message["data"] or message["key"]
            await self.world.publish(subject(message["table"], message["op"], row), message)

    async def again(self) -> None:
        """A change that was published is published again, later.

        Not an announced row: it has no transaction id, so nothing but its place in the stream says
        that it is old, and its publisher announces in order.
        """
        changes = [sent for sent in self.world.sent if b'"xid":null' not in sent[1]]
        if changes:
            where, payload = self.random.choice(changes)
            await self.world.js.publish(where, payload)

    async def empty(self) -> None:
        """As if the world had just been made."""
        await self.world.pg.execute("TRUNCATE series, events, markets, series_fees CASCADE")
        await self.world.redis.flushall()
        await self.world.js.delete_stream("SECMASTER_CDC")
        await self.world.create_stream()
        self.world.epoch, self.world.sent = 1, []


STEP = st.sampled_from(
    [
        *["commit"] * 6,
        *["rebuild", "again", "swapped", "announce", "announce twice"],
        *["flush", "purge", "restart", "die", "pause", "right"],
    ]
)


@settings(
    max_examples=settings().max_examples // 33,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    seed=st.integers(0, 2**32),
    batch=st.sampled_from([1, 3, 500]),
    steps=st.lists(STEP, min_size=10, max_size=40),
)
async def test_redis_converges(world: Any, seed: int, batch: int, steps: list[str]) -> None:
    """Whatever happens in whatever order, with the cache ended or cut off at any moment."""
    chaos = Chaos(world, seed)
    await chaos.empty()
    for _ in range(8):
        await chaos.commit()
    stack = contextlib.AsyncExitStack()
    cache = await stack.enter_async_context(world.cache(cache_batch_changes=batch))
    try:
        for step in steps:
            match step:
                case "flush":
                    await world.redis.flushall()
                case "announce":
                    await world.announce()
                case "announce twice":
                    await world.announce(until=chaos.random.choice(["events", "markets"]))
                    await world.announce()
                case "rebuild":
                    # The commits that follow fall into the middle of the warm-up.
                    await world.redis.incr("secmaster:_cache:rebuild_requests")
                case "swapped":
                    # At once, before something later hides what came of it.
                    await cache.ready()
                    await chaos.swapped()
                    await world.assert_right()
                case "again":
                    await chaos.again()
                case "purge":
                    await world.js.purge_stream("SECMASTER_CDC")
                case "restart" | "die":
                    if step == "die":
                        await asyncio.sleep(chaos.random.random() * 0.1)
                        await cache.die()
                    await stack.aclose()
                    # While no cache runs the world goes on.
                    await chaos.commit()
                    more = {"cache_batch_changes": chaos.random.choice([1, 3, 500])}
                    cache = await stack.enter_async_context(world.cache(**more))
                case "pause":
                    await asyncio.sleep(chaos.random.random() * 0.2)
                case "right":
                    await cache.ready()
                    await world.assert_right()
                case _:
                    await chaos.commit()
        await cache.ready()
        await world.assert_right()
    finally:
        await stack.aclose()
