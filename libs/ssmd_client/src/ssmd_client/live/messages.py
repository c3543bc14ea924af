"""What a live view tells of: changes, and when its continuity was lost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from ssmd_client.live.compact import columns_of
from ssmd_stream.change import Change as Envelope
from ssmd_stream.change import decode


class Message(NamedTuple):
    """A message of the change stream as it came; an unreadable one may have lost its payload."""

    sequence: int
    subject: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one row, which the picture has by now.

    `type` says what happened to whom (docs/contracts.md § 2: `market_settled`, `fee_changed` …).
    `row` is the row after it, None where it is gone or out of scope; `before` is what the picture
    had. Of a whole table (`op` truncate) both are None. Times are of the commit.
    """

    type: str
    table: str
    op: str
    ticker: str | None
    row: Any
    before: Any
    at: datetime | None
    sequence: int
    position: str
    payload: bytes = field(repr=False)

    @property
    def columns(self) -> frozenset[str]:
        """The columns that differ between `before` and `row`; empty where one of them is None."""
        if self.row is None or self.before is None:
            return frozenset()
        return frozenset(
            name
            for name in columns_of(self.row)
            if getattr(self.row, name) != getattr(self.before, name)
        )

    @property
    def envelope(self) -> Envelope:
        """The whole message as it was published.

        Raises:
            UnreadableMessage: it cannot be read; its row was read from the database instead.
        """
        return decode(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """The continuity was lost, and the picture was made anew: changes in between were not told one
    by one. What the picture shows now is right."""

    reason: str
    at: datetime
    sequence: int
    differences: Mapping[str, int]
    """By table, how many rows are not as they were."""
    type: str = "renewed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """This reader was too slow: so many changes were not told to it. What the picture shows is
    right."""

    count: int
    type: str = "missed"


Item = Change | Renewed | Missed
