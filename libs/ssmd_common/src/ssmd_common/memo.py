"""A function of one value, remembered. Pure."""

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

V = TypeVar("V")

ENTRIES: Final = 16_384
"""All prices and most times of a universe."""


class Memo(dict[Any, V], Generic[V]):
    """Asked for by its argument; emptied when full."""

    def __init__(self, parse: Callable[[Any], V]) -> None:
        super().__init__()
        self._parse = parse

    def __missing__(self, key: Any) -> V:
        if len(self) >= ENTRIES:
            self.clear()
        value = self[key] = self._parse(key)
        return value
