"""Small pure rules: duplicates, batches, what may disappear."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ssmd_sync.batches import chunks, newest, queries
from ssmd_sync.deletion import believable

T0 = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("missing", "scope", "believed"),
    [(0, 0, True), (50, 60, True), (51, 60, False), (51, 2549, False), (51, 2550, True),
     (1720, 86_000, True), (1721, 86_000, False)],
)  # fmt: skip
def test_more_than_fifty_and_two_percent_is_too_much(
    missing: int, scope: int, believed: bool
) -> None:
    assert believable(missing, scope) is believed


def test_the_newest_of_each_key_is_kept_in_key_order(market: Any) -> None:
    rows = [
        market("KXB-1-T", title="only"),
        market(title="changed later", exchange_updated_at=T0 + SECOND, observed_at=T0),
        market(title="observed later", exchange_updated_at=T0, observed_at=T0 + SECOND),
        market("KXC-1-T", title="first", exchange_updated_at=None),
        market("KXC-1-T", title="last", exchange_updated_at=None),
    ]
    kept = newest(rows, "ticker")
    assert [row.ticker for row in kept] == ["KXA-1-T1", "KXB-1-T", "KXC-1-T"]
    assert [row.title for row in kept] == ["changed later", "only", "last"]


def test_chunks_are_bounded_and_complete() -> None:
    assert list(chunks(list(range(7)), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(chunks([], 3)) == []


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [([], []), ([3, 3, 3], [2, 1]), ([9], [1]), ([99, 1], [1, 1]), ([4, 4, 1], [2, 1])],
)
def test_queries_are_short_and_complete(lengths: list[int], expected: list[int]) -> None:
    tickers = ["X" * length for length in lengths]
    parts = list(queries(tickers, most=2, characters=10))
    assert [len(part) for part in parts] == expected
    assert [ticker for part in parts for ticker in part] == tickers
