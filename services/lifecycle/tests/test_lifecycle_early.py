"""What a wrong clock turned before its time is turned back, with a row that says so."""

import asyncio
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import psycopg
import pytest

from ssmd_common.connections.clock import Clock
from ssmd_common.errors import ClockDiffers
from ssmd_common.health import Health
from ssmd_common.runtime import Runtime
from ssmd_lifecycle import retention
from ssmd_lifecycle.clock.scheduler import Scheduler
from ssmd_lifecycle.clock.timed_store import TimedStore
from ssmd_lifecycle.feed.gaps import Gaps, vouched
from ssmd_lifecycle.transactions import Pool
from ssmd_store import clock

Connection = psycopg.AsyncConnection[Any]
HOUR, AHEAD = timedelta(hours=1), timedelta(minutes=6)


async def add(
    connection: Connection, ticker: str, word: str | None, opens: datetime, closes: datetime
) -> None:
    """A market as the exchange tells it: its status before any clock has looked at it."""
    said = {"active": "active", "closed": "closed", "determined": "closed"}
    status = said.get(word or "", "open")
    event = ticker.rpartition("-")[0]
    await connection.execute("INSERT INTO series (ticker) VALUES ('KXA') ON CONFLICT DO NOTHING")
    await connection.execute(
        "INSERT INTO events (event_ticker, series_ticker) VALUES (%s, 'KXA')"
        " ON CONFLICT DO NOTHING",
        (event,),
    )
    await connection.execute(
        "INSERT INTO markets (ticker, event_ticker, series_ticker, status, exchange_status,"
        " open_time, close_time, observed_at, observed_via)"
        " VALUES (%s, %s, 'KXA', %s, %s, %s, %s, %s, 'ws')",
        (ticker, event, status, word, opens, closes, opens - HOUR),
    )


async def statuses(connection: Connection) -> dict[str, str]:
    cursor = await connection.execute("SELECT ticker, status FROM markets")
    return dict(await cursor.fetchall())


async def lived(connection: Connection, ticker: str) -> list[str]:
    cursor = await connection.execute(
        "SELECT event_type FROM market_lifecycle_events WHERE market_ticker = %s ORDER BY id",
        (ticker,),
    )
    return [kind for (kind,) in await cursor.fetchall()]


class Fast(datetime):
    """A clock that is six minutes ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime.now(tz) + AHEAD


async def as_if_ahead(scheduler: Scheduler) -> None:
    """TimedKind what is due by such a clock; nobody has compared it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssmd_lifecycle.clock.timed_store.datetime", Fast)
        await scheduler.catch_up(Fast.now(UTC))


async def test_each_gets_the_status_that_the_exchange_gave_it(
    pool: Pool, connection: Connection
) -> None:
    now = datetime.now(UTC)
    soon, later = now + timedelta(minutes=4), now + timedelta(minutes=5)
    markets = {
        "KXA-1-TRADES": ("active", now - HOUR, later),
        "KXA-1-PAUSED": ("inactive", now - HOUR, later),
        "KXA-1-OPENED": ("initialized", now - HOUR, later),
        "KXA-1-WAITS": ("initialized", soon, now + HOUR),
        "KXA-1-BOTH": ("initialized", soon, later),
        "KXA-1-UNSAID": (None, soon, later),
        "KXA-1-ENDED": ("closed", now - HOUR, later),
        "KXA-1-DECIDED": ("determined", now - HOUR, later),
        "KXA-2-JUST": ("active", now - HOUR, now + timedelta(seconds=1)),
        "KXA-3-DUE": ("active", now - HOUR, now),
    }
    for ticker, (word, opens, closes) in markets.items():
        await add(connection, ticker, word, opens, closes)
    scheduler = Scheduler(TimedStore(pool))
    # Those that have opened rightly.
    await scheduler.catch_up(now)
    right = await statuses(connection)
    cursor = await connection.execute("SELECT event_ticker, status FROM events")
    events = dict(await cursor.fetchall())
    await as_if_ahead(scheduler)
    early = await statuses(connection)
    assert early == dict.fromkeys(markets, "closed") | {"KXA-1-WAITS": "active"}
    turned = await scheduler.reverse_early(now)
    assert await statuses(connection) == right | {"KXA-2-JUST": "closed"}
    assert {each.ticker for each in turned} == {
        ticker for ticker in markets if right[ticker] != early[ticker]
    } - {"KXA-2-JUST"}
    cursor = await connection.execute("SELECT event_ticker, status FROM events")
    assert dict(await cursor.fetchall()) == events | {"KXA-2": "closed"}
    assert await scheduler.reverse_early(now) == []
    # When it is time, each turns once more and has its row once more.
    await as_if_ahead(scheduler)
    assert await statuses(connection) == early
    assert await lived(connection, "KXA-1-TRADES") == ["closed", "turned_back", "closed"]
    both = ["opened", "closed", "turned_back", "opened", "closed"]
    assert await lived(connection, "KXA-1-BOTH") == both
    assert await lived(connection, "KXA-1-WAITS") == ["opened", "turned_back", "opened"]
    assert await lived(connection, "KXA-1-OPENED") == ["opened", "closed", "turned_back", "closed"]
    assert await lived(connection, "KXA-1-ENDED") == []
    cursor = await connection.execute(
        "SELECT metadata ->> 'source', metadata #>> '{msg,to}', close_ts, open_ts"
        " FROM market_lifecycle_events WHERE event_type = 'turned_back'"
        " AND market_ticker = 'KXA-1-TRADES'"
    )
    assert await cursor.fetchall() == [("clock", "active", later, None)]


async def test_what_is_read_afterwards_is_newer_than_the_stamp_of_a_wrong_clock(
    pool: Pool, connection: Connection
) -> None:
    """It is stamped anew, and not with the time that the wrong clock gave it."""
    now = datetime.now(UTC)
    await add(connection, "KXA-1-1", "active", now - HOUR, now + HOUR)
    await connection.execute(
        "UPDATE markets SET status = 'closed', observed_via = 'clock', observed_at = %s",
        (now + 2 * HOUR,),
    )
    await Scheduler(TimedStore(pool)).reverse_early(now)
    cursor = await connection.execute("SELECT status, observed_via, observed_at FROM markets")
    [(status, via, at)] = await cursor.fetchall()
    assert (status, via) == ("active", "clock")
    assert now <= at <= datetime.now(UTC)


async def test_more_than_one_chunk_is_turned_back(pool: Pool, connection: Connection) -> None:
    now = datetime.now(UTC)
    await add(connection, "KXA-1-0", "active", now - HOUR, now + HOUR)
    await connection.execute(
        "INSERT INTO markets (ticker, event_ticker, series_ticker, status, exchange_status,"
        " close_time, observed_via) SELECT 'KXA-1-' || n, 'KXA-1', 'KXA', 'closed', 'active',"
        " %s, 'clock' FROM generate_series(1, 2000) n",
        (now + HOUR,),
    )
    assert len(await Scheduler(TimedStore(pool)).reverse_early(now)) == 2000
    assert set((await statuses(connection)).values()) == {"active"}


async def test_what_a_wrong_clock_would_turn_is_refused(
    pool: Pool, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the door of every transaction, however late its loop hears of it."""
    ahead = 0.0
    monkeypatch.setattr(
        "ssmd_lifecycle.transactions.CLOCK", Clock(wall=lambda: time.time() + ahead)
    )
    now = datetime.now(UTC)
    await add(connection, "KXA-1-1", "active", now - HOUR, now)
    await add(connection, "KXA-1-2", "active", now - HOUR, now + HOUR)
    await connection.execute("UPDATE markets SET status = 'closed' WHERE ticker = 'KXA-1-2'")
    scheduler = Scheduler(TimedStore(pool))
    gaps = Gaps(pool)
    async with asyncio.TaskGroup() as tasks:
        runtime = Runtime(Health("test"), tasks)
        await gaps.lead(runtime)
        for ahead in (300.0, -300.0):  # noqa: B007 - the clock reads it
            for refused in (
                scheduler.catch_up(now),
                scheduler.reverse_early(now),
                gaps.add(runtime, "start", now, now),
                retention.expire(pool, now),
            ):
                with pytest.raises(ClockDiffers):
                    await refused
    assert await statuses(connection) == {"KXA-1-1": "active", "KXA-1-2": "closed"}
    assert await lived(connection, "KXA-1-1") == await lived(connection, "KXA-1-2") == []
    ahead = 0.0
    await scheduler.catch_up(now)
    await scheduler.reverse_early(now)
    assert await statuses(connection) == {"KXA-1-1": "closed", "KXA-1-2": "active"}


def test_a_stamp_ahead_of_us_vouches_for_nothing() -> None:
    now = datetime.now(UTC)
    assert vouched(None, now) == now
    for seconds in (-100, 0, 1):
        heard = now + timedelta(seconds=seconds)
        assert vouched(heard, now) == heard
    # Nobody knows since when that clock was wrong, nor by how much when it was set.
    assert vouched(now + timedelta(minutes=5), now) == now - HOUR
    assert vouched(now + 2 * HOUR, now) == now - 4 * HOUR


async def test_looking_for_what_was_turned_too_early_uses_an_index(connection: Connection) -> None:
    now = datetime.now(UTC)
    await add(connection, "KXA-1-0", "active", now - HOUR, now + HOUR)
    await connection.execute(
        "INSERT INTO markets (ticker, event_ticker, series_ticker, status, exchange_status,"
        " open_time, close_time) SELECT 'KXA-1-' || n, 'KXA-1', 'KXA',"
        " CASE n %% 20 WHEN 0 THEN 'active' WHEN 1 THEN 'open' ELSE 'closed' END, 'active',"
        " %s, %s - n * interval '1 s' FROM generate_series(1, 20000) n",
        (now, now),
    )
    await connection.execute("ANALYZE markets")
    given = {"after": now, "margin": timedelta(seconds=2), "tickers": None, "limit": 20000}
    plan = await connection.execute("EXPLAIN " + clock.QUERIES.early_transitions, given)
    text = "\n".join(line for (line,) in await plan.fetchall())
    assert "Seq Scan" not in text, text
