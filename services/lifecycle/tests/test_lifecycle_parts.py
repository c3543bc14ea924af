"""The small parts: the series filter, the inbox, the measure of silence."""

import asyncio
import gc
import zoneinfo
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
import structlog
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.errors import ConfigurationError
from ssmd_common.health import Health
from ssmd_common.runtime import Runtime
from ssmd_kalshi.feed import Message
from ssmd_lifecycle import metrics, retention
from ssmd_lifecycle.feed import silence_watch
from ssmd_lifecycle.feed.gaps import Gaps
from ssmd_lifecycle.feed.inbox import Inbox
from ssmd_lifecycle.feed.messages import LifecycleMessage
from ssmd_lifecycle.feed.parser import parse_message
from ssmd_lifecycle.feed.silence import Silence, is_maintenance
from ssmd_lifecycle.filter import EVERYTHING, FilterFile, parse
from ssmd_lifecycle.liveness import is_alive
from ssmd_lifecycle.side_tasks import SideTasks
from ssmd_lifecycle.transactions import Pool
from ssmd_simulator import maintenance
from ssmd_stack.database import Database

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
NEW_YORK = "America/New_York"


def message(number: int, at: datetime = NOW) -> LifecycleMessage:
    body = {"market_ticker": f"KXA-{number}", "event_type": "activated"}
    return parse_message(Message("market_lifecycle_v2", 1, number, at, body, b"{}", at))


# --- the filter -----------------------------------------------------------------------------------


def test_include_and_exclude_by_series_and_category() -> None:
    chosen = parse(
        "include: {series: [KXBTCD, 'KXNFL*'], categories: [Crypto]}\n"
        "exclude: {series: [KXBTC15M]}",
        "x",
    )
    assert chosen.passes("KXBTCD", "Financials")
    assert chosen.passes("KXNFLGAME", "Sports")
    assert chosen.passes("KXETHD", "Crypto")
    assert not chosen.passes("KXBTC15M", "Crypto")
    assert not chosen.passes("KXHIGHNY", "Climate and Weather")
    assert chosen.passes(None, None)
    assert parse("exclude: {categories: [Sports]}", "x").passes("KXHIGHNY", "Climate and Weather")
    assert parse("", "x") == EVERYTHING


@pytest.mark.parametrize("text", ["include: [KXA]", "includes: {}", "include: {series: 5}", "a: ["])
def test_a_wrong_filter_is_refused_with_its_form(text: str) -> None:
    with pytest.raises(ConfigurationError, match="include and exclude"):
        parse(text, "filter.yaml")


def test_the_filter_follows_its_file_and_survives_a_wrong_one(tmp_path: Path) -> None:
    path = tmp_path / "filter.yaml"
    path.write_text("include: {series: [KXA]}")
    follower = FilterFile(path)
    follower.load()
    assert not follower.current.passes("KXB", None)
    path.write_text("include: {series: [KXA, KXB]}")
    follower.refresh()
    assert follower.current.passes("KXB", None)
    path.write_text("include: [")
    follower.refresh()
    assert follower.current.passes("KXB", None)
    path.unlink()
    follower.refresh()
    assert follower.current.passes("KXB", None)
    with pytest.raises(ConfigurationError, match="LIFECYCLE_FILTER_PATH"):
        FilterFile(path).load()


# --- the inbox ------------------------------------------------------------------------------------


async def test_on_standby_the_last_minute_is_remembered() -> None:
    inbox = Inbox(1000)
    for number in range(120):
        await inbox.put(message(number, NOW + timedelta(seconds=number)))
    remembered = inbox.lead()
    assert [m.seq for m in remembered] == list(range(59, 120))
    await inbox.put(message(120))
    assert [m.seq for m in await inbox.take(10)] == [120]


async def test_on_standby_memory_is_bounded() -> None:
    inbox = Inbox(10)
    for number in range(50):
        await inbox.put(message(number))
    assert [m.seq for m in inbox.lead()] == list(range(40, 50))


async def test_a_full_inbox_holds_the_socket_back() -> None:
    inbox = Inbox(2)
    inbox.lead()
    await inbox.put(message(1))
    await inbox.put(message(2))
    third = asyncio.create_task(inbox.put(message(3)))
    await asyncio.sleep(0)
    assert not third.done()
    assert [m.seq for m in await inbox.take(2)] == [1, 2]
    await third
    assert [m.seq for m in inbox.take_now(5)] == [3]
    assert inbox.take_now(5) == []


# --- silence --------------------------------------------------------------------------------------


def heard_for(hours: float, every_seconds: float) -> Silence:
    silence = Silence()
    for number in range(int(hours * 3600 / every_seconds)):
        silence.heard(NOW + timedelta(seconds=number * every_seconds))
    return silence


def test_the_alarm_follows_the_exchanges_own_rate() -> None:
    busy, slow = heard_for(2, 0.3), heard_for(2, 60)
    for silence, fine, alarming in ((busy, 50, 70), (slow, 600, 1200)):
        assert silence.last_at is not None
        assert not silence.is_suspicious(silence.last_at + timedelta(seconds=fine))
        assert silence.is_suspicious(silence.last_at + timedelta(seconds=alarming))


def test_without_a_rate_there_is_no_alarm() -> None:
    silence = Silence()
    assert not silence.is_suspicious(NOW)
    silence.heard(NOW)
    assert not silence.is_suspicious(NOW + timedelta(hours=5))


def test_maintenance_is_no_alarm() -> None:
    thursday = datetime(2026, 11, 19, 8, 30, tzinfo=UTC)
    assert is_maintenance(thursday)
    assert not is_maintenance(thursday + timedelta(hours=2))
    assert not is_maintenance(thursday + timedelta(days=1))
    silence = heard_for(1, 0.5)
    silence.last_at = thursday - timedelta(minutes=20)
    assert not silence.is_suspicious(thursday)


@pytest.mark.parametrize("machine", [None, ()], ids=["the-machine's-zones", "none-on-the-machine"])
def test_maintenance_keeps_new_yorks_summer_time(
    machine: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the simulator has it, which goes by the law; a small container has no time zones."""
    zoneinfo.reset_tzpath(to=machine)
    try:
        monkeypatch.setattr("ssmd_lifecycle.feed.silence.NEW_YORK", ZoneInfo.no_cache(NEW_YORK))
    finally:
        zoneinfo.reset_tzpath()
    year = [datetime(2027, 1, 1, tzinfo=UTC) + timedelta(minutes=30 * n) for n in range(48 * 365)]
    assert [at for at in year if is_maintenance(at) != maintenance.is_on(at.timestamp())] == []
    assert sum(map(is_maintenance, year)) == 52 * 4


async def test_each_silence_is_told_once(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    silence = heard_for(1, 0.5)
    verdicts = iter([False, True, True, False, True])
    looks: list[float] = []

    def is_suspicious(_: Silence, now: datetime) -> bool:
        looks.append(metrics.SILENT._value.get())
        return next(verdicts)

    async def pause(_: float) -> None:
        if len(looks) == 5:
            raise asyncio.CancelledError

    monkeypatch.setattr(Silence, "is_suspicious", is_suspicious)
    monkeypatch.setattr(asyncio, "sleep", pause)
    told: list[tuple[str, datetime | None]] = []

    class Told(Gaps):
        async def add(
            self, runtime: Runtime, reason: str, since: datetime | None, until: datetime
        ) -> None:
            told.append((reason, since))

    async with asyncio.TaskGroup() as tasks:
        with structlog.testing.capture_logs() as logs, pytest.raises(asyncio.CancelledError):
            await silence_watch.run(Runtime(Health("test"), tasks), silence, Told(pool))
    # A subscription may have died while the pings go on.
    assert told == [("silence", silence.last_at)] * 2
    assert [entry["log_level"] for entry in logs] == ["warning", "warning"]
    assert looks[1:] == [0, 1, 1, 0]
    assert metrics.SILENT._value.get() == 1


# --- retention ------------------------------------------------------------------------------------


async def test_expired_rows_go_in_small_batches_the_oldest_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 10)
    pool = await postgres.open_pool(SecretStr(database.url), "t", budget_seconds=30, max_size=1)
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO market_lifecycle_events (event_type, metadata, received_at, dedupe_key)"
            " SELECT 'settled', '{}', %s - n * interval '1 day', n::text"
            " FROM generate_series(1, 40) n",
            (NOW,),
        )
        before = NOW - timedelta(days=15, hours=1)
        for gone, oldest in ((10, 30), (10, 20), (5, 15), (0, 15)):
            assert await retention.expire(pool, before) == gone
            query = "SELECT max(dedupe_key::int) FROM market_lifecycle_events"
            assert await (await connection.execute(query)).fetchone() == (oldest,)
    await pool.close()


# --- liveness and gaps ----------------------------------------------------------------------------


def test_a_silent_exchange_is_alive_and_a_stuck_loop_is_not() -> None:
    assert is_alive(100.0, None, 105.0)
    assert is_alive(100.0, 103.0, 105.0)
    assert not is_alive(100.0, None, 140.0)
    assert not is_alive(139.0, 100.0, 140.0)


async def test_a_gap_in_the_maintenance_window_is_expected(pool: Pool) -> None:
    thursday = datetime(2026, 11, 19, 8, 30, tzinfo=UTC)
    gaps = Gaps(pool)
    async with asyncio.TaskGroup() as tasks:
        runtime = Runtime(Health("test"), tasks)
        # On standby it is the leader's to record.
        await gaps.add(runtime, "closed", NOW - timedelta(seconds=5), NOW)
        assert not runtime.health.conditions
        await gaps.lead(runtime)
        for reason, until in (("closed", thursday), ("closed", NOW), ("sequence", thursday)):
            await gaps.add(runtime, reason, until - timedelta(seconds=5), until)
    assert [gap.reason for gap in await gaps.unrepaired()] == ["maintenance", "closed", "sequence"]
    assert not runtime.health.ready


async def test_what_the_first_subscription_left_out_is_one_gap_of_who_leads(
    pool: Pool, connection: psycopg.AsyncConnection[Any]
) -> None:
    """Whether it is confirmed on standby or later, the gap begins at the last message stored."""
    heard = NOW - timedelta(minutes=5)
    await connection.execute(
        "INSERT INTO market_lifecycle_events (event_type, metadata, received_at, dedupe_key)"
        " VALUES ('settled', '{}', %s, 'a')",
        (heard,),
    )
    async with asyncio.TaskGroup() as tasks:
        runtime = Runtime(Health("test"), tasks)
        for subscribed_first in (True, False):
            gaps = Gaps(pool)
            if subscribed_first:
                await gaps.add(runtime, "start", None, NOW)
            await gaps.lead(runtime)
            if not subscribed_first:
                await gaps.add(runtime, "start", None, NOW)
            intervals = await gaps.take()
            assert {(gap.since, gap.reason) for gap in intervals} == {(heard, "start")}
            # The second takes up what the first one left unrepaired.
            assert len(intervals) == (1 if subscribed_first else 2)
            assert not runtime.health.ready
            gaps.repaired(runtime, intervals)
            assert runtime.health.ready


@pytest.mark.filterwarnings("error")
async def test_what_cannot_be_started_any_more_is_not_left_over() -> None:
    """The listener is refused while the others are being started."""

    async def refused() -> None:
        raise ConfigurationError("the key is not known")

    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.TaskGroup() as tasks:
            side = SideTasks(Runtime(Health("test"), tasks))
            side.start("listener", refused())
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                side.start("clock", asyncio.sleep(0))
    kinds = [type(error) for error in raised.value.exceptions]
    assert kinds == [ConfigurationError, RuntimeError]
    gc.collect()
