"""Times that PostgreSQL holds and Python does not: one spelling, and no end of anything."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_cache.database.rows import Rows
from ssmd_cache.projection.facts import facts_of
from ssmd_cache.projection.project import project
from ssmd_cache.projection.records import FeeStep
from ssmd_common.keys import Keys
from ssmd_common.times import microseconds, moment, spelled
from ssmd_common.ttl import event_expires_at, market_expires_at

SERIES = "INSERT INTO series (ticker, category) VALUES ('S', 'C')"
EVENT = (
    "INSERT INTO events (event_ticker, series_ticker, status, strike_date)"
    " VALUES ('E', 'S', 'open', NULL)"
)
FAR = [
    *("infinity", "-infinity", "0044-03-15 00:00:00+00 BC", "0001-06-01 00:00:00+00 BC"),
    *("4713-01-01 00:00:00+00 BC", "15000-12-31 23:40:28+00", "294276-12-31 23:59:59.999999+00"),
    *("9999-12-31 23:59:59.999999+00", "0001-01-01 00:00:00+00", "10000-01-01 00:00:00+00"),
]


async def test_stream_redis_and_postgresql_spell_alike(world: Any) -> None:
    """A snapshot's spelling is what the publisher makes of the text, for any time that there is."""
    await world.commit(SERIES, EVENT)
    times = ", ".join(f"('{text}')" for text in FAR)
    await world.pg.execute(
        f"""INSERT INTO markets (ticker, event_ticker, series_ticker, close_time, open_time)
            SELECT 'F' || row_number() OVER (), 'E', 'S', t::timestamptz, t::timestamptz
            FROM (VALUES {times}) v(t)
            UNION ALL
            SELECT 'R' || n, 'E', 'S', t, t FROM (
                SELECT n, '4713-01-01 BC'::timestamptz
                    + make_interval(days => (random() * 298000 * 365.2425)::int,
                                    secs => (random() * 86400)::int)
                    + round(random() * 3) * interval '120000 us' AS t
                FROM generate_series(1, 2000) n
            ) x"""
    )
    cursor = await world.pg.execute("SELECT ticker, close_time::text FROM markets")
    texts = dict(await cursor.fetchall())
    rows = Rows(world.pg)
    await rows.prepare()
    for row in await rows.some("markets", list(texts)):
        told = msgspec.json.decode(row)
        expected = spelled(texts[told["ticker"]].encode()).decode()
        assert (told["close_time"], told["open_time"]) == (expected, expected)
        facts = facts_of("markets", row)
        assert getattr(facts, "close_time", None) == moment(expected)


@pytest.mark.parametrize("status", ["active", "closed", "settled"])
async def test_they_count_as_none_from_stream_and_snapshot_alike(world: Any, status: str) -> None:
    await world.commit(SERIES, EVENT)
    statements = [
        f"""INSERT INTO markets (ticker, event_ticker, series_ticker, status, close_time,
                settled_time, updated_at)
            VALUES ('M{n}', 'E', 'S', '{status}', '{close}', {settled}, now())"""
        for n, (close, settled) in enumerate(
            (close, settled)
            for close in (*FAR, "now()")
            for settled in ("NULL", "now()", "'infinity'", "'-infinity'")
        )
    ]
    from_stream: dict[str, Any] = {}
    async with world.cache() as cache:
        await cache.ready()
        tables = Rows(world.pg)
        await tables.prepare()
        for statement in statements:
            await world.pg.execute(statement)
        for n in range(len(statements)):
            [row] = await tables.some("markets", [f"M{n}"])
            payload = (
                b'{"v":1,"lsn":"F/%X","seq":0,"epoch":1,"table":"markets","op":"insert",'
                b'"key":{"ticker":"M%d"},"data":%b}' % (n, n, row)
            )
            await world.js.publish(f"cdc.markets.insert.S.E.M{n}", payload)
        await world.settled()
        from_stream = await world.dump()
        await world.redis.flushall()
        await cache.ready()

        async def warm() -> bool:
            return bool((await world.position()).get("warm"))

        await world.eventually(warm, "a new picture")
        assert await world.dump() == from_stream
    assert from_stream["secmaster:markets"]


@given(st.sampled_from(FAR[:7]), st.sampled_from(FAR[:7]))
def test_steps_of_a_fee_schedule_keep_their_order(one: str, other: str) -> None:
    def begins(text: str) -> int:
        row = {"series_ticker": "S", "effective_from": spelled(text.encode()).decode()}
        step = project(facts_of("series_fees", msgspec.json.encode(row)), Keys())
        assert isinstance(step, FeeStep)
        return step.start

    order = [*("-infinity", FAR[4], FAR[2], FAR[3]), *(FAR[5], FAR[6], "infinity")]
    assert (begins(one) < begins(other)) is (order.index(one) < order.index(other))


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_are_exact(at: datetime) -> None:
    text = at.replace(tzinfo=None).isoformat() + "Z"
    assert microseconds(text) == (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )


def test_an_end_that_no_clock_reaches_is_none() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    assert market_expires_at("settled", last, None, last) is None
    assert market_expires_at("settled", None, None, last) is None
    assert event_expires_at("closed", last, last) is None
