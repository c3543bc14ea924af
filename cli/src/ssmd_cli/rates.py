"""How often things happen, by name, over the last seconds."""

from collections import Counter, deque
from typing import Final

#: The longest span that is asked for.
LONGEST_SECONDS: Final = 60


class Rates:
    """Counts by name in slots of a second. Times are those of one clock that never goes back."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._slots: deque[tuple[int, Counter[str]]] = deque()
        self.total: Counter[str] = Counter()

    def add(self, name: str, now: float) -> None:
        """One more of that name."""
        second = int(now)
        if not self._slots or self._slots[-1][0] < second:
            self._slots.append((second, Counter()))
            while self._slots[0][0] < second - LONGEST_SECONDS:
                self._slots.popleft()
        self._slots[-1][1][name] += 1
        self.total[name] += 1

    def per_second(self, now: float, seconds: int) -> dict[str, float]:
        """Of each name in the whole seconds before `now`: of so many, or of those since it began.
        A name that did not happen is not in it."""
        last = int(now)
        span = min(seconds, last - int(self._began))
        if span <= 0:
            return {}
        found: Counter[str] = Counter()
        for second, counts in self._slots:
            if last - span <= second < last:
                found.update(counts)
        return {name: count / span for name, count in found.items()}
