"""Which markets the scope leaves out of what is published, for the records of the capture. Pure.

Without it a market of which nothing is published looks like one that was silent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ssmd_common.tickers import is_multivariate

_AT_ONCE: Final = 5000
"""Markets of one record."""


class LeftOut:
    """Of one capture. A market is told once for each session and scope."""

    def __init__(self, *, multivariate: bool = False) -> None:
        """`multivariate`: whether those are published; where they are not, the scope says so once,
        since they outnumber all others ten to one."""
        self._multivariate = multivariate
        self._selectors: list[dict[str, Any]] | None = None
        self._told: set[str] = set()
        self._new: list[str] = []

    @property
    def fields(self) -> dict[str, Any]:
        """Of the record `scope`; `selectors` are absent where everything is published."""
        return {"selectors": self._selectors, "multivariate": self._multivariate}

    def begin(self, selectors: list[dict[str, Any]] | None) -> None:
        """Another scope."""
        self._selectors = selectors
        self._told.clear()
        self._new.clear()

    def again(self) -> None:
        """Another session: what is still left out is to be told anew."""
        self._told.clear()
        self._new.clear()

    def tell_all(self) -> None:
        """Whoever read the records so far knows nothing of this session's."""
        self._new = list(self._told)

    def note(self, ticker: str) -> None:
        """Something of this market was not published, or would not be."""
        if ticker in self._told or (not self._multivariate and is_multivariate(ticker)):
            return
        self._told.add(ticker)
        self._new.append(ticker)

    def take(self) -> Iterator[tuple[str, ...]]:
        """What was noted since somebody asked last, in parts."""
        new, self._new = self._new, []
        for at in range(0, len(new), _AT_ONCE):
            yield tuple(new[at : at + _AT_ONCE])
