"""Which sequences are there already. Pure."""

from array import array
from collections.abc import Iterable


class Present:
    """Sequences as ranges; what is asked must ascend."""

    def __init__(self, files: Iterable["array[int]"]) -> None:
        self._ranges: list[range] = []
        self._at = 0
        for sequence in sorted(sequence for file in files for sequence in file):
            if self._ranges and self._ranges[-1].stop == sequence:
                self._ranges[-1] = range(self._ranges[-1].start, sequence + 1)
            else:
                self._ranges.append(range(sequence, sequence + 1))

    @property
    def last(self) -> int:
        """The last one; 0 where there is none."""
        return self._ranges[-1].stop - 1 if self._ranges else 0

    def missing(self, start: int, stop: int) -> list[range]:
        """What of `start` up to, without, `stop` is not there."""
        found: list[range] = []
        while start < stop:
            while self._at < len(self._ranges) and self._ranges[self._at].stop <= start:
                self._at += 1
            following = self._ranges[self._at] if self._at < len(self._ranges) else None
            if following is None or following.start >= stop:
                found.append(range(start, stop))
                break
            if following.start > start:
                found.append(range(start, following.start))
            start = following.stop
        return found
