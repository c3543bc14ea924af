"""Rows for transitions that no message told of."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
import pytest_asyncio
from aiohttp import web
from psycopg.rows import dict_row
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.health import Health
from ssmd_common.models import Market
from ssmd_common.runtime import Runtime
from ssmd_kalshi import feed as wire
from ssmd_kalshi.rest import KalshiRest
from ssmd_lifecycle import bookkeeper as module
from ssmd_lifecycle.bookkeeper import Bookkeeper, Findings
from ssmd_lifecycle.clock import Due, Turn
from ssmd_lifecycle.filter import FilterFile
from ssmd_lifecycle.gaps import GapStore, Repairer
from ssmd_lifecycle.intake import read
from ssmd_lifecycle.messages import MARKET_CHANNEL
from ssmd_lifecycle.mirror import Mirror
from ssmd_lifecycle.owed import owed
from ssmd_lifecycle.rows import Pool
from ssmd_lifecycle.store import Store
from ssmd_lifecycle.turns import Turns
from ssmd_stack.database import Database
from ssmd_store.sessions import Sessions

Connection = psycopg.AsyncConnection[Any]
NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=10)
TICKER = "KXA-1-T1.5"


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def told(word: str = "active", *, created: float = -60, **columns: Any) -> Market:
    """A market as REST tells it: its life long, nothing of it in the gap."""
    given = {
        "open_time": at(-50),
        "close_time": at(90),
        "exchange_updated_at": at(-60),
        "extra": {"created_time": at(created).isoformat()},
        **columns,
    }
    return Market(
        ticker=TICKER,
        event_ticker="KXA-1",
        series_ticker="KXA",
        exchange_status=word,
        observed_at=NOW,
        observed_via="rest",
        **given,
    )


def steps(market: Market) -> list[str]:
    return [
        str(step.kind if not isinstance(step, Due) else step.turn)
        for step in owed(market, SINCE, NOW)
    ]


def test_a_whole_life_in_the_gap_is_owed_all_its_rows_in_order() -> None:
    market = told(
        "finalized",
        created=-9,
        open_time=at(-8),
        close_time=at(-6),
        exchange_updated_at=at(-4),
        settled_time=at(-4),
        result="yes",
    )
    assert steps(market) == ["created", "opened", "closed", "determined", "settled"]
    assert [step.at for step in owed(market, SINCE, NOW)] == [at(-9), at(-8), at(-6), None, at(-4)]


@pytest.mark.parametrize(
    ("market", "expected"),
    [
        (told(), []),
        (told("active", open_time=at(-1)), ["opened"]),
        (told("initialized", open_time=at(-1)), []),
        (told("initialized", created=-1, open_time=at(5)), ["created"]),
        (told("initialized", created=-1, mve_collection_ticker="KXMVE-R"), []),
        (told("inactive", exchange_updated_at=at(-1)), ["deactivated"]),
        (told("active", exchange_updated_at=at(-1)), ["activated"]),
        (told("inactive"), []),
        (told("closed", close_time=at(-1)), ["closed"]),
        (told("active", close_time=at(-1)), []),
        (told("determined", close_time=at(-20), exchange_updated_at=at(-1)), ["determined"]),
        (told("disputed", close_time=at(-1)), ["closed", "determined"]),
        (told("finalized", close_time=at(-90), settled_time=at(-80)), []),
        (told("auction", close_time=at(-1), exchange_updated_at=at(-1)), []),
        (told(extra=None), []),
        (told(extra={"created_time": "soon"}), []),
    ],
)
def test_only_what_happened_in_the_gap_is_owed(market: Market, expected: list[str]) -> None:
    assert steps(market) == expected


# --- in the tables --------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    opened = await postgres.open_pool(
        SecretStr(database.url), "test", budget_seconds=30, max_size=2
    )
    yield opened
    await opened.close()


def bookkeeper(pool: Pool, filter_path: Path | None = None, **more: Any) -> Bookkeeper:
    followed = FilterFile(filter_path)
    followed.load()
    return Bookkeeper(pool, followed, more.get("is_behind", lambda moment: False))


def found(*markets: Market) -> Findings:
    findings = Findings(SINCE)
    findings.add(markets, NOW)
    return findings


async def rows(connection: Connection) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT * FROM market_lifecycle_events ORDER BY id")
        return await cursor.fetchall()


async def message(connection: Connection, kind: str, minutes: float) -> None:
    await connection.execute(
        "INSERT INTO market_lifecycle_events (market_ticker, event_type, metadata, sent_at,"
        " dedupe_key) VALUES (%s, %s, '{}', %s, %s)",
        (TICKER, kind, at(minutes), f"{kind} {minutes}"),
    )


SETTLED = told(
    "finalized",
    created=-9,
    open_time=at(-8),
    close_time=at(-6),
    exchange_updated_at=at(-4),
    settled_time=at(-4),
    result="yes",
)


async def test_what_has_a_row_gets_no_other(pool: Pool, connection: Connection) -> None:
    await message(connection, "created", -9)
    await message(connection, "determined", -5)
    clock = Due(Turn.CLOSED, TICKER, "KXA-1", at(-6))
    await Turns(pool).note([], NOW)
    await connection.execute(
        "INSERT INTO market_lifecycle_events (market_ticker, event_type, metadata, dedupe_key)"
        """ VALUES (%s, 'closed', '{"source": "clock"}', %s)""",
        (TICKER, clock.dedupe_key),
    )
    keeper = bookkeeper(pool)
    assert await keeper.write(found(SETTLED)) == 2
    assert await keeper.write(found(SETTLED, SETTLED)) == 0
    written = (await rows(connection))[3:]
    assert [row["event_type"] for row in written] == ["opened", "settled"]
    assert [(row["open_ts"], row["settled_ts"]) for row in written] == [
        (at(-8), None),
        (None, at(-4)),
    ]
    assert {row["metadata"]["source"] for row in written} == {"rest"}
    assert written[0]["event_ticker"] == "KXA-1"


async def test_the_result_is_in_the_row(pool: Pool, connection: Connection) -> None:
    await bookkeeper(pool).write(found(SETTLED))
    [row] = [row for row in await rows(connection) if row["event_type"] == "determined"]
    assert (row["result"], row["metadata"]["msg"]["result"]) == ("yes", "yes")


async def test_a_pause_is_owed_where_the_last_row_says_otherwise(
    pool: Pool, connection: Connection
) -> None:
    keeper = bookkeeper(pool)
    trading, paused = (told(word, exchange_updated_at=at(-1)) for word in ("active", "inactive"))
    assert await keeper.write(found(trading)) == 0
    assert await keeper.write(found(paused)) == 1
    assert await keeper.write(found(paused)) == 0
    await connection.execute("DELETE FROM market_lifecycle_events")
    await message(connection, "activated", -3)
    await message(connection, "deactivated", -4)
    assert await keeper.write(found(trading)) == 0
    await message(connection, "deactivated", -2)
    assert await keeper.write(found(trading)) == 1


async def test_a_series_that_is_not_followed_is_owed_nothing(
    pool: Pool, connection: Connection, tmp_path: Path
) -> None:
    await connection.execute("INSERT INTO series (ticker, category) VALUES ('KXA', 'Sports')")
    await connection.execute(
        "INSERT INTO events (event_ticker, series_ticker) VALUES ('KXA-1', 'KXA')"
    )
    await connection.execute(
        "INSERT INTO markets (ticker, event_ticker, series_ticker) VALUES (%s, 'KXA-1', 'KXA')",
        (TICKER,),
    )
    path = tmp_path / "filter.yaml"
    path.write_text("exclude: {categories: [Sports]}")
    assert await bookkeeper(pool, path).write(found(SETTLED)) == 0
    path.write_text("include: {series: [KXA]}")
    assert await bookkeeper(pool, path).write(found(SETTLED)) == 5


async def test_a_message_that_comes_after_all_takes_the_rows_place(
    pool: Pool, connection: Connection
) -> None:
    """A standby heard what the leader missed and found over REST, and takes over."""
    await connection.execute("INSERT INTO series (ticker) VALUES ('KXA')")
    await connection.execute(
        "INSERT INTO events (event_ticker, series_ticker) VALUES ('KXA-1', 'KXA')"
    )
    await bookkeeper(pool).write(found(SETTLED))
    before = await rows(connection)
    sent_at = datetime.now(UTC) - timedelta(seconds=20)
    body = {"market_ticker": TICKER, "event_type": "settled", "settled_ts": 1}
    raw = msgspec.json.encode({"type": MARKET_CHANNEL, "msg": body})
    late = read(wire.Message(MARKET_CHANNEL, 1, 9, sent_at, body, raw, sent_at))
    store = Store(pool)
    outcome = await store.record([late, late], datetime.now(UTC))
    assert (outcome.stored, outcome.duplicates) == (1, 1)
    assert (await store.record([late], datetime.now(UTC))).stored == 0
    after = await rows(connection)
    assert [row["event_type"] for row in after] == [row["event_type"] for row in before]
    assert after[:4] == before[:4]
    assert (after[4]["sent_at"], after[4]["metadata"]["msg"]) == (sent_at, body)
    # The next settlement, whenever it is, is another one.
    again = read(wire.Message(MARKET_CHANNEL, 1, 10, NOW, body, raw, NOW))
    assert (await store.record([again], datetime.now(UTC))).stored == 1
    assert len(await rows(connection)) == 6


async def test_rows_wait_for_the_messages_that_are_on_their_way(
    pool: Pool, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REST is asked, the message arrives, and only then it is recorded."""
    monkeypatch.setattr(module, "GRACE", timedelta(0))
    asked: list[datetime] = []
    recorded = asyncio.Event()

    def is_behind(moment: datetime) -> bool:
        asked.append(moment)
        return not recorded.is_set()

    findings = found(told("inactive", exchange_updated_at=at(-1)))
    async with asyncio.TaskGroup() as tasks:
        runtime = Runtime(Health("test"), tasks)
        keeper = bookkeeper(pool, is_behind=is_behind)
        settling = tasks.create_task(keeper.settle(runtime, findings))
        while not asked:  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0)
        await message(connection, "deactivated", -1)
        recorded.set()
        assert await settling
        assert len(await rows(connection)) == 1
        runtime.stop.set()
        recorded.clear()
        assert not await keeper.settle(runtime, findings)
    assert asked[0] == findings.told_at


async def test_a_gap_stays_open_until_what_was_found_has_its_rows(
    pool: Pool, sessions: Sessions, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who ends before leaves the gap to the next one."""
    monkeypatch.setattr(module, "GRACE", timedelta(0))
    behind = asyncio.Event()
    behind.set()
    store = GapStore(pool)
    page = {"markets": [], "events": [], "cursor": ""}
    async with serving(page) as url, KalshiRest(url) as rest, asyncio.TaskGroup() as tasks:
        runtime = Runtime(Health("test"), tasks)
        keeper = bookkeeper(pool, is_behind=lambda _: behind.is_set())
        repairer = Repairer(store, rest, Mirror(sessions, rest), keeper)
        await repairer.add(runtime, "closed", SINCE, NOW)
        repairing = tasks.create_task(repairer.run(runtime))
        closing = tasks.create_task(repairer.close(runtime))
        while not runtime.health.ready:  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0.01)
        assert len(await store.unrepaired()) == 1
        behind.clear()
        while await store.unrepaired():  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0.01)
        repairing.cancel()
        runtime.stop.set()
        await closing


@asynccontextmanager
async def serving(document: dict[str, Any]) -> AsyncIterator[str]:
    """A REST that answers everything with one document."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document)

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/trade-api/v2"
    await runner.cleanup()
