"""Multivariate markets: read where it is asked for, without quotes, never taken for deleted."""

from typing import Any

import pytest
from sync_truth import MARKET, QUOTES, Raw, assert_truth, expected

from ssmd_common.errors import ConfigurationError
from ssmd_simulator.control import ScriptedMarket
from ssmd_simulator.multivariate import GONE
from ssmd_sync import schedule
from ssmd_sync.scope import Mode

KEPT = {name: read for name, read in MARKET.items() if name not in (*QUOTES, "series_ticker")}
INCLUDE = {"multivariate": True}


async def listed(exchange: Any, **query: Any) -> dict[str, Raw]:
    found: dict[str, Raw] = await exchange.listed(
        "/markets", "markets", limit=1000, mve_filter="only", **query
    )
    return found


async def assert_multivariate_truth(sync: Any, exchange: Any) -> None:
    """Of all that is not settled: the rows, what links them, and no quotes."""
    raw = await listed(exchange)
    rows = await sync.rows(
        "SELECT m.*, e.mve_collection_ticker AS of_event, e.series_ticker AS of_its_event"
        " FROM markets m JOIN events e USING (event_ticker)"
        " WHERE m.mve_collection_ticker IS NOT NULL AND m.deleted_at IS NULL"
    )
    found = {row["ticker"]: row for row in rows}
    assert {t for t, m in raw.items() if m["status"] != "finalized"} <= found.keys() <= raw.keys()
    truth = expected({ticker: raw[ticker] for ticker in found}, KEPT)
    assert {t: {name: row[name] for name in KEPT} for t, row in found.items()} == truth
    for row in found.values():
        assert not [name for name in QUOTES if row[name] is not None], row["ticker"]
        assert row["of_event"] == row["mve_collection_ticker"]
        assert row["of_its_event"] == row["series_ticker"]
        # The hierarchy is the exchange's: events are asked for by no listing, but it knows them.
        event = exchange.simulator.universe.events[row["event_ticker"]]
        assert row["series_ticker"] == event.series.ticker
    collections = await sync.rows("SELECT * FROM multivariate_collections")
    universe = exchange.simulator.universe
    assert {
        row["collection_ticker"]: (
            row["series_ticker"],
            [each["ticker"] for each in row["associated_events"]],
        )
        for row in collections
    } == {
        ticker: (each.series.ticker, list(each.events))
        for ticker, each in universe.collections.items()
        if each.events
    }


async def test_a_full_run_that_includes_them_makes_them_the_exchanges_truth(
    sync: Any, exchange: Any
) -> None:
    report = await sync(**INCLUDE)
    assert report.outcome == "ok"
    await assert_truth_of_the_others(sync, exchange)
    await assert_multivariate_truth(sync, exchange)
    legs = await sync.rows("SELECT mve_selected_legs AS legs FROM markets")
    named = {leg["market_ticker"] for row in legs for leg in row["legs"] or ()}
    # One that no listing has is kept, the others are there.
    assert GONE in named
    stored = {row["ticker"] for row in await sync.rows("SELECT ticker FROM markets")}
    assert named - stored == {GONE}

    before = await sync.tuples_written()
    for mode in (Mode.FULL, Mode.INCREMENTAL, Mode.WINDOWS):
        again = await sync(mode, **INCLUDE)
        assert again.outcome == "ok"
    # Quotes that moved would have been written.
    for market in exchange.simulator.universe.unsettled:
        if market.event.multivariate:
            market.trades += 1
            market.forget()
    assert (await sync(**INCLUDE)).outcome == "ok"
    assert await sync.tuples_written() == before


async def assert_truth_of_the_others(sync: Any, exchange: Any) -> None:
    rows = sync.rows

    async def without(query: str, *parameters: Any) -> Any:
        for table in ("markets", "events"):
            query = query.replace(
                f"FROM {table}",
                f"FROM (SELECT * FROM {table} WHERE mve_collection_ticker IS NULL) {table}",
            )
        return await rows(query, *parameters)

    sync.rows = without
    try:
        await assert_truth(sync, exchange)
    finally:
        sync.rows = rows


async def test_without_being_asked_none_is_read(sync: Any, exchange: Any) -> None:
    for mode in (Mode.FULL, Mode.INCREMENTAL, Mode.ACTIVE, Mode.WINDOWS):
        assert (await sync(mode)).outcome == "ok"
    assert not await sync.rows("SELECT 1 FROM markets WHERE mve_collection_ticker IS NOT NULL")
    assert not await sync.rows("SELECT 1 FROM events WHERE series_ticker LIKE 'KXMVE%%'")
    assert not await sync.rows("SELECT 1 FROM multivariate_collections")


def combination(exchange: Any, **script: Any) -> Any:
    legs = [m.ticker for m in exchange.simulator.universe.unsettled if not m.event.multivariate][:2]
    [market] = exchange.simulator.control.script(
        ScriptedMarket(series="KXMVETEST", multivariate=True, legs=legs, **script)
    )
    return market


async def test_an_incremental_run_reads_what_is_new_and_windows_what_is_over(
    sync: Any, exchange: Any
) -> None:
    await sync(**INCLUDE)
    market = combination(exchange, close_in=500)
    assert (await sync(Mode.INCREMENTAL)).outcome == "ok"
    assert not await sync.rows("SELECT 1 FROM markets WHERE ticker = %s", market.ticker)
    assert (await sync(Mode.INCREMENTAL, **INCLUDE)).outcome == "ok"
    await assert_multivariate_truth(sync, exchange)
    [row] = await sync.rows("SELECT * FROM markets WHERE ticker = %s", market.ticker)
    assert (row["series_ticker"], row["mve_collection_ticker"]) == ("KXMVETEST", "KXMVETEST-R")
    assert len(row["mve_selected_legs"]) == 2

    now = exchange.simulator.clock()
    exchange.simulator.exchange.determine(market, "yes", 0.0, now)
    exchange.simulator.exchange.settle(market, now)
    assert (await sync(Mode.WINDOWS)).outcome == "ok"
    [row] = await sync.rows("SELECT status FROM markets WHERE ticker = %s", market.ticker)
    assert row["status"] == "active"
    assert (await sync(Mode.WINDOWS, **INCLUDE)).outcome == "ok"
    [row] = await sync.rows("SELECT * FROM markets WHERE ticker = %s", market.ticker)
    assert (row["status"], row["result"]) == ("settled", "yes")
    [row] = await sync.rows("SELECT * FROM events WHERE event_ticker = %s", row["event_ticker"])
    assert (row["status"], row["mve_collection_ticker"]) == ("settled", "KXMVETEST-R")


async def test_what_is_stored_stays_when_they_are_left_out_again(sync: Any, exchange: Any) -> None:
    await sync(**INCLUDE)
    kept = await sync.rows("SELECT ticker, status FROM markets ORDER BY 1")
    for market in [m for m in exchange.simulator.universe.unsettled if m.event.multivariate][:3]:
        exchange.simulator.exchange.vanish(market)
    before = await sync.tuples_written()
    for mode in (Mode.FULL, Mode.INCREMENTAL, Mode.WINDOWS):
        assert (await sync(mode)).outcome == "ok"
    assert await sync.tuples_written() == before
    assert await sync.rows("SELECT ticker, status FROM markets ORDER BY 1") == kept


async def test_a_run_that_includes_them_finds_what_is_gone_and_what_is_over_long_since(
    sync: Any, exchange: Any
) -> None:
    await sync(**INCLUDE)
    gone, over, *_ = [m for m in exchange.simulator.universe.unsettled if m.event.multivariate]
    exchange.simulator.exchange.vanish(gone)
    now = exchange.simulator.clock()
    exchange.simulator.exchange.determine(over, "no", 0.0, now)
    exchange.simulator.exchange.settle(over, now)
    # Older than any window: only its own ticker still finds it.
    over.life = over.life.__class__(
        over.life.created, over.life.created + 1, now - 9e5, now - 9e5, now - 9e5, None, None
    )
    over.forget()
    report = await sync(**INCLUDE)
    assert report.outcome == "ok"
    rows = {
        row["ticker"]: row
        for row in await sync.rows(
            "SELECT m.ticker, m.status, m.deleted_at, e.deleted_at AS event_deleted_at"
            " FROM markets m JOIN events e USING (event_ticker) WHERE m.ticker = ANY(%s)",
            [gone.ticker, over.ticker],
        )
    }
    assert rows[gone.ticker]["deleted_at"] is not None
    assert rows[gone.ticker]["event_deleted_at"] is not None
    assert rows[over.ticker]["status"] == "settled"
    assert rows[over.ticker]["deleted_at"] is None


async def test_a_selection_of_series_selects_them_by_their_collections_series(
    sync: Any, exchange: Any
) -> None:
    await sync(categories=("Crypto",), **INCLUDE)
    assert not await sync.rows("SELECT 1 FROM markets WHERE mve_collection_ticker IS NOT NULL")
    await sync(categories=("Sports",), **INCLUDE)
    await assert_multivariate_truth(sync, exchange)


async def test_one_whose_collection_is_unknown_is_placed_by_its_event(
    sync: Any, exchange: Any
) -> None:
    universe = exchange.simulator.universe
    universe.collections.clear()
    assert (await sync(**INCLUDE)).outcome == "ok"
    rows = await sync.rows(
        "SELECT e.title, e.mve_collection_ticker AS collection, m.series_ticker AS series"
        " FROM markets m JOIN events e USING (event_ticker)"
        " WHERE m.mve_collection_ticker IS NOT NULL"
    )
    assert {row["title"] for row in rows} == {"Combo"}
    assert all(row["collection"] and row["series"].startswith("KXMVE") for row in rows)


def test_the_setting_is_for_jobs_that_do_not_say_it_themselves() -> None:
    text = """jobs:
  - {id: whole, mode: full, every: 1d}
  - {id: never, mode: full, every: 1d, multivariate: exclude}
  - {id: always, mode: windows, every: 1d, multivariate: include}
  - {id: quotes, mode: active, every: 1d}
"""
    jobs = schedule.parse(text)
    assert [job.scope.multivariate for job in jobs] == [False, False, True, False]
    included = [job.by_setting("include").scope.multivariate for job in jobs]
    assert included == [True, False, True, False]
    packaged = schedule.load("jobs.yaml", "include")
    assert [job.id for job in packaged if job.scope.multivariate] == [
        "everything",
        "updates",
        "windows",
    ]
    assert not any(job.scope.multivariate for job in schedule.load("jobs.yaml"))
    with pytest.raises(ConfigurationError, match="read by jobs of mode full, incremental, windows"):
        schedule.parse("jobs: [{id: a, mode: active, every: 1d, multivariate: include}]")
    with pytest.raises(ConfigurationError, match="multivariate"):
        schedule.parse("jobs: [{id: a, mode: full, every: 1d, multivariate: both}]")
