"""The pure rules: status, prices, fees, TTL, tickers."""

import contextlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_common import fees, prices, ttl
from ssmd_common.errors import MalformedTicker
from ssmd_common.status import MarketStatus, market_status
from ssmd_common.tickers import is_game, parse

NOW = datetime(2026, 2, 3, 22, 5, tzinfo=UTC)
cents = st.decimals(min_value=0, max_value=1, places=6)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("initialized", "open"),
        ("active", "active"),
        ("inactive", "open"),
        ("closed", "closed"),
        ("determined", "closed"),
        ("disputed", "closed"),
        ("amended", "closed"),
        ("finalized", "settled"),
        ("a word of next month", None),
        (None, None),
    ],
)
def test_each_word_of_the_exchange_has_its_status(word: str | None, status: str | None) -> None:
    assert market_status(word) == status


@given(dollars=cents)
def test_cents_never_flatter_a_price(dollars: Decimal) -> None:
    bid, ask = prices.bid_cents(dollars), prices.ask_cents(dollars)
    assert bid is not None
    assert ask is not None
    assert bid <= dollars * 100 <= ask
    assert ask - bid <= 1
    assert (ask == bid) == (dollars * 100 == int(dollars * 100))


def test_rounding_of_last_price_and_contracts() -> None:
    assert prices.last_price_cents(Decimal("0.125")) == 13
    assert prices.last_price_cents(Decimal("0.1249")) == 12
    assert prices.whole_contracts(Decimal("56.99")) == 56
    assert prices.bid_cents(None) is None
    assert prices.whole_contracts(None) is None


def test_fees_of_the_published_examples() -> None:
    one = fees.fee("quadratic", Decimal(1), Decimal("0.50"), Decimal(100))
    assert one == fees.Fee(Decimal("1.7500"), Decimal("0.0000"))
    maker = fees.fee("quadratic_with_maker_fees", Decimal(1), Decimal("0.50"), Decimal(100))
    assert maker == fees.Fee(Decimal("1.7500"), Decimal("0.4375"))
    combo = fees.fee("quadratic_with_combo_maker_fees", Decimal(1), Decimal("0.50"), Decimal(100))
    assert combo == fees.Fee(Decimal("1.7500"), Decimal("0.8750"))
    assert fees.fee("quadratic", Decimal(0), Decimal("0.50"), Decimal(7)) == fees.Fee(
        Decimal(0), Decimal(0)
    )
    assert fees.fee("a type of next month", Decimal(1), Decimal("0.5"), Decimal(1)) is None


def test_fees_round_up_to_a_hundredth_of_a_cent() -> None:
    tiny = fees.fee("quadratic", Decimal(1), Decimal("0.01"), Decimal("0.01"))
    assert tiny is not None
    assert tiny.taker_dollars == Decimal("0.0001")


@pytest.mark.parametrize(("price", "count"), [("1.01", "1"), ("-0.01", "1"), ("0.5", "-1")])
def test_a_fee_of_nonsense_is_refused(price: str, count: str) -> None:
    with pytest.raises(ValueError, match=r"price|count"):
        fees.fee("quadratic", Decimal(1), Decimal(price), Decimal(count))


def test_market_keys_end_a_day_after_the_earlier_of_close_and_settlement() -> None:
    closed, settled = NOW, NOW + timedelta(hours=2)
    day = timedelta(days=1)
    for status in (MarketStatus.OPEN, MarketStatus.ACTIVE, MarketStatus.CLOSED):
        assert ttl.market_expires_at(status, closed, None, NOW) is None
    expires = ttl.market_expires_at
    assert expires("settled", closed, settled, NOW) == closed + day
    assert expires("settled", settled, closed, NOW) == closed + day
    assert expires("settled", closed, None, NOW) == closed + day
    assert expires("settled", None, settled, NOW) == NOW + day


def test_event_keys_end_a_day_after_the_strike_date() -> None:
    assert ttl.event_expires_at("open", NOW, NOW) is None
    assert ttl.event_expires_at("closed", NOW, NOW - timedelta(days=9)) == NOW + timedelta(days=1)
    assert ttl.event_expires_at("settled", None, NOW) == NOW + timedelta(days=1)


def test_tickers_say_what_is_in_them_and_no_more() -> None:
    found = parse("KXBTCD-26FEB0317-T97500.99")
    assert (found.prefix, found.day, found.day_suffix) == ("KXBTCD", date(2026, 2, 3), "17")
    assert (found.strike_kind, found.strike) == ("T", Decimal("97500.99"))
    assert parse("KXWARMING-50").day is None
    assert parse("EUCLIMATE").prefix == "EUCLIMATE"
    assert parse("KXX-26FEB31").day is None, "31 February is no date"


@given(text=st.text(max_size=150))
def test_any_text_is_a_ticker_or_a_typed_error(text: str) -> None:
    with contextlib.suppress(MalformedTicker):
        parse(text)


def test_games_are_told_by_the_series() -> None:
    assert is_game("KXNBAGAME")
    assert is_game("KXATPMATCH")
    assert not is_game("KXBTCD")
