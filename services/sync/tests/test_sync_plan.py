"""The planner: the cheapest requests that cover a scope."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_kalshi import endpoints, filters
from ssmd_sync.plan import (
    CLOCK_SKEW,
    OVERLAP,
    WINDOW,
    CollectionScan,
    EventScan,
    FeeScan,
    Known,
    MarketScan,
    SeriesScan,
    effective,
    next_watermark,
    plan_markets,
    plan_series,
    watermark_name,
)
from ssmd_sync.scope import Mode, Scope, SeriesFacts

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
AN_HOUR_AGO = NOW - timedelta(hours=1)
ALL = Scope()


def known(events: int = 10_000, markets: int = 86_000, scope: Scope | None = None) -> Known:
    names = ("series", "events", "markets", "closed", "settled")
    marks = {watermark_name(n, scope or ALL): AN_HOUR_AGO for n in names}
    return Known(events, markets, marks)


def test_the_whole_universe_takes_few_requests_and_shows_all_that_is_not_settled() -> None:
    plan = plan_series(ALL, known()).then(plan_markets(ALL, known(), [], NOW))
    assert plan.requests <= 160
    assert plan.sweep
    assert {step.status for step in plan.steps if isinstance(step, EventScan)} == {
        "open",
        "unopened",
        "closed",
    }
    assert {step.status for step in plan.steps if isinstance(step, MarketScan)} == {
        "paused",
        "settled",
    }
    assert SeriesScan(volume=True) in plan.steps
    assert FeeScan() in plan.steps


def test_active_takes_event_pages_or_market_pages_whichever_are_fewer() -> None:
    scope = Scope(mode=Mode.ACTIVE)
    assert plan_markets(scope, known(10_000, 86_000), [], NOW).steps == (
        EventScan("open", requests=50),
    )
    assert plan_markets(scope, known(30_000, 40_000), [], NOW).steps == (
        MarketScan("open", requests=40),
    )


def test_few_series_are_asked_for_one_by_one_and_many_are_not() -> None:
    scope = Scope(mode=Mode.ACTIVE, categories=("Crypto",))
    few = plan_markets(scope, known(), ["KXA", "KXB"], NOW)
    assert few.steps == (EventScan("open", "KXA"), EventScan("open", "KXB"))
    many = plan_markets(scope, known(), [f"KX{i}" for i in range(200)], NOW)
    assert many.steps == (EventScan("open", requests=50),)


def test_by_series_asks_for_each_series_whatever_it_costs() -> None:
    scope = Scope(by_series=True)
    plan = plan_markets(scope, known(), [f"KX{i}" for i in range(100)], NOW)
    assert sum(step.requests for step in plan.steps) == 401
    settled = [s for s in plan.steps if isinstance(s, MarketScan)]
    assert {s.since for s in settled} == {NOW - WINDOW}


def test_windows_reach_back_a_day_or_to_where_the_last_run_ended() -> None:
    scope = Scope(mode=Mode.WINDOWS)
    marks = {watermark_name("settled", scope): NOW - timedelta(days=3)}
    closed, settled = plan_markets(scope, Known(1, 1, marks), [], NOW).steps
    assert closed == MarketScan("closed", since=NOW - WINDOW)
    assert settled == MarketScan("settled", since=NOW - timedelta(days=3) - OVERLAP)


def test_incremental_polls_three_lists_from_before_the_watermark() -> None:
    scope = Scope(mode=Mode.INCREMENTAL)
    plan = plan_series(scope, known()).then(plan_markets(scope, known(), [], NOW))
    since = AN_HOUR_AGO - OVERLAP
    assert plan.steps == (
        SeriesScan(since=since),
        EventScan(since=since),
        MarketScan(since=since),
    )
    assert not plan.sweep


def test_incremental_without_a_watermark_is_a_full_run() -> None:
    scope = Scope(mode=Mode.INCREMENTAL)
    assert effective(scope, Known()) is Mode.FULL
    assert effective(scope, known()) is Mode.INCREMENTAL
    elsewhere = known(scope=Scope(tags=("Soccer",)))
    assert effective(scope, elsewhere) is Mode.FULL


def test_the_cost_at_a_budget() -> None:
    plan = plan_markets(Scope(mode=Mode.ACTIVE), known(), [], NOW)
    assert (plan.requests, plan.tokens, plan.seconds(200)) == (50, 500, 2.5)


@given(
    st.builds(
        Scope,
        mode=st.sampled_from(Mode),
        categories=st.sampled_from([(), ("Crypto",), ("Crypto", "World")]),
        tags=st.sampled_from([(), ("Soccer",), ("Soccer", "Golf")]),
        by_series=st.booleans(),
        min_volume=st.sampled_from([0, 1000]),
        multivariate=st.booleans(),
    ),
    st.integers(0, 20),
    st.booleans(),
)
def test_no_plan_has_a_combination_that_the_exchange_mishandles(
    scope: Scope, series: int, fresh: bool
) -> None:
    """Each step, as `fetch` sends it, passes the client's own check of forbidden combinations."""
    facts = Known() if fresh else known(scope=scope)
    tracked = [f"KX{i}" for i in range(series)]
    plan = plan_series(scope, facts).then(plan_markets(scope, facts, tracked, NOW))
    for step in plan.steps:
        match step:
            case EventScan():
                params: dict[str, str | int] = {"limit": 200}
                if step.status:
                    params |= {"status": step.status, "with_nested_markets": "true"}
                if step.since:
                    params["min_updated_ts"] = int(step.since.timestamp())
                filters.check(endpoints.EVENTS, params)
            case MarketScan():
                params = {
                    "limit": 1000,
                    "mve_filter": "only" if step.multivariate else "exclude",
                }
                if step.status:
                    params["status"] = step.status
                if step.series:
                    params["series_ticker"] = step.series
                if step.since:
                    word = {"settled": "settled", "closed": "close"}.get(
                        step.status or "", "created" if step.multivariate else "updated"
                    )
                    params[f"min_{word}_ts"] = int(step.since.timestamp())
                filters.check(endpoints.MARKETS, params)
            case CollectionScan():
                assert scope.multivariate
            case SeriesScan() | FeeScan():
                pass


@pytest.mark.parametrize(
    ("first", "seen", "expected"),
    [
        (None, None, None),
        (AN_HOUR_AGO, AN_HOUR_AGO, AN_HOUR_AGO),
        # Later pages show changes made during the scan, behind its back.
        (AN_HOUR_AGO, NOW, NOW - timedelta(minutes=1) - CLOCK_SKEW),
        # The first page is believed even where our clock is behind the exchange's.
        (NOW, NOW, NOW),
    ],
)
def test_the_watermark_stops_where_the_scan_began(
    first: datetime | None, seen: datetime | None, expected: datetime | None
) -> None:
    assert next_watermark(first, seen, NOW - timedelta(minutes=1)) == expected


def facts(ticker: str = "KXA", **more: object) -> SeriesFacts:
    from ssmd_common.tickers import is_game

    return SeriesFacts(ticker, is_game=is_game(ticker), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scope", "series", "selected"),
    [
        (Scope(), facts(), True),
        (Scope(categories=("Crypto",)), facts(category="Crypto"), True),
        (Scope(categories=("Crypto",)), facts(category="crypto"), False),
        (Scope(tags=("Golf", "Soccer")), facts(tags=["Soccer"]), True),
        (Scope(tags=("Golf",)), facts(tags=None), False),
        (Scope(games_only=True), facts("KXNBAGAME", category="Sports"), True),
        (Scope(games_only=True), facts("KXNBAWINS", category="Sports"), False),
        (Scope(games_only=True), facts("KXBTC", category="Crypto"), True),
        (Scope(min_volume=5), facts(volume=5), True),
        (Scope(min_volume=5), facts(volume=4), False),
        (Scope(min_volume=5), facts(volume=None), False),
    ],
)
def test_which_series_are_in_scope(scope: Scope, series: SeriesFacts, selected: bool) -> None:
    assert scope.selects(series) is selected
    assert scope.restricted == (scope != Scope())


def test_watermarks_belong_to_a_selection_not_to_a_mode() -> None:
    full = Scope(tags=("B", "A"), games_only=True)
    poll = Scope(mode=Mode.INCREMENTAL, tags=("A", "B"), games_only=True)
    assert full.key == poll.key != ALL.key
