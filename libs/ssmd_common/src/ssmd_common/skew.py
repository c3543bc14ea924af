"""How far two clocks are apart, as far as a question and its answer can tell. Pure.

The other's time was read at some moment between asking and hearing, so a reply that took two
seconds says no more than two seconds' worth: a slow reply is no wrong clock.
"""

from dataclasses import dataclass
from typing import Final

WARNED_SECONDS: Final = 2.0
"""Beyond this an operator should look; NTP keeps clocks within a few hundredths of a second."""
HELD_SECONDS: Final = 30.0
"""Beyond this nothing is stamped or turned by our clock."""


@dataclass(frozen=True, slots=True)
class Offset:
    """Our clock minus the other: at least `least` and at most `most` seconds."""

    least: float
    most: float

    @classmethod
    def measured(cls, asked_at: float, theirs: float, seconds: float) -> "Offset":
        """From our time when we asked, the answer, and how long that took."""
        return cls(asked_at - theirs, asked_at + seconds - theirs)

    @property
    def certain(self) -> float:
        """The smallest difference that explains the answer, with its sign; 0 where none need be."""
        return max(self.least, min(0.0, self.most))

    def exceeds(self, seconds: float) -> bool | None:
        """Whether the clocks are further apart than that; None where the answer cannot tell."""
        if abs(self.certain) > seconds:
            return True
        return False if max(-self.least, self.most) <= seconds else None

    @property
    def sentence(self) -> str:
        """The two differ; which of them is wrong is not known."""
        size = abs(self.certain)
        amount = f"{size:.0f} s" if size >= 10 else f"{size:.1f} s"
        order = "ahead of" if self.certain > 0 else "behind"
        return (
            f"the clock here is {amount} {order} PostgreSQL's: which of the two is wrong cannot be "
            "told from here, so set both machines by NTP"
        )
