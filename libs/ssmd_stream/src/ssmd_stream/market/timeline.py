"""A span of time of which every moment is in one state. Pure; times are whole microseconds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from typing import NamedTuple


class Span(NamedTuple):
    since: int
    until: int
    """The first moment after it."""


class Interval(NamedTuple):
    """`why` says more than the state; empty where there is nothing to say."""

    since: int
    until: int
    state: str
    why: str = ""


class Timeline:
    """Painted over, the latest paint on top."""

    def __init__(self, span: Span, state: str, why: str) -> None:
        self._begins = [span.since]
        self._said = [(state, why)]
        self._until = max(span.until, span.since)

    def paint(self, interval: Interval, over: Collection[str] | None = None) -> None:
        """Change the state of an interval, as far as it lies in the span; with `over` only where it
        is one of these."""
        since, until = max(interval.since, self._begins[0]), min(interval.until, self._until)
        if since >= until:
            return
        first, last = self._cut(since), self._cut(until)
        for at in range(first, last):
            if over is None or self._said[at][0] in over:
                self._said[at] = (interval.state, interval.why)

    def intervals(self) -> list[Interval]:
        """In order, without a hole; neighbours differ."""
        found: list[Interval] = []
        ends = [*self._begins[1:], self._until]
        for since, until, (state, why) in zip(self._begins, ends, self._said, strict=True):
            if since >= until:
                continue
            if found and (found[-1].state, found[-1].why) == (state, why):
                found[-1] = found[-1]._replace(until=until)
            else:
                found.append(Interval(since, until, state, why))
        return found

    def state_at(self, moment: int) -> str:
        """The state of a moment within the span."""
        at = bisect_left(self._begins, moment + 1) - 1
        return self._said[max(at, 0)][0]

    def _cut(self, moment: int) -> int:
        """The place of the piece that begins at a moment, which is made."""
        if moment >= self._until:
            return len(self._begins)
        at = bisect_left(self._begins, moment)
        if at == len(self._begins) or self._begins[at] != moment:
            self._begins.insert(at, moment)
            self._said.insert(at, self._said[at - 1])
        return at
