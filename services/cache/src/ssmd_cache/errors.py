"""What can end a part of the cache's work; `SsmdError`s end the service."""

from typing import Any

from ssmd_common.errors import LeadershipLost
from ssmd_stream.errors import UnreadableMessage


class Fenced(LeadershipLost):
    """A later leader has written to Redis: this process must not write any more."""


class UnreadableRow(UnreadableMessage):
    """A row that readers cannot be given; `facts` are what the rules need of it, if known."""

    def __init__(self, reason: str, text: str, facts: Any = None) -> None:
        super().__init__(reason, text)
        self.facts = facts


class ContentsLost(Exception):
    """Redis no longer holds what was written: it was flushed, or restarted without its data."""


class SequenceGap(Exception):
    """Redis holds an older state than was written (it went back in time): read on from `at`."""

    def __init__(self, at: int) -> None:
        super().__init__(f"Redis went back to sequence {at}")
        self.at = at


class KeyTypeConflict(Exception):
    """Keys of ours hold someone else's type; they are left alone."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__(
            f"keys with our names hold another type and are left alone ({', '.join(keys[:5])}): "
            "remove them, or set REDIS_KEY_PREFIX"
        )
        self.keys = keys


class WarmUpDue(Exception):
    """Something asks for a warm-up; its text says what."""
