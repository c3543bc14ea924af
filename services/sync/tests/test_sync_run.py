"""Runs on a real PostgreSQL against the simulator: the tables become the exchange's truth."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from history_witness import without_months
from sync_truth import EVENT, MARKET, OWN, SERIES, Raw, assert_truth

from ssmd_common.exitcodes import ExitCode
from ssmd_common.models import Event, Market, Series
from ssmd_simulator.control import ScriptedMarket
from ssmd_simulator.faults import Fault
from ssmd_simulator.server import Simulator
from ssmd_store.observed import seen
from ssmd_store.pages import Store
from ssmd_sync import batch_writer, fetch, metrics, retention
from ssmd_sync.missing import Answer, Missing
from ssmd_sync.scope import Mode

OLD = datetime(2026, 1, 1, tzinfo=UTC)


def test_every_column_has_an_expectation() -> None:
    assert MARKET.keys() | OWN == set(Market.columns())
    assert EVENT.keys() == set(Event.columns())
    assert SERIES.keys() == set(Series.columns())


async def test_a_full_run_makes_the_tables_the_exchanges_truth_and_a_second_writes_nothing(
    store: Store, small_exchange: Any, new_sync: Any
) -> None:
    sync = new_sync(store, small_exchange.url)
    report = await sync()
    assert report.outcome == "ok"
    # How many there are depends on the hour; the exchange itself says that below.
    assert report.total("inserted") > 1000
    await assert_truth(sync, small_exchange)
    before = await sync.tuples_written()
    for mode in (Mode.FULL, Mode.INCREMENTAL, Mode.ACTIVE, Mode.WINDOWS, Mode.FEES):
        again = await sync(mode)
        assert again.outcome == "ok"
        assert again.total("unchanged") > 0
    assert await sync.tuples_written() == before
    [run] = await sync.rows("SELECT * FROM sync_runs ORDER BY id LIMIT 1")
    assert (run["outcome"], run["inserted"]) == ("ok", report.total("inserted"))
    assert run["requests"] == report.requests > 0
    assert run["tokens"] == 10 * report.requests
    assert run["finished_at"] >= run["started_at"]


async def test_a_run_that_changes_nothing_writes_no_wal_to_speak_of(
    private_postgres: Any, small_exchange: Any, new_sync: Any
) -> None:
    """Hint bits of fresh pages aside, which VACUUM and CHECKPOINT get over with."""

    async def wal(connection: Any) -> int:
        query = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
        row = await (await connection.execute(query)).fetchone()
        return int(row[0])

    async with await psycopg.AsyncConnection.connect(
        private_postgres.url, autocommit=True
    ) as connection:
        sync = new_sync(await Store.on(connection), small_exchange.url)
        await sync()
        found = (await sync()).total("unchanged")
        assert found > 1000
        await connection.execute("VACUUM")
        async with await psycopg.AsyncConnection.connect(
            private_postgres.admin_url, autocommit=True
        ) as admin:
            await admin.execute("CHECKPOINT")
        for name in ("first", "second", "third"):
            await connection.execute(
                "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,)
            )
            before = await wal(connection)
            report = await sync()
            if not report.total("updated"):
                break
            # At a full hour markets close, whatever the exchange's clock does.
        assert report.total("unchanged") + report.total("updated") >= found - 100
        assert await wal(connection) - before <= 64 * 1024
        # And nothing of it is for the change stream.
        messages = await connection.execute(
            "SELECT 1 FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL,"
            " 'proto_version', '1', 'publication_names', 'secmaster_cdc')",
            (name,),
        )
        assert await messages.fetchall() == []


async def test_a_market_keeps_what_has_no_column_and_leaves_quotes_out(
    sync: Any, exchange: Any
) -> None:
    market = exchange.market()
    ticker = market.ticker
    exchange.simulator.exchange.edit(market, {"brand_new_field": {"a": [1]}}, 1.0)
    await sync()
    raw = (await exchange.markets())[ticker]
    [row] = await sync.rows("SELECT * FROM markets WHERE ticker = %s", ticker)
    assert row["extra"]["brand_new_field"] == {"a": [1]}
    assert row["extra"]["rules_secondary"] == raw["rules_secondary"]
    assert not [name for name in row["extra"] if "bid" in name or "ask" in name]
    assert row["observed_via"] == "rest"
    assert row["observed_at"] <= datetime.now(UTC)


async def test_watermarks_move_with_the_last_batch(
    sync: Any, exchange: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its transaction: a process that dies before it reads that batch again."""
    batches: list[tuple[int, int]] = []
    write = Store.write_markets

    async def watched(self: Store, rows: Any, then: Any = None) -> Any:
        batches.append((len(rows), then is not None))
        return await write(self, rows, then)

    monkeypatch.setattr(Store, "write_markets", watched)
    monkeypatch.setattr(batch_writer, "BATCH_ROWS", 100)
    await sync()
    # Those of it whose events were not known are written after their events, and count as it.
    marked = [batch for batch in batches if batch[1]]
    assert batches[-len(marked) :] == marked
    assert all(rows for rows, _ in marked)
    assert len(marked) <= 2
    assert max(rows for rows, _ in batches) == 100


async def test_incremental_reads_little(sync: Any, exchange: Any) -> None:
    await sync()
    market = exchange.market()
    exchange.simulator.exchange.edit(market, {"title": "New"}, exchange.simulator.clock())
    report = await sync(Mode.INCREMENTAL)
    assert report.requests == 3
    assert (report.total("updated"), report.total("inserted")) == (1, 0)
    assert report.fetched["markets"] < 200


async def vanish(exchange: Any, count: int) -> list[str]:
    markets = [m for m in exchange.simulator.universe.unsettled if not m.event.multivariate]
    chosen = markets[:count]
    for market in chosen:
        exchange.simulator.exchange.vanish(market)
    return [market.ticker for market in chosen]


async def test_what_disappears_is_soft_deleted_and_comes_back(sync: Any, exchange: Any) -> None:
    await sync()
    market = exchange.market()
    exchange.simulator.exchange.vanish(market)
    # Only a complete scan may conclude anything from absence.
    await sync(Mode.ACTIVE)
    await sync(Mode.INCREMENTAL)
    assert not await sync.rows("SELECT 1 FROM markets WHERE deleted_at IS NOT NULL")
    report = await sync()
    assert (report.outcome, report.total("deleted")) == ("ok", 1)
    [row] = await sync.rows("SELECT * FROM markets WHERE deleted_at IS NOT NULL")
    assert row["ticker"] == market.ticker
    await assert_truth(sync, exchange)
    assert (await sync()).total("deleted") == 0

    exchange.simulator.universe.add_market(market, exchange.simulator.clock())
    await sync()
    assert not await sync.rows("SELECT 1 FROM markets WHERE deleted_at IS NOT NULL")
    await assert_truth(sync, exchange)


async def test_a_mass_disappearance_is_refused(sync: Any, exchange: Any) -> None:
    await sync()
    gone = set(await vanish(exchange, 60))
    report = await sync()
    assert report.outcome == "refused"
    assert report.exit_code is ExitCode.PARTIAL
    assert "60 of" in report.sentence
    assert "nothing was deleted" in report.sentence
    assert not await sync.rows("SELECT 1 FROM markets WHERE deleted_at IS NOT NULL")
    [run] = await sync.rows("SELECT * FROM sync_runs ORDER BY id DESC LIMIT 1")
    assert (run["outcome"], run["deleted"], run["error"]) == ("refused", 0, report.sentence)
    assert len(gone) == 60
    sync.deletable_share = 0.5
    assert (await sync()).outcome == "ok"
    deleted = await sync.rows("SELECT ticker FROM markets WHERE deleted_at IS NOT NULL")
    assert {row["ticker"] for row in deleted} == gone


async def test_settled_and_historical_markets_are_never_deleted_for_absence(
    store: Store, new_sync: Any, new_exchange: Any
) -> None:
    settings = {"tempo": None, "budget": 0, "historical_after": 0.0}
    async with Simulator("small", **settings) as simulator:
        exchange = new_exchange(simulator)
        exchange.thin(10)
        sync = new_sync(store, exchange.url)
        await sync()
        now = simulator.clock()
        forgotten, moved = (m for m in simulator.universe.unsettled[:2])
        for market in (forgotten, moved):
            simulator.exchange.determine(market, "yes", float("inf"), now)
            simulator.exchange.settle(market, now)
        # One settles and moves to the other tier while nobody looks.
        report = await sync()
        assert (report.outcome, report.total("deleted")) == ("ok", 0)
        # And one is forgotten altogether afterwards.
        simulator.exchange.vanish(forgotten)
        report = await sync()
        assert (report.outcome, report.total("deleted")) == ("ok", 0)
        rows = await sync.rows(
            "SELECT status, deleted_at FROM markets WHERE ticker IN (%s, %s)",
            forgotten.ticker,
            moved.ticker,
        )
        assert rows == [{"status": "settled", "deleted_at": None}] * 2


async def test_a_series_that_is_not_listed_any_more_becomes_inactive(
    sync: Any, exchange: Any
) -> None:
    universe, does = exchange.simulator.universe, exchange.simulator.exchange
    does.put_series("KXBRIEF", {"title": "Brief"}, exchange.simulator.clock())
    await sync()
    series = universe.series.pop("KXBRIEF")
    await sync()
    [row] = await sync.rows("SELECT active FROM series WHERE ticker = 'KXBRIEF'")
    assert not row["active"]
    universe.series["KXBRIEF"] = series
    await sync(Mode.SERIES)
    [row] = await sync.rows("SELECT active FROM series WHERE ticker = 'KXBRIEF'")
    assert row["active"]


@pytest.mark.parametrize(
    "kind", ["garbage", "truncated", "html", "empty", "reset", "error", "storm"]
)
async def test_a_page_that_cannot_be_read_fails_the_run_and_loses_nothing(
    sync: Any, exchange: Any, kind: str
) -> None:
    sync.policy = type(sync.policy)(
        attempts=2, throttled_attempts=2, base_seconds=0.01, total_seconds=60
    )
    fault = exchange.simulator.faults.start(Fault(kind, path="/events", after=2))  # type: ignore[arg-type]
    report = await sync()
    assert report.outcome == "failed"
    assert report.exit_code is ExitCode.UPSTREAM
    assert "events" in report.error
    [run] = await sync.rows("SELECT * FROM sync_runs")
    assert (run["outcome"], run["error"]) == ("failed", report.error)
    # What came before the bad page is there; no watermark says that it was all.
    assert report.written["events"].inserted > 0
    assert not await sync.rows("SELECT * FROM sync_watermarks")
    assert not await sync.rows("SELECT 1 FROM markets WHERE deleted_at IS NOT NULL")

    exchange.simulator.faults.clear(fault.id)
    assert (await sync(Mode.INCREMENTAL)).outcome == "ok"
    await assert_truth(sync, exchange)


@pytest.mark.parametrize("kind", ["garbage", "truncated", "reset", "error", "storm", "empty"])
async def test_a_fault_that_passes_is_not_noticed(sync: Any, exchange: Any, kind: str) -> None:
    exchange.simulator.faults.start(Fault(kind, after=1, times=1))  # type: ignore[arg-type]
    assert (await sync()).outcome == "ok"
    await assert_truth(sync, exchange)


async def test_an_exchange_that_restarts_in_the_middle_is_survived(
    store: Store, new_sync: Any, new_exchange: Any
) -> None:
    settings = {"tempo": None, "budget": 0, "anchor": 1_795_000_000.0}
    async with Simulator("tiny", **settings) as first:
        port = first.port
        sync = new_sync(store, first.base_url)
        sync.policy = type(sync.policy)(attempts=1)
        fault = first.faults.start(Fault("hang", path="/events", after=2, seconds=600))
        run = asyncio.create_task(sync())
        while not fault.hits:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    report = await run
    assert report.outcome == "failed"
    async with Simulator("tiny", port=port, **settings) as second:
        assert (await sync()).outcome == "ok"
        await assert_truth(sync, new_exchange(second))


async def test_an_old_copy_of_a_market_overwrites_nothing(sync: Any, exchange: Any) -> None:
    """Some cache of the exchange answers with what was true before."""
    await sync()
    now = exchange.simulator.clock()
    does = exchange.simulator.exchange
    market = exchange.market()
    does.determine(market, "yes", float("inf"), now)
    does.settle(market, now)
    await sync(Mode.WINDOWS)
    await sync(Mode.INCREMENTAL)

    async def row() -> Raw:
        [found] = await sync.rows("SELECT * FROM markets WHERE ticker = %s", market.ticker)
        return dict(found)

    before = await row()
    assert before["status"] == "settled"
    exchange.simulator.faults.start(Fault("flip", ticker=market.ticker, seconds=3600))
    assert (await exchange.markets())[market.ticker]["status"] == "active"
    for mode in (Mode.INCREMENTAL, Mode.ACTIVE, Mode.FULL):
        await sync(mode)
        assert await row() == before


async def test_an_unreadable_field_costs_itself_and_is_said(sync: Any, exchange: Any) -> None:
    """Of a row that is stored it keeps the value, of a new one it is NULL; the run is ok."""
    alive = [m for m in exchange.simulator.universe.unsettled if not m.event.multivariate]
    does, now = exchange.simulator.exchange, exchange.simulator.clock()
    new, stored = alive[:2]
    does.edit(new, {"title": 5}, now)
    await sync()
    title = (await exchange.markets())[stored.ticker]["title"]
    does.edit(stored, {"title": ["a"], "rules_primary": "New rules", "floor_strike": "much"}, now)
    report = await sync()
    assert (report.outcome, report.exit_code) == ("ok", ExitCode.OK)
    [run] = await sync.rows("SELECT * FROM sync_runs ORDER BY id DESC LIMIT 1")
    named = {(row["table"], row["ticker"], row["field"]) for row in run["rejected_fields"]}
    assert named == {
        ("markets", new.ticker, "title"),
        ("markets", stored.ticker, "title"),
        ("markets", stored.ticker, "floor_strike"),
    }
    assert all(row["reason"] for row in run["rejected_fields"])
    assert (run["rejected_rows"], run["unread"]) == ([], [])
    [row] = await sync.rows("SELECT * FROM markets WHERE ticker = %s", new.ticker)
    assert (row["title"], row["extra"]["title"]) == (None, 5)
    [row] = await sync.rows("SELECT * FROM markets WHERE ticker = %s", stored.ticker)
    assert (row["title"], row["rules_primary"]) == (title, "New rules")
    before = await sync.tuples_written()
    assert (await sync()).rejected_count == 3
    assert await sync.tuples_written() == before
    does.edit(new, {"title": "Good again"}, now)
    does.edit(stored, {"title": "Good again", "floor_strike": None}, now)
    assert (await sync()).rejected_count == 0
    await assert_truth(sync, exchange)


async def test_a_market_inside_its_event_needs_no_word_of_its_own(sync: Any, exchange: Any) -> None:
    market = exchange.market()
    event = market.event.ticker
    exchange.simulator.exchange.edit(market, {"event_ticker": 5}, exchange.simulator.clock())
    report = await sync()
    assert (report.outcome, report.rejected_count) == ("ok", 1)
    [row] = await sync.rows("SELECT * FROM markets WHERE ticker = %s", market.ticker)
    assert row["event_ticker"] == event
    before = await sync.tuples_written()
    assert (await sync()).outcome == "ok"
    assert await sync.tuples_written() == before


async def test_absence_says_nothing_while_a_page_is_not_complete(sync: Any, exchange: Any) -> None:
    await sync()
    await vanish(exchange, 1)
    broken = exchange.market()
    exchange.simulator.exchange.edit(broken, {"ticker": 5}, exchange.simulator.clock())
    report = await sync()
    assert (report.outcome, report.total("deleted")) == ("partial", 0)
    assert "nothing is taken for deleted" in report.sentence
    # A row that is unreadable but for its ticker is there, and so the scan is complete.
    edits = {"ticker": broken.ticker, "title": 5}
    exchange.simulator.exchange.edit(broken, edits, exchange.simulator.clock())
    report = await sync()
    assert (report.outcome, report.total("deleted")) == ("ok", 1)


async def test_a_short_page_proves_nothing_and_moves_no_watermark(
    sync: Any, exchange: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client asked again, and the page still had fewer rows than it should."""
    await sync()
    marks = await sync.rows("SELECT * FROM sync_watermarks")
    await vanish(exchange, 1)
    read = fetch.event_rows

    def short(page: Any, asked_at: datetime) -> Any:
        return read(page.marked_short(), asked_at)

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "event_rows", short)
        report = await sync()
    assert (report.outcome, report.total("deleted")) == ("partial", 0)
    assert "shorter than asked for" in report.sentence
    assert await sync.rows("SELECT * FROM sync_watermarks") == marks
    assert (await sync()).total("deleted") == 1


async def test_only_a_word_from_the_exchange_is_believed(
    sync: Any, exchange: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of tickers that was cut short is no word: each is confirmed by a 404 of its own."""
    await sync()
    [gone] = await vanish(exchange, 1)
    there = exchange.market().ticker

    async def cut_short(self: Any, tickers: Any) -> Any:
        yield Answer([], sorted({*tickers, there}))

    monkeypatch.setattr(Missing, "markets", cut_short)
    await sync()
    rows = await sync.rows("SELECT ticker FROM markets WHERE deleted_at IS NOT NULL")
    assert [row["ticker"] for row in rows] == [gone]


async def test_markets_of_unknown_events_bring_their_events(sync: Any, exchange: Any) -> None:
    """A list of markets shows them before any list of events was read."""
    await sync()
    order = ScriptedMarket(series="KXBRANDNEW", count=3, close_in=0, determine_in=1, settle_in=1)
    [market, *_] = exchange.simulator.control.script(order)
    for each in market.event.markets:
        exchange.simulator.exchange.settle(each, exchange.simulator.clock())
    report = await sync(Mode.WINDOWS)
    assert report.outcome == "ok"
    found = await sync.rows("SELECT * FROM markets WHERE series_ticker = 'KXBRANDNEW'")
    assert {row["event_ticker"] for row in found} == {market.event.ticker}
    assert len(found) == 3
    [stub] = await sync.rows("SELECT * FROM series WHERE ticker = 'KXBRANDNEW'")
    assert stub["title"] is None
    await sync()
    await assert_truth(sync, exchange)


async def test_an_event_that_the_exchange_does_not_know_yet_becomes_a_stub(
    sync: Any, exchange: Any
) -> None:
    """Its markets have a place at once, and the next pass completes it, series and all."""
    await sync()
    market = exchange.market()
    ticker, universe = market.event.ticker, exchange.simulator.universe
    await sync.rows("DELETE FROM markets WHERE event_ticker = %s RETURNING 1", ticker)
    await sync.rows("DELETE FROM events WHERE event_ticker = %s RETURNING 1", ticker)
    event = universe.events.pop(ticker)
    universe.event_order.remove(event)
    exchange.simulator.exchange.edit(market, {"title": "Early"}, exchange.simulator.clock())
    assert (await sync(Mode.INCREMENTAL)).outcome == "ok"
    [stub] = await sync.rows("SELECT * FROM events WHERE event_ticker = %s", ticker)
    assert stub["title"] is None
    [row] = await sync.rows("SELECT title FROM markets WHERE ticker = %s", market.ticker)
    assert row["title"] == "Early"
    universe.events[ticker] = event
    universe.event_order.append(event)
    await sync()
    await assert_truth(sync, exchange)


async def test_multivariate_markets_are_not_taken_for_deleted(sync: Any, exchange: Any) -> None:
    """No listing shows them unless it is asked to."""
    await sync()
    await sync.store.write_events(seen([Event(event_ticker="KXMVE-1", series_ticker="KXMVE")], OLD))
    market = Market(
        ticker="KXMVE-1-A", event_ticker="KXMVE-1", series_ticker="KXMVE", status="active",
        mve_collection_ticker="KXMVE-1", observed_at=OLD,
    )  # fmt: skip
    await sync.store.write_markets([market])
    await sync()
    assert not await sync.rows("SELECT 1 FROM markets WHERE deleted_at IS NOT NULL")
    assert not await sync.rows("SELECT 1 FROM events WHERE deleted_at IS NOT NULL")


async def test_scopes_write_only_what_they_select(sync: Any, exchange: Any) -> None:
    series = await exchange.series()
    crypto = {t for t, s in series.items() if s["category"] == "Crypto"}
    for options in ({"categories": ("Crypto",)}, {"categories": ("Crypto",), "by_series": True}):
        report = await sync(**options)
        assert report.outcome == "ok"
        assert {row["ticker"] for row in await sync.rows("SELECT ticker FROM series")} == crypto
        found = await sync.rows("SELECT DISTINCT series_ticker AS t FROM markets")
        assert {row["t"] for row in found} <= crypto
    raw = {t: m for t, m in (await exchange.markets()).items() if m["series_ticker"] in crypto}
    found = await sync.rows("SELECT ticker FROM markets")
    live = {t for t, m in raw.items() if m["status"] != "finalized"}
    assert live <= {row["ticker"] for row in found} <= raw.keys()


async def test_a_scoped_run_deletes_nothing_outside_its_scope(sync: Any, exchange: Any) -> None:
    await sync()
    [ticker] = await vanish(exchange, 1)
    [row] = await sync.rows(
        "SELECT s.category FROM series s JOIN markets m ON m.series_ticker = s.ticker"
        " WHERE m.ticker = %s",
        ticker,
    )
    other = "Crypto" if row["category"] != "Crypto" else "World"
    assert (await sync(categories=(other,))).total("deleted") == 0
    assert (await sync(categories=(row["category"],))).total("deleted") == 1


async def test_minimum_volume_compares_the_series_volume(sync: Any, exchange: Any) -> None:
    series = await exchange.series()
    volumes = {t: Decimal(str(s["volume_fp"])) for t, s in series.items() if s.get("volume_fp")}
    limit = int(sorted(volumes.values())[len(volumes) // 2])
    await sync(min_volume=limit)
    found = {row["ticker"] for row in await sync.rows("SELECT ticker FROM series")}
    assert found == {t for t, v in volumes.items() if int(v) >= limit}
    assert 0 < len(found) < len(series)


async def test_the_fee_schedule_follows_the_announcements(sync: Any, exchange: Any) -> None:
    await sync()
    now = exchange.simulator.clock()
    ticker = next(t for t, s in exchange.simulator.universe.series.items() if not s.fee_changes)
    before = await sync.rows("SELECT * FROM series_fees WHERE series_ticker = %s", ticker)
    assert [row["source_id"] for row in before] == ["seed"]
    exchange.simulator.exchange.put_series(ticker, {"fee_multiplier": 0.5}, now)
    await sync(Mode.FEES)
    after = await sync.rows(
        "SELECT * FROM series_fees WHERE series_ticker = %s ORDER BY effective_from", ticker
    )
    assert [row["fee_multiplier"] for row in after] == [before[0]["fee_multiplier"], Decimal("0.5")]
    assert after[0]["effective_to"] == after[1]["effective_from"]
    assert abs(after[1]["effective_from"] - datetime.fromtimestamp(now, UTC)) < timedelta(seconds=2)
    overlaps = await sync.rows(
        "SELECT 1 FROM series_fees a JOIN series_fees b ON a.series_ticker = b.series_ticker"
        " AND a.effective_from < b.effective_from"
        " AND (a.effective_to IS NULL OR a.effective_to > b.effective_from)"
    )
    assert not overlaps


async def test_a_fee_run_reads_the_events_whose_override_changed(sync: Any, exchange: Any) -> None:
    """Made, changed, cleared: the list of changes says where to look, the event what holds."""
    await sync()
    event, does = exchange.market().event, exchange.simulator.exchange
    for fee in (("quadratic", 0.5), ("quadratic", 0.25), None):
        does.override_fee(event, fee, exchange.simulator.clock())
        report = await sync(Mode.FEES)
        assert (report.outcome, report.total("updated")) == ("ok", 1)
        assert report.requests == 4
        [row] = await sync.rows("SELECT * FROM events WHERE event_ticker = %s", event.ticker)
        found = (row["fee_type_override"], row["fee_multiplier_override"])
        assert found == (fee or (None, None))
        again = await sync(Mode.FEES)
        assert (again.requests, again.total("updated")) == (3, 0)


async def test_a_full_run_leaves_what_it_cannot_see_to_updates(sync: Any, exchange: Any) -> None:
    """What is edited after it settled stands in no list but that of the updates."""
    await sync()
    now, does = exchange.simulator.clock(), exchange.simulator.exchange
    event = next(e for e in exchange.simulator.universe.event_order if len(e.markets) == 1)
    [market] = event.markets
    if market.status(now) != "finalized":
        does.determine(market, "yes", float("inf"), now)
        does.settle(market, now)
        await sync()
    # Half an hour ago, while updates had last been read an hour ago; others changed since.
    await sync.rows("UPDATE sync_watermarks SET watermark = watermark - interval '1 h' RETURNING 1")
    does.edit_event(event, {"title": "Afterwards"}, now - 1800)
    does.edit_event(exchange.market().event, {"title": "Just now"}, now)
    for mode in (Mode.FULL, Mode.INCREMENTAL):
        assert (await sync(mode)).outcome == "ok"
    [row] = await sync.rows("SELECT title FROM events WHERE event_ticker = %s", event.ticker)
    assert row["title"] == "Afterwards"


async def test_an_incremental_run_without_a_past_is_a_full_one(sync: Any, exchange: Any) -> None:
    assert (await sync(Mode.INCREMENTAL)).outcome == "ok"
    await assert_truth(sync, exchange)


async def test_history_is_maintained(
    sync: Any, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PATIENCE", timedelta(0))
    keep = retention.Retention(30, 90)
    async with database.connect() as reader:
        await without_months(reader)
        await reader.execute("BEGIN")
        await reader.execute("SELECT FROM history.commits")
        # As long as it is in use it waits, and nothing else does.
        metrics.HISTORY_MAINTAINED.set(1)
        assert await keep(sync.store) == retention.BUSY_SECONDS
    assert metrics.HISTORY_MAINTAINED.collect()[0].samples[0].value == 1
    assert await keep(sync.store) == retention.ROUND_SECONDS
    assert metrics.HISTORY_MAINTAINED.collect()[0].samples[0].value > 1
    months = (
        "SELECT count(*) AS made FROM pg_inherits WHERE inhparent = 'history.markets'::regclass"
    )
    [row] = await sync.rows(months)
    assert row["made"] == 3
    assert metrics.HISTORY_BYTES.collect()[0].samples[0].value > 0


async def test_old_runs_expire_but_for_the_last_and_the_last_success(sync: Any) -> None:
    await sync.rows(
        "INSERT INTO sync_runs (job, scope, started_at, finished_at, outcome)"
        " SELECT job, '{}', now() - interval '1 day' * age, now(), outcome"
        " FROM (VALUES ('a', 50, 'ok'), ('a', 40, 'ok'), ('a', 35, 'failed'), ('a', 33, 'partial'),"
        "              ('a', 5, 'failed'), ('b', 90, 'failed'), ('b', 80, 'running'))"
        " AS old(job, age, outcome) RETURNING 1"
    )
    assert await retention.expire(sync.store, 30) == 4
    rows = await sync.rows("SELECT job, outcome FROM sync_runs ORDER BY job, started_at")
    assert [(row["job"], row["outcome"]) for row in rows] == [
        ("a", "ok"), ("a", "failed"), ("b", "running"),
    ]  # fmt: skip
    await sync.rows(
        "INSERT INTO sync_runs (job, scope, started_at, outcome)"
        " SELECT 'c', '{}', now() - interval '31 days' + interval '1 s' * n, 'ok'"
        " FROM generate_series(1, %s) n RETURNING 1",
        2 * retention.BATCH_ROWS + 5,
    )
    assert await retention.expire(sync.store, 30) == 2 * retention.BATCH_ROWS + 4
