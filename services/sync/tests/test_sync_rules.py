"""Small rules: batches, what may disappear, where the next run resumes."""

from datetime import UTC, datetime, timedelta

import pytest

from ssmd_store.pages import Store
from ssmd_sync.batches import chunks, queries
from ssmd_sync.deletion import believable
from ssmd_sync.runlog import RunLog, Watermark

T0 = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("missing", "scope", "believed"),
    [(0, 0, True), (50, 60, True), (51, 60, False), (51, 2549, False), (51, 2550, True),
     (1720, 86_000, True), (1721, 86_000, False)],
)  # fmt: skip
def test_more_than_fifty_and_two_percent_is_too_much(
    missing: int, scope: int, believed: bool
) -> None:
    assert believable(missing, scope, 0.02) is believed
    assert believable(missing, scope, 1)


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


async def test_a_watermark_never_moves_back(store: Store) -> None:
    log = RunLog(store.connection)
    for at in (T0, T0 + MINUTE, T0):
        await log.move([Watermark("w", at)])
    assert await log.watermarks() == {"w": T0 + MINUTE}
