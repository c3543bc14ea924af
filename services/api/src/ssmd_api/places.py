"""Places of what lasts long: streams, exports. Who finds none is turned away at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ssmd_api.problems import too_many
from ssmd_api.turns import caller

_RESERVED_PART: Final = 10
_RETRY_AFTER_SECONDS: Final = 10


class Places:
    """So many, of one kind (`streams`). The last tenth, at least one, is for callers without any,
    so that no key takes them all."""

    def __init__(self, what: str, places: int) -> None:
        self._what = what
        self._free = places
        self._reserved = max(1, places // _RESERVED_PART)
        self._taken: Counter[str] = Counter()

    @contextmanager
    def place(self) -> Iterator[None]:
        """One for the `caller`.

        Raises:
            Problem: 429, there is none for it.
        """
        name = caller.get()
        if self._free <= (self._reserved if self._taken[name] else 0):
            raise too_many(
                f"Too many {self._what}",
                f"as many {self._what} as allowed are open already: API_{self._what.upper()}",
                _RETRY_AFTER_SECONDS,
            )
        self._free -= 1
        self._taken[name] += 1
        try:
            yield
        finally:
            self._free += 1
            self._taken[name] -= 1
            if not self._taken[name]:
                del self._taken[name]
