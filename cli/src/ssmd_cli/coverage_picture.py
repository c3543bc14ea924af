"""A span of time as a picture: signs for a terminal, that are told apart without colours, too."""

from datetime import UTC, datetime
from typing import Final, NamedTuple

from ssmd_stream.market.coverage import State
from ssmd_stream.market.timeline import Interval, Span


class Look(NamedTuple):
    """How a state is shown: a sign and its style in a terminal, a colour in a drawing."""

    sign: str
    style: str
    colour: str


LOOKS: Final = {
    State.COMPLETE: Look("█", "\x1b[32m", "#2e7d32"),
    State.REPAIRED: Look("▓", "\x1b[36m", "#0288d1"),
    State.GAP: Look("×", "\x1b[31m", "#c62828"),
    State.UNKNOWN: Look("?", "\x1b[33m", "#f9a825"),
    State.NOT_SUBSCRIBED: Look("·", "\x1b[2m", "#cfd8dc"),
}
_PLAIN: Final = "\x1b[0m"
_WORST: Final = (
    State.NOT_SUBSCRIBED,
    State.COMPLETE,
    State.REPAIRED,
    State.UNKNOWN,
    State.GAP,
)


def cells(intervals: list[Interval], span: Span, width: int) -> list[State | None]:
    """The worst state of each part of the span, so that no hole is too short to be seen."""
    length = max(span.until - span.since, 1)
    worst = [-1] * width
    ranks = {state: rank for rank, state in enumerate(_WORST)}
    for interval in intervals:
        first = (interval.since - span.since) * width // length
        last = max((interval.until - span.since) * width - 1, 0) // length
        rank = ranks[State(interval.state)]
        for at in range(max(first, 0), min(last, width - 1) + 1):
            worst[at] = max(worst[at], rank)
    return [None if rank < 0 else _WORST[rank] for rank in worst]


def picture(intervals: list[Interval], span: Span, width: int, *, styled: bool) -> str:
    """A character for each part of the span."""
    parts = []
    for state in cells(intervals, span, width):
        if state is None:
            parts.append(" ")
        else:
            look = LOOKS[state]
            parts.append(f"{look.style}{look.sign}{_PLAIN}" if styled else look.sign)
    return "".join(parts)


def legend(*, styled: bool) -> str:
    """What the signs mean."""
    return "  ".join(
        f"{look.style}{look.sign}{_PLAIN} {state}" if styled else f"{look.sign} {state}"
        for state, look in LOOKS.items()
    )


def axis(span: Span, width: int) -> str:
    """The clock, UTC: at the beginning, the end, and in between where there is room."""
    end = f"{clock(span.until)} UTC"
    line = ""
    # The last clock and the end stand in one part.
    room = width // (len(clock(span.since)) + 1 + len(end))
    parts = next((parts for parts in (4, 2) if parts <= room), 1)
    for part in range(parts):
        at = span.since + (span.until - span.since) * part // parts
        line = f"{line:<{width * part // parts}}{clock(at)}"
    return f"{line}{'':{max(1, width - len(line) - len(end))}}{end}"


def clock(moment: int) -> str:
    """`HH:MM:SS` of microseconds since 1970."""
    return f"{datetime.fromtimestamp(moment / 1e6, UTC):%H:%M:%S}"
