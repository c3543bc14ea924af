"""Wire rows to rows of the tables."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_common import tables
from ssmd_common.columns import Kind, Table
from ssmd_common.status import MarketStatus
from ssmd_kalshi import convert, markets, values
from ssmd_kalshi.errors import BadFieldError
from ssmd_kalshi.wire import WireEvent, WireMarket, WireRow, WireSeries, WireSeriesFeeChange

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)


def row(**fields: object):
    return markets.market(
        WireMarket(ticker="M-1", event_ticker="M", **fields),  # type: ignore[arg-type]
        "S",
        NOW,
    )


def test_market_of_today() -> None:
    market = row(
        title="Above 97,500?",
        status="active",
        yes_bid_dollars="0.5410",
        yes_ask_dollars="0.5490",
        no_bid_dollars="0.4510",
        no_ask_dollars="0.4590",
        last_price_dollars="0.5450",
        volume_fp="1234.56",
        volume_24h_fp="0.99",
        open_interest_fp="10.00",
        open_time="2026-02-03T17:00:00Z",
        close_time="2099-08-01T04:59:00.123456789Z",
        updated_time="0001-01-01T00:00:00Z",
        result="",
        floor_strike=97500.99,
        rules_secondary="more",
        previous_price_dollars="0.1",
        yes_bid_size_fp="7.00",
    )
    assert (market.ticker, market.event_ticker, market.series_ticker) == ("M-1", "M", "S")
    assert market.status is MarketStatus.ACTIVE
    assert market.exchange_status == "active"
    assert (market.yes_bid, market.yes_ask) == (54, 55)
    assert (market.no_bid, market.no_ask) == (45, 46)
    assert market.last_price == 55
    assert market.yes_bid_dollars == Decimal("0.5410")
    assert (market.volume, market.volume_24h, market.open_interest) == (1234, 0, 10)
    assert market.volume_fp == Decimal("1234.56")
    assert market.open_time == datetime(2026, 2, 3, 17, tzinfo=UTC)
    assert market.close_time == datetime(2099, 8, 1, 4, 59, 0, 123456, tzinfo=UTC)
    assert market.exchange_updated_at is None
    assert market.result is None
    assert market.floor_strike == Decimal("97500.99")
    assert market.extra == {"rules_secondary": "more"}
    assert (market.observed_at, market.observed_via) == (NOW, "rest")


def test_market_of_the_cents_generation() -> None:
    market = row(yes_bid=6, yes_ask=7, no_bid=93, no_ask=94, last_price=6, volume=35001)
    assert market.yes_bid_dollars == Decimal("0.06")
    assert (market.yes_bid, market.no_ask) == (6, 94)
    assert market.volume_fp == Decimal(35001)
    assert market.volume == 35001


def test_dollars_win_over_cents() -> None:
    market = row(yes_bid=6, yes_bid_dollars="0.0675", volume=1, volume_fp="2.50")
    assert (market.yes_bid, market.yes_bid_dollars) == (6, Decimal("0.0675"))
    assert (market.volume, market.volume_fp) == (2, Decimal("2.50"))


def test_recorded_market_carries_both_generations_alike(recording) -> None:
    for sent in recording("event_single")["markets"]:
        both = markets.market(WireMarket(**sent), "S", NOW)
        cents = {k: v for k, v in sent.items() if not k.endswith("_dollars")}
        old = markets.market(WireMarket(**cents), "S", NOW)
        for name in ("yes_bid", "yes_ask", "no_bid", "no_ask", "last_price"):
            assert getattr(both, name) == getattr(old, name) == sent[name]
            assert getattr(both, f"{name}_dollars") == getattr(old, f"{name}_dollars")


def test_empty_text_is_null() -> None:
    market = row(yes_bid_dollars="", volume_fp="", close_time="", title="", expiration_value="")
    assert market.yes_bid is None
    assert market.yes_bid_dollars is None
    assert market.volume is None
    assert market.close_time is None
    assert market.title is None
    assert market.expiration_value is None


def test_nothing_but_tickers() -> None:
    market = row()
    assert market.status is None
    assert market.extra is None


def test_unknown_status_is_kept_and_has_no_meaning() -> None:
    market = row(status="suspended_by_an_act_of_god")
    assert market.status is None
    assert market.exchange_status == "suspended_by_an_act_of_god"


def test_unknown_fields_go_to_extra_quotes_do_not() -> None:
    market = row(unknown={"colour": "red", "yes_bid_depth_fp": "1.00", "volume_7d_fp": "1"})
    assert market.extra == {"colour": "red"}


QUOTES = {
    "liquidity",
    "liquidity_dollars",
    "previous_price",
    "previous_price_dollars",
    "previous_yes_ask",
    "previous_yes_ask_dollars",
    "previous_yes_bid",
    "previous_yes_bid_dollars",
    "yes_ask_size_fp",
    "yes_bid_size_fp",
}


def test_every_field_is_a_column_or_extra_or_a_quote() -> None:
    """A field added to the wire row must be thought about."""
    samples: dict[str, object] = {"custom_strike": {"a": 1}, "price_ranges": [{"step": "1"}]}
    samples |= {"mve_selected_legs": [{"side": "yes"}], "can_close_early": False}
    samples |= {"is_provisional": False, "unknown": {"new": 1}}
    for name in WireMarket.__struct_fields__:
        if name in QUOTES or name in ("ticker", "event_ticker", "rejected"):
            continue
        number = name.endswith(("_seconds", "_index", "tick_size", "_cents", "notional_value"))
        value = samples.get(name, 0 if number else "1" if "time" not in name else None)
        if value is None or name == "settlement_ts":
            value = "2026-01-01T00:00:00Z"
        assert row(**{name: value}) != row(), f"{name} is lost"
    assert row(**dict.fromkeys(QUOTES, "1")) == row()


SAMPLES = {
    Kind.TEXT: "a text",
    Kind.INTEGER: "7.25",
    Kind.NUMERIC: "0.3333",
    Kind.TIME: "2026-01-01T00:00:00Z",
    Kind.BOOLEAN: True,
    Kind.TEXTS: ["a"],
    Kind.JSON: [{"a": "b"}],
}


@pytest.mark.parametrize(
    ("table", "columns", "convert_", "wire"),
    [
        (tables.SERIES, convert.SERIES_COLUMNS, convert.series, WireSeries(ticker="S")),
        (
            tables.EVENTS,
            convert.EVENT_COLUMNS,
            convert.event,
            WireEvent(event_ticker="E", series_ticker="S"),
        ),
        (
            tables.MARKETS,
            markets.COLUMNS,
            lambda wire: markets.market(wire, "S", NOW),
            WireMarket(ticker="M-1", event_ticker="M"),
        ),
    ],
    ids=["series", "event", "market"],
)
def test_a_field_fills_the_columns_that_it_stands_for(
    table: Table, columns: values.Columns, convert_: Any, wire: WireRow
) -> None:
    """A column that the conversion forgot fails here by its name."""
    without = convert_(wire)
    for field, names in columns.items():
        if getattr(wire, field) is not None:
            continue
        sample = SAMPLES[table[names[0]].kind]
        found = convert_(msgspec.structs.replace(wire, **{field: sample}))
        differ = {n for n in table.names if getattr(found, n) != getattr(without, n)}
        assert not found.rejected, field
        assert differ == set(names), field


def test_columns_that_are_rounded_follow_the_registry() -> None:
    for column in tables.MARKETS.columns:
        if column.rounding:
            for exact in ("0.0050", "0.3333", "7.5000", "7.4999", "1234.56"):
                found = row(**{column.exact: exact})
                expected = column.rounding(Decimal(exact))
                assert getattr(found, column.name) == expected, (column.name, exact)


EXTRA: dict[str, object] = {
    "product_metadata": {"competition": "c"},
    "settlement_sources": [{"name": "n", "url": "https://e.example"}],
    "available_on_brokers": False,
    "exchange_index": 0,
    "categories": ["World"],
    "contract_terms_url": "https://e.example/t",
    "additional_prohibitions": ["p"],
    "unknown": {"brand_new": {"a": 1}, "volume_7d_fp": "1"},
}


def test_of_an_event_extra_holds_what_has_no_column() -> None:
    said = {name: EXTRA[name] for name in WireEvent.__struct_fields__ if name in EXTRA}
    event = convert.event(WireEvent(event_ticker="E", series_ticker="S", title="t", **said))  # type: ignore[arg-type]
    del said["unknown"]
    assert event.extra == {**said, "brand_new": {"a": 1}}
    assert len(event.extra) == 5


def test_of_a_series_extra_holds_what_has_no_column() -> None:
    said = {name: EXTRA[name] for name in WireSeries.__struct_fields__ if name in EXTRA}
    series = convert.series(WireSeries(ticker="S", title="t", **said))  # type: ignore[arg-type]
    assert series.settlement_sources == said.pop("settlement_sources")
    del said["unknown"]
    assert series.extra == {**said, "brand_new": {"a": 1}}
    assert len(series.extra) == 6


def test_empty_values_say_nothing() -> None:
    empty = {"product_metadata": {}, "settlement_sources": [], "exchange_index": ""}
    event = convert.event(WireEvent(event_ticker="E", series_ticker="S", **empty))  # type: ignore[arg-type]
    series = convert.series(WireSeries(ticker="S", contract_terms_url="", **empty))  # type: ignore[arg-type]
    assert (event.extra, series.extra) == (None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("close_time", "soon"),
        ("close_time", "2026-13-01T00:00:00Z"),
        ("updated_time", "99999-01-01T00:00:00Z"),
        ("yes_bid_dollars", "NaN"),
        ("yes_bid_dollars", "Infinity"),
        ("yes_bid_dollars", "half"),
        ("yes_ask_dollars", "9999.9999999"),
        ("volume_fp", "1e19"),
        ("floor_strike", "1e400"),
        ("floor_strike", "NaN"),
        ("cap_strike", "-Infinity"),
        ("yes_bid", "x"),
    ],
)
def test_value_without_meaning_costs_its_field_alone(field: str, value: object) -> None:
    rest = {"title": "t", "no_bid_dollars": "0.3000", "open_time": "2026-01-01T00:00:00Z"}
    market = row(**rest, **{field: value})
    [rejected] = market.rejected
    assert rejected.field == field
    assert rejected.reason.startswith(f"{field} is ")
    assert market.kept == set(markets.COLUMNS[field])
    assert all(getattr(market, column) is None for column in market.kept)
    # The rest is as if the field had not been sent.
    assert market.extra == {field: value}
    assert msgspec.structs.replace(market, rejected=(), extra=None) == row(**rest)
    assert row(**rest, **{field: value}) == market, "the same again is equal"


@pytest.mark.parametrize("ticker", ["A B", "A\nB", "A\x7f", "\u200b"])
def test_ticker_that_is_none(ticker: str) -> None:
    with pytest.raises(BadFieldError, match="not a ticker"):
        markets.market(WireMarket(ticker=ticker, event_ticker="E"), "S", NOW)


@pytest.mark.parametrize("event_ticker", [None, "", "A B", "A\x01", "x" * 129])
def test_market_whose_event_cannot_be_read(event_ticker: str | None) -> None:
    wire = WireMarket(ticker="A", event_ticker=event_ticker, title="t")
    market = markets.market(wire, "S", NOW)
    assert (market.event_ticker, market.series_ticker, market.title) == ("", "", "t")
    assert market.kept == {"event_ticker", "series_ticker"}


def test_a_page_loses_none() -> None:
    page = [
        WireMarket(ticker="A", event_ticker="E"),
        WireMarket(ticker="C", event_ticker="E", close_time="never"),
        WireMarket(ticker="D"),
        WireMarket(ticker="E F", event_ticker="E"),
    ]
    rows, rejected_rows = convert.readable(page, lambda wire: markets.market(wire, "S", NOW))
    assert [m.ticker for m in rows] == ["A", "C", "D"]
    assert [s.ticker for s in rejected_rows] == ["E F"]


def test_event() -> None:
    event = convert.event(
        WireEvent(
            event_ticker="E",
            series_ticker="S",
            title="T",
            category="World",
            strike_date="2026-02-03T22:00:00+00:00",
            fee_type_override="quadratic",
            fee_multiplier_override=0.5,
            last_updated_ts="2026-01-01T00:00:00.5Z",
            collateral_return_type="",
        )
    )
    assert event.strike_date == datetime(2026, 2, 3, 22, tzinfo=UTC)
    assert event.fee_multiplier_override == Decimal("0.5")
    assert event.collateral_return_type is None
    assert event.exchange_updated_at == datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    orphan = convert.event(WireEvent(event_ticker="E", title="T"))
    assert (orphan.series_ticker, orphan.title, orphan.kept) == ("", "T", {"series_ticker"})
    dated = convert.event(WireEvent(event_ticker="E", series_ticker="S", strike_date="?"))
    assert (dated.strike_date, dated.kept) == (None, {"strike_date"})
    with pytest.raises(BadFieldError, match="event_ticker"):
        convert.event(WireEvent(event_ticker="E F", series_ticker="S"))


def test_series() -> None:
    series = convert.series(
        WireSeries(ticker="KXNFLGAME", tags=["NFL"], fee_multiplier=0, volume_fp="12.99")
    )
    assert series.is_game
    assert series.fee_multiplier == Decimal(0)
    assert series.volume == 12
    assert series.active
    assert convert.series(WireSeries(ticker="CO2", volume=5)).volume == 5
    free = convert.series(WireSeries(ticker="CO2", fee_multiplier="much", title="t"))
    assert (free.fee_multiplier, free.title, free.kept) == (None, "t", {"fee_multiplier"})
    with pytest.raises(BadFieldError, match="ticker"):
        convert.series(WireSeries(ticker="C O2"))


def test_fee_schedule_is_contiguous() -> None:
    def step(id_: str, day: int, multiplier: float, series: str = "S") -> WireSeriesFeeChange:
        return WireSeriesFeeChange(
            series_ticker=series,
            id=id_,
            fee_type="quadratic",
            fee_multiplier=multiplier,
            scheduled_ts=f"2026-01-{day:02}T00:00:00Z",
        )

    rows, unreadable = convert.fee_schedule(
        [step("3", 9, 1), step("1", 2, 0.5), step("2", 2, 0.25), step("4", 5, 2, "T")]
    )
    assert not unreadable
    mine = [r for r in rows if r.series_ticker == "S"]
    assert [r.fee_multiplier for r in mine] == [Decimal("0.25"), Decimal(1)]
    assert mine[0].effective_to == mine[1].effective_from
    assert mine[1].effective_to is None
    assert mine[0].source_id == "2"
    bad = [
        WireSeriesFeeChange(series_ticker="S"),
        WireSeriesFeeChange(series_ticker="S", scheduled_ts="2026-01-01T00:00:00Z"),
        msgspec.structs.replace(step("5", 3, 1), fee_multiplier="much"),
        msgspec.structs.replace(step("6", 3, 1), scheduled_ts="2026-01-01T24:00:00Z"),
    ]
    good = [step("3", 9, 1), step("2", 2, 0.25)]
    kept, unreadable = convert.fee_schedule([*bad, *good])
    assert kept == mine
    assert [one.ticker for one in unreadable] == ["S"] * 4
    reasons = " ".join(one.reason for one in unreadable)
    assert all(name in reasons for name in ("scheduled_ts", "fee_type", "fee_multiplier"))


@given(
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2099, 12, 31)),  # noqa: DTZ001
    st.integers(0, 12),
)
def test_times_with_any_number_of_digits(moment: datetime, digits: int) -> None:
    fraction = f"{moment.microsecond:06}000000"[:digits]
    text = moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if digits else "") + "Z"
    read = values.time(text)
    assert read is not None
    expected = moment.replace(tzinfo=UTC)
    assert timedelta(0) <= expected - read < timedelta(seconds=1)
    if digits >= 6:
        assert read == expected


@given(st.decimals(min_value=0, max_value=1, places=6))
def test_prices_are_exact_and_cents_never_better(price: Decimal) -> None:
    market = row(yes_bid_dollars=str(price), yes_ask_dollars=str(price))
    assert market.yes_bid_dollars == price
    assert market.yes_bid is not None
    assert market.yes_ask is not None
    assert Decimal(market.yes_bid) / 100 <= price <= Decimal(market.yes_ask) / 100
    assert market.yes_ask - market.yes_bid <= 1


@given(st.decimals(-(10**9), 10**9, places=2) | st.integers(0, 10**12) | st.just(Decimal("0.00")))
def test_counts_are_exact_and_whole_ones_cut_off(count: Decimal | int) -> None:
    exact, whole = values.contracts(str(count))
    assert exact == Decimal(count)
    assert str(exact) == str(count), "as many decimals as the exchange gave"
    assert whole == int(count)
