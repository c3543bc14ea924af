"""A market's life as a pure timetable: its status at a time, and when it changes.

The exchange announces creation, determination and settlement on the WebSocket; opening at
`open` and closing at `close` happen by the clock alone, without any message.
"""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Timetable:
    """The moments of a life in seconds since 1970; `inf` where the moment is not known yet."""

    created: float
    open: float
    close: float
    determined: float = inf
    settled: float = inf
    expected_expiration: float | None = None
    latest_expiration: float = 0.0


def status_at(life: Timetable, now: float, *, paused: bool = False, contested: str = "") -> str:
    """The exchange's word for the market's state.

    `paused` shows only while the market would be active; `contested` (`disputed` or `amended`)
    only between determination and settlement.
    """
    if now >= life.settled:
        return "finalized"
    if now >= life.determined:
        return contested or "determined"
    if now >= life.close:
        return "closed"
    if now >= life.open:
        return "inactive" if paused else "active"
    return "initialized"


def next_boundary(life: Timetable, now: float) -> float:
    """When the status will next change by itself; `inf` if never."""
    if now < life.open:
        return life.open
    if now < life.close:
        return life.close
    if now < life.determined:
        return life.determined
    return life.settled if now < life.settled else inf


STATUSES_OF_QUERY = {
    "unopened": frozenset({"initialized"}),
    # A pause inside trading hours leaves the market open to this query.
    "open": frozenset({"active", "inactive"}),
    "paused": frozenset({"inactive"}),
    "closed": frozenset({"closed", "determined", "disputed", "amended"}),
    "settled": frozenset({"finalized"}),
}
"""The words of the `status` filter and the words in the `status` field are different sets."""
