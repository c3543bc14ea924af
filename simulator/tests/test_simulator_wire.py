"""Spelling: cursors, times, prices. Whatever has an inverse is held against it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_simulator.ladders import LADDERS, snap, step_at
from ssmd_simulator.wire import (
    NEVER,
    BadCursor,
    count,
    decode_cursor,
    dollars,
    encode_cursor,
    rfc3339,
)

TICKERS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.", min_size=1, max_size=60)


@given(st.integers(0, 2**52), TICKERS)
def test_a_cursor_says_where_it_is(micros: int, ticker: str) -> None:
    assert decode_cursor(encode_cursor(micros, ticker)) == (micros, ticker)


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: raw.hex()))
def test_any_other_text_is_a_bad_cursor(text: str) -> None:
    try:
        micros, ticker = decode_cursor(text)
    except BadCursor:
        return
    assert isinstance(micros, int)
    assert isinstance(ticker, str)


def test_a_recorded_cursor_is_read() -> None:
    assert decode_cursor("CgYI8JHtswkSDktYRVJVUFRTVVBFUi0w") == (
        2_524_662_000_000_000,
        "KXERUPTSUPER-0",
    )


@given(st.integers(0, 2**52))
def test_times_keep_their_microseconds(micros: int) -> None:
    text = rfc3339(micros / 1_000_000)
    read = datetime.fromisoformat(text)
    assert read.tzinfo == UTC
    assert abs(read.timestamp() - micros / 1_000_000) < 0.000_002
    assert not text.endswith(("0Z", ".Z")) or "." not in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, NEVER),
        (0, "1970-01-01T00:00:00Z"),
        (1_795_230_536.5, "2026-11-21T03:08:56.5Z"),
        (1_795_230_536.9999999, "2026-11-21T03:08:57Z"),
        (4_089_243_540, "2099-08-01T04:59:00Z"),
    ],
)
def test_times(seconds: float | None, text: str) -> None:
    assert rfc3339(seconds) == text


def test_prices_and_counts() -> None:
    assert [dollars(price) for price in (0, 50, 5400, 10000)] == [
        "0.0000",
        "0.0050",
        "0.5400",
        "1.0000",
    ]
    assert [count(contracts) for contracts in (0, 5, 5643)] == ["0.00", "0.05", "56.43"]


@given(st.sampled_from(sorted(LADDERS)), st.integers(0, 9999))
def test_prices_stand_on_their_ladder(structure: str, price: int) -> None:
    snapped = snap(structure, price)
    assert 0 <= price - snapped < step_at(structure, price)
    bands = LADDERS[structure]
    assert any(b.start <= snapped < b.end and (snapped - b.start) % b.step == 0 for b in bands)
