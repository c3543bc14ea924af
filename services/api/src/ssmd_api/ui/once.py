"""Forms that do something once, however often a browser sends them. Pure.

What they did cannot be shown again, so it is not asked of PostgreSQL: this process remembers.
"""

from collections import OrderedDict
from typing import Final

_REMEMBERED: Final = 1000


class Once:
    """Remembers the latest nonces of forms."""

    def __init__(self) -> None:
        self._taken: OrderedDict[str, None] = OrderedDict()

    def take(self, nonce: str) -> bool:
        """Whether the form may do what it is for: it has a nonce, and was not sent before."""
        if not nonce or nonce in self._taken:
            return False
        self._taken[nonce] = None
        if len(self._taken) > _REMEMBERED:
            self._taken.popitem(last=False)
        return True

    def give_back(self, nonce: str) -> None:
        """It did not do it: it may be sent again."""
        self._taken.pop(nonce, None)
