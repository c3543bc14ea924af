"""Rows for transitions that no message announced."""

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
from ssmd_lifecycle.apply.message_store import MessageStore
from ssmd_lifecycle.clock.timed import TimedKind, TimedTransition
from ssmd_lifecycle.clock.timed_store import TimedStore
from ssmd_lifecycle.feed.gaps import Gaps
from ssmd_lifecycle.feed.inbox import Inbox
from ssmd_lifecycle.feed.messages import MARKET_CHANNEL, LifecycleMessage
from ssmd_lifecycle.feed.parser import parse_message
from ssmd_lifecycle.filter import FilterFile
from ssmd_lifecycle.repair import backfill as module
from ssmd_lifecycle.repair.backfill import Backfill, Findings
from ssmd_lifecycle.repair.repairer import Repairer
from ssmd_lifecycle.repair.rest_upserter import RestUpserter, Upserted
from ssmd_lifecycle.repair.steps import steps_of
from ssmd_lifecycle.transactions import Pool
from ssmd_stack.database import Database
from ssmd_store.sessions import Sessions

Connection = psycopg.AsyncConnection[Any]
NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=10)
TICKER = "KXA-1-T1.5"


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def market(status: str = "active", *, created: float = -60, **columns: Any) -> Market:
    """A market as REST shows it: its life long, nothing of it in the gap."""
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
        exchange_status=status,
        observed_at=NOW,
        observed_via="rest",
        **given,
    )


def steps(shown: Market) -> list[str]:
    return [str(step.kind) for step in steps_of(shown, SINCE, NOW)]


def test_a_whole_life_in_the_gap_gets_all_its_rows_in_order() -> None:
    whole = market(
        "finalized",
        created=-9,
        open_time=at(-8),
        close_time=at(-6),
        exchange_updated_at=at(-4),
        settled_time=at(-4),
        result="yes",
    )
    assert steps(whole) == ["created", "opened", "closed", "determined", "settled"]
    assert [step.at for step in steps_of(whole, SINCE, NOW)] == [
        at(-9),
        at(-8),
        at(-6),
        None,
        at(-4),
    ]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (market(), []),
        (market("active", open_time=at(-1)), ["opened"]),
        (market("initialized", open_time=at(-1)), []),
        (market("initialized", created=-1, open_time=at(5)), ["created"]),
        (market("initialized", created=-1, mve_collection_ticker="KXMVE-R"), []),
        (market("inactive", exchange_updated_at=at(-1)), ["deactivated"]),
        (market("active", exchange_updated_at=at(-1)), ["activated"]),
        (market("inactive"), []),
        (market("closed", close_time=at(-1)), ["closed"]),
        (market("active", close_time=at(-1)), []),
        (market("determined", close_time=at(-20), exchange_updated_at=at(-1)), ["determined"]),
        (market("disputed", close_time=at(-1)), ["closed", "determined"]),
        (market("finalized", close_time=at(-90), settled_time=at(-80)), []),
        (market("auction", close_time=at(-1), exchange_updated_at=at(-1)), []),
        (market(extra=None), []),
        (market(extra={"created_time": "soon"}), []),
    ],
)
def test_only_what_happened_in_the_gap_gets_a_row(shown: Market, expected: list[str]) -> None:
    assert steps(shown) == expected


# --- in the tables --------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    opened = await postgres.open_pool(
        SecretStr(database.url), "test", budget_seconds=30, max_size=2
    )
    yield opened
    await opened.close()


def backfill(
    pool: Pool, filter_path: Path | None = None, *, inbox: Inbox | None = None
) -> Backfill:
    followed = FilterFile(filter_path)
    followed.load()
    return Backfill(pool, followed, Inbox(1) if inbox is None else inbox)


def waiting(received_at: datetime) -> tuple[Inbox, LifecycleMessage]:
    """A leader's inbox, and a message of that time to put into it."""
    inbox = Inbox(1)
    inbox.lead()
    return inbox, parse_message(wire.Message("new", 1, 1, None, {}, b"{}", received_at))


def found(*markets: Market) -> Findings:
    findings = Findings(SINCE)
    findings.add(Upserted(observed=markets), NOW)
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


SETTLED = market(
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
    clock = TimedTransition(TimedKind.CLOSED, TICKER, "KXA-1", at(-6))
    await TimedStore(pool).note([], NOW)
    await connection.execute(
        "INSERT INTO market_lifecycle_events (market_ticker, event_type, metadata, dedupe_key)"
        """ VALUES (%s, 'closed', '{"source": "clock"}', %s)""",
        (TICKER, clock.dedupe_key),
    )
    keeper = backfill(pool)
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
    await backfill(pool).write(found(SETTLED))
    [row] = [row for row in await rows(connection) if row["event_type"] == "determined"]
    assert (row["result"], row["metadata"]["msg"]["result"]) == ("yes", "yes")


async def test_a_pause_gets_a_row_where_the_last_row_says_otherwise(
    pool: Pool, connection: Connection
) -> None:
    keeper = backfill(pool)
    trading, paused = (market(word, exchange_updated_at=at(-1)) for word in ("active", "inactive"))
    assert await keeper.write(found(trading)) == 0
    assert await keeper.write(found(paused)) == 1
    assert await keeper.write(found(paused)) == 0
    await connection.execute("DELETE FROM market_lifecycle_events")
    await message(connection, "activated", -3)
    await message(connection, "deactivated", -4)
    assert await keeper.write(found(trading)) == 0
    await message(connection, "deactivated", -2)
    assert await keeper.write(found(trading)) == 1


async def test_a_series_that_is_not_followed_gets_no_rows(
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
    assert await backfill(pool, path).write(found(SETTLED)) == 0
    path.write_text("include: {series: [KXA]}")
    assert await backfill(pool, path).write(found(SETTLED)) == 5


async def test_a_message_that_comes_after_all_takes_the_rows_place(
    pool: Pool, connection: Connection
) -> None:
    """A standby heard what the leader missed and found over REST, and takes over."""
    await connection.execute("INSERT INTO series (ticker) VALUES ('KXA')")
    await connection.execute(
        "INSERT INTO events (event_ticker, series_ticker) VALUES ('KXA-1', 'KXA')"
    )
    await backfill(pool).write(found(SETTLED))
    before = await rows(connection)
    sent_at = datetime.now(UTC) - timedelta(seconds=20)
    body = {"market_ticker": TICKER, "event_type": "settled", "settled_ts": 1}
    raw = msgspec.json.encode({"type": MARKET_CHANNEL, "msg": body})
    late = parse_message(wire.Message(MARKET_CHANNEL, 1, 9, sent_at, body, raw, sent_at))
    store = MessageStore(pool)
    outcome = await store.record([late, late], datetime.now(UTC))
    assert (outcome.stored, outcome.duplicates) == (1, 1)
    assert (await store.record([late], datetime.now(UTC))).stored == 0
    after = await rows(connection)
    assert [row["event_type"] for row in after] == [row["event_type"] for row in before]
    assert after[:4] == before[:4]
    assert (after[4]["sent_at"], after[4]["metadata"]["msg"]) == (sent_at, body)
    # The next settlement, whenever it is, is another one.
    again = parse_message(wire.Message(MARKET_CHANNEL, 1, 10, NOW, body, raw, NOW))
    assert (await store.record([again], datetime.now(UTC))).stored == 1
    assert len(await rows(connection)) == 6


async def test_rows_wait_for_the_messages_that_are_on_their_way(
    pool: Pool, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REST is asked, the message arrives, and only then it is recorded."""
    monkeypatch.setattr(module, "GRACE", timedelta(0))
    findings = found(market("inactive", exchange_updated_at=at(-1)))
    inbox, arrived = waiting(findings.asked_at)
    async with asyncio.TaskGroup() as tasks:
        runtime = Runtime(Health("test"), tasks)
        filling = backfill(pool, inbox=inbox)
        await inbox.put(arrived)
        completing = tasks.create_task(filling.complete(runtime, findings))
        await message(connection, "deactivated", -1)
        assert inbox.take_now(1) == [arrived]
        assert not completing.done()
        inbox.done()
        assert await completing
        assert len(await rows(connection)) == 1
        runtime.stop.set()
        await inbox.put(arrived)
        assert not await filling.complete(runtime, findings)


async def test_a_gap_stays_open_until_what_was_found_has_its_rows(
    pool: Pool, sessions: Sessions, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who ends before leaves the gap to the next one."""
    monkeypatch.setattr(module, "GRACE", timedelta(0))
    gaps = Gaps(pool)
    inbox, arrived = waiting(SINCE)
    await inbox.put(arrived)
    page = {"markets": [], "events": [], "cursor": ""}
    async with serving(page) as url, KalshiRest(url) as rest, asyncio.TaskGroup() as tasks:
        runtime = Runtime(Health("test"), tasks)
        filling = backfill(pool, inbox=inbox)
        repairer = Repairer(gaps, rest, RestUpserter(sessions, rest), filling)
        await gaps.lead(runtime)
        await gaps.add(runtime, "closed", SINCE, NOW)
        repairing = tasks.create_task(repairer.run(runtime))
        closing = tasks.create_task(repairer.close(runtime))
        while not runtime.health.ready:  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0.01)
        assert len(await gaps.unrepaired()) == 1
        inbox.take_now(1)
        inbox.done()
        while await gaps.unrepaired():  # noqa: ASYNC110 - nothing tells it
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
