"""What `sync_runs` says of a run: the fields it rejected, and which rows it did not read."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ssmd_common.models import RejectedField
from ssmd_simulator.faults import Fault
from ssmd_store.written import RejectedIn, Written
from ssmd_sync import fetch, report
from ssmd_sync.report import Report
from ssmd_sync.scope import Mode, Scope

BAD = RejectedField(field="title", columns=("title",), reason="is no text", raw="5")


async def last(sync: Any) -> dict[str, Any]:
    [run] = await sync.rows("SELECT * FROM sync_runs ORDER BY id DESC LIMIT 1")
    return dict(run)


async def test_a_run_that_reads_all_covers_all(sync: Any, exchange: Any) -> None:
    await sync()
    run = await last(sync)
    assert (run["outcome"], run["unread"], run["rejected_fields"]) == ("ok", [], [])


@pytest.mark.parametrize("mode", [Mode.FULL, Mode.ACTIVE])
async def test_a_row_without_a_readable_ticker_costs_itself(
    sync: Any, exchange: Any, mode: Mode
) -> None:
    """Which row it was follows from what else was there to be read."""
    await sync()
    market = exchange.market()
    exchange.simulator.exchange.edit(market, {"ticker": 5}, exchange.simulator.clock())
    found = await sync(mode)
    run = await last(sync)
    assert (run["outcome"], run["unread"]) == ("partial", [market.ticker])
    assert found.error is None


async def test_a_short_page_costs_the_rows_that_no_page_has_shown(
    sync: Any, exchange: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sync()
    gone = exchange.market()
    exchange.simulator.exchange.vanish(gone)
    read = fetch.event_rows

    def short(page: Any, asked_at: Any) -> Any:
        return read(page.marked_short(), asked_at)

    monkeypatch.setattr(fetch, "event_rows", short)
    await sync()
    assert (await last(sync))["unread"] == [gone.ticker]


async def test_a_refused_sweep_covers_what_was_there(sync: Any, exchange: Any) -> None:
    await sync()
    markets = [m for m in exchange.simulator.universe.unsettled if not m.event.multivariate]
    gone = [market.ticker for market in markets[:60]]
    for market in markets[:60]:
        exchange.simulator.exchange.vanish(market)
    await sync()
    run = await last(sync)
    assert (run["outcome"], run["unread"]) == ("refused", sorted(gone))


async def test_too_many_to_name_are_not_covered(
    sync: Any, exchange: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sync()
    for market in [m for m in exchange.simulator.universe.unsettled if not m.event.multivariate][
        :60
    ]:
        exchange.simulator.exchange.vanish(market)
    monkeypatch.setattr(report, "KEPT", 50)
    await sync()
    assert (await last(sync))["unread"] is None


async def test_a_run_that_failed_covers_nothing(sync: Any, exchange: Any) -> None:
    exchange.simulator.faults.start(Fault("garbage", path="/events", after=2))
    await sync()
    run = await last(sync)
    assert (run["outcome"], run["unread"]) == ("failed", None)


def test_rejected_fields_are_named_once_and_bounded(
    sync_report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do not make a run partial: each row was read, and written."""
    monkeypatch.setattr(report, "KEPT", 2)
    for ticker in ("A", "B", "A", "C", "D"):
        sync_report.wrote("markets", Written(updated=1, rejected=[RejectedIn(ticker, BAD)]))
    sync_report.covers = True
    assert (sync_report.outcome, sync_report.exit_code) == ("ok", 0)
    assert sync_report.covered_but_for() == []
    assert sync_report.rejected_fields() == [
        {"table": "markets", "ticker": "A", "field": "title", "reason": "is no text"},
        {"table": "markets", "ticker": "B", "field": "title", "reason": "is no text"},
        {"table": None, "ticker": None, "field": None, "reason": "and 2 more"},
    ]
    assert sync_report.rejected_count == 4


@pytest.fixture
def sync_report() -> Report:
    return Report("job", Scope(), datetime.now(UTC))
