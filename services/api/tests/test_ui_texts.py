"""Values as people read them."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ssmd_api.ui import ladder, texts
from ssmd_api.ui.spark import spark

NOW = datetime(2026, 2, 3, 22, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("dollars", "cents", "in_dollars"),
    [
        ("0.450000", "45<i></i>", "0.45<i></i>"),
        ("0.455000", "45<i>.5</i>", "0.45<i>5</i>"),
        ("0.000100", "0<i>.01</i>", "0.00<i>01</i>"),
        ("1.000000", "100<i></i>", "1.00<i></i>"),
        (Decimal("0.05"), "5<i></i>", "0.05<i></i>"),
    ],
)
def test_prices_show_what_is_below_a_cent(dollars: object, cents: str, in_dollars: str) -> None:
    assert f">{cents}</span>" in texts.price(dollars, "cents")
    shown = texts.price(dollars, "dollars")
    assert f">{in_dollars}</span>" in shown
    assert f'title="${Decimal(str(dollars)).normalize():f}"' in shown


@pytest.mark.parametrize("value", [None, "NaN", "Infinity", "x"])
def test_what_is_no_number_is_nothing(value: object) -> None:
    assert texts.price(value, "cents") == texts.count(value) == texts.NOTHING


@pytest.mark.parametrize(
    ("contracts", "shown", "exact"),
    [
        ("9999.00", "9,999", "9,999"),
        ("12345.50", "12.3k", "12,345.5"),
        ("4560000", "4.56M", "4,560,000"),
        (1234567890, "1.23B", "1,234,567,890"),
        (0, "0", "0"),
    ],
)
def test_counts_are_short_with_the_exact_one_at_hand(
    contracts: object, shown: str, exact: str
) -> None:
    found = texts.count(contracts)
    assert f">{shown}</span>" in found
    assert f'title="{exact}"' in found


@pytest.mark.parametrize(
    ("at", "form", "shown"),
    [
        ("2026-02-03T22:00:42Z", "until", "42 s"),
        ("2026-02-03T22:12:03Z", "until", "12 min 03 s"),
        ("2026-02-04T03:07:00Z", "until", "5 h 07 min"),
        ("2026-02-07T02:00:00Z", "until", "3 d 04 h"),
        ("2099-02-04T02:00:00Z", "until", "26,663 d 04 h"),
        ("2026-02-03T21:59:30Z", "until", "overdue 30 s"),
        ("2026-02-03T21:59:30Z", "since", "30 s"),
        ("2026-02-03T21:59:30Z", "ago", "30 s ago"),
        ("2026-02-03T21:59:30.25Z", "exact", "21:59:30.25"),
        ("2027-02-03T21:59:30Z", "short", "03 Feb 2027 21:59"),
    ],
)
def test_times_are_utc_and_count_down(at: str, form: str, shown: str) -> None:
    found = texts.when(at, form, NOW)
    assert f">{shown}</time>" in found
    assert f'title="{at[:10]} {at[11:19]} UTC"' in found


def test_moments_in_a_sentence_are_times() -> None:
    found = texts.with_times("current as of 2026-02-03 22:05:00 UTC, <incomplete>")
    assert 'datetime="2026-02-03T22:05:00Z"' in found
    assert found.endswith("</time>, &lt;incomplete&gt;")


@pytest.mark.parametrize(("value", "shown"), [("1.0000", "1"), ("0.5000", "0.5"), (None, "–")])
def test_factors_end_without_noughts(value: object, shown: str) -> None:
    assert texts.factor(value) == shown


def test_a_bar_for_each_day_that_has_some() -> None:
    found = spark((0, 2, 4), 'made "a" day')
    assert found.count("z") == 2
    assert "M4 20v-9.5h3V20z" in found
    assert 'aria-label="made &quot;a&quot; day"' in found
    assert 'd=""' in spark((), "")


@pytest.mark.parametrize(
    ("floor", "cap", "kind", "shown"),
    [
        ("97500.00", None, "greater", "> 97,500"),
        ("3.5", None, "greater_or_equal", "≥ 3.5"),
        (None, "3.019", "less", "< 3.019"),
        (None, -4, "less_or_equal", "≤ -4"),
        (3.019, 3.0289, "between", "3.019 – 3.0289"),
        (5, None, None, "from 5"),
        (None, None, None, ""),
    ],
)
def test_a_strike_says_for_which_values(
    floor: object, cap: object, kind: str | None, shown: str
) -> None:
    market = {"floor_strike": floor, "cap_strike": cap, "strike_type": kind}
    assert ladder.strike(market) == shown


def test_strikes_are_in_order_and_without_any_the_likeliest_comes_first() -> None:
    def market(ticker: str, floor: object, cap: object, bid: object = None) -> dict[str, object]:
        strikes = {"floor_strike": floor, "cap_strike": cap}
        return {"ticker": ticker, **strikes, "yes_bid_dollars": bid}

    strikes = [market("c", 10, None), market("b", 9.5, 10), market("a", None, 9.5)]
    assert [each["ticker"] for each in ladder.in_order(strikes)] == ["a", "b", "c"]
    bids = [market("x", None, None, "0.1"), market("y", None, None), market("z", None, None, "0.7")]
    assert [each["ticker"] for each in ladder.in_order(bids)] == ["z", "x", "y"]


@pytest.mark.parametrize(
    ("bid", "ask", "quoted"),
    [("0.4", "0.5", True), ("0", "1", False), ("0", "0.01", True), (None, "1", False)],
)
def test_nobody_bids_and_nobody_asks_is_no_bar(
    bid: str | None, ask: str | None, quoted: bool
) -> None:
    market = {"yes_bid_dollars": bid, "yes_ask_dollars": ask, "last_price_dollars": None}
    assert ladder.bar(market).is_quoted is quoted


def test_what_no_clock_has_is_shown_as_it_is() -> None:
    assert "infinity" in texts.when("infinity")
    assert texts.when(None) == texts.NOTHING


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "–"), (0.0123, "12 ms"), (2.04, "2.0 s"), (60.0, "60 s"), (3600.0, "60 min")],
)
def test_lags(seconds: float | None, shown: str) -> None:
    assert texts.lag(seconds) == shown
