"""The checks of a scan."""

import pytest

from ssmd_common.models import RejectedRow
from ssmd_kalshi.errors import CursorLoopError, EmptyPageError, RepeatedPageError
from ssmd_kalshi.pages import MAX_EMPTY_PAGES, Page, PageGuard, Suspicion


def test_good_scan_raises_no_doubt() -> None:
    guard = PageGuard("markets", 2)
    for keys, cursor in ((["a", "b"], "1"), (["c", "d"], "2"), (["e"], "")):
        assert guard.suspect(keys, len(keys), cursor) is None
        guard.accept(keys, cursor, len(keys))


def test_empty_last_page_is_fine() -> None:
    guard = PageGuard("markets", 2)
    guard.accept(["a", "b"], "1", 2)
    assert guard.suspect([], 0, "") is None


@pytest.mark.parametrize(
    ("keys", "rows", "cursor", "doubt"),
    [
        (["c", "d"], 2, "1", Suspicion.CURSOR_LOOP),
        (["a", "b"], 2, "2", Suspicion.REPEATED),
        (["a", "b"], 2, "", Suspicion.REPEATED),
        ([], 0, "2", Suspicion.EMPTY),
        (["c"], 1, "2", Suspicion.SHORT),
        (["c"], 2, "2", None),
    ],
)
def test_doubts(keys: list[str], rows: int, cursor: str, doubt: Suspicion | None) -> None:
    guard = PageGuard("markets", 2)
    guard.accept(["a", "b"], "1", 2)
    assert guard.suspect(keys, rows, cursor) is doubt


def test_short_pages_may_be_normal() -> None:
    guard = PageGuard("markets", 2)
    guard.short_is_normal()
    assert guard.suspect(["c"], 1, "2") is None


@pytest.mark.parametrize(
    ("doubt", "error"),
    [
        (Suspicion.CURSOR_LOOP, CursorLoopError),
        (Suspicion.REPEATED, RepeatedPageError),
    ],
)
def test_refusals_say_what_to_do(doubt: Suspicion, error: type[Exception]) -> None:
    refusal = PageGuard("markets", 2).refuse(doubt)
    assert type(refusal) is error
    assert "start it again" in str(refusal)


def test_empty_pages_are_followed_up_to_a_bound() -> None:
    guard = PageGuard("markets", 2)
    for n in range(MAX_EMPTY_PAGES):
        guard.accept([], str(n), 0)
    guard.accept([], "unreadable", 1)
    for n in range(MAX_EMPTY_PAGES):
        guard.accept([], f"again {n}", 0)
    with pytest.raises(EmptyPageError, match="start it again"):
        guard.accept([], "too many", 0)


def test_completeness() -> None:
    page: Page[int] = Page(items=[1], rejected_rows=[], cursor="c")
    assert page.complete
    assert not page.marked_short().complete
    assert not Page(items=[1], rejected_rows=[RejectedRow("a", "why", "{}")]).complete
