"""How much was read, for whoever waits at a terminal."""

import sys


class BytesRead:
    """Told of bytes as they are read; says the sum on stderr, each time `every` more are."""

    def __init__(self, every: int, what: str = "") -> None:
        self._every, self._what = every, what
        self._bytes = 0

    def __call__(self, size: int) -> None:
        before, self._bytes = self._bytes, self._bytes + size
        if self._bytes // self._every != before // self._every:
            sys.stderr.write(f"\r{self._bytes >> 20} MiB{self._what}")
            sys.stderr.flush()

    @staticmethod
    def end() -> None:
        """Take the line away."""
        sys.stderr.write("\r\x1b[K")
