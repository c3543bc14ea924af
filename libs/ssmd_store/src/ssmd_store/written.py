"""What became of a batch. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal

from ssmd_common.models import RejectedField, RejectedRow

Count = Literal["inserted", "updated", "unchanged", "deleted"]
COUNTS: Final[tuple[Count, ...]] = ("inserted", "updated", "unchanged", "deleted")


@dataclass(frozen=True, slots=True)
class RejectedIn:
    """A field of a row that was written without it."""

    ticker: str
    field: RejectedField


@dataclass(slots=True)
class Written:
    """Each row is counted once, or rejected, or an orphan."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected_rows: list[RejectedRow] = field(default_factory=list)
    rejected: list[RejectedIn] = field(default_factory=list)
    became: Counter[str] = field(default_factory=Counter)
    """Statuses that updated markets had not before."""
    orphans: set[str] = field(default_factory=set)
    """Tickers of markets whose event is not stored: write the event, then these again."""

    def add(self, other: "Written") -> None:
        self.inserted += other.inserted
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.deleted += other.deleted
        self.rejected_rows += other.rejected_rows
        self.rejected += other.rejected
        self.became += other.became
        self.orphans |= other.orphans
