"""A run that is over, as the schedule and readiness judge by it. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

STOPPED: Final = "the run was stopped before its end"
"""The error of a run that ended with its process, as that was asked to."""


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run that ended, or was killed: then it never finished."""

    started_at: datetime
    finished_at: datetime | None
    outcome: str
    error: str | None = None

    @property
    def done(self) -> bool:
        """Its work came to its end, whatever it found."""
        return self.outcome not in ("failed", "running")

    @property
    def succeeded(self) -> bool:
        """What it was to read is stored, but for rows that could not be read."""
        return self.outcome in ("ok", "partial")

    @property
    def telling(self) -> bool:
        """Whether it says anything of how the job fares: it ended, and not because of a stop."""
        return self.outcome != "running" and self.error != STOPPED
