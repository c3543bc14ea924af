"""Which observation of a row wins. Pure.

Three tell of a market: pages of REST, the WebSocket's messages, and the clock for the openings and
closings that the exchange does not send. `RULES` says for each pair when what comes counts; the
same table stands in docs/contracts.md § 1. Pages are judged by `rules.sql`, which takes its
intervals from here, messages by `ssmd_lifecycle.apply.transitions`, the clock by
`ssmd_lifecycle.clock.timed` and, where PostgreSQL finds what is due, by `clock.sql`.
"""

from dataclasses import astuple, dataclass
from datetime import timedelta
from typing import Final, Literal

from ssmd_common.skew import HELD_SECONDS

REST_LAG: Final = timedelta(seconds=2)
"""A page may not know yet what a message said this long before the page was asked for: it comes
from a copy, and the exchange's clock may not be ours."""

STAMP_LAG: Final = timedelta(seconds=10)
"""A message is sent this much after the change that it reports, at most: a page whose row changed
so little before the stored version is no older copy."""

OPENING_GRACE: Final = timedelta(seconds=10)
"""A page may be this much behind an opening; one that was asked for later and still says
`initialized` is believed: the market has not opened."""

STAMPED_AHEAD: Final = timedelta(seconds=HELD_SECONDS)
"""No clock that may write is so far ahead: a stamp beyond this is of one that was wrong, and counts
as none."""

Comes = Literal["a page", "a message", "the clock"]
Stored = Literal["by a page", "by a message", "by the clock", "deleted", "settled", "at all"]


@dataclass(frozen=True, slots=True)
class Rule:
    """`comes` wins over what is `stored` where `counts` holds, and else changes nothing."""

    table: Literal["markets", "events", "series"]
    comes: Comes
    stored: Stored
    counts: str


RULES: Final = (
    Rule("markets", "a page", "by a page",
         "it was asked for no earlier, and the exchange changed the row no earlier"),
    Rule("markets", "a page", "by a message",
         "it was asked for after the message arrived, 2 s after it to take back a closing, and the "
         "exchange changed the row no more than 10 s before the stored version"),
    Rule("markets", "a page", "by the clock",
         "it was asked for after the transition, and the exchange changed the row no more than "
         "10 s before the stored version; it takes back no closing or opening whose time, as the "
         "page says it, has come"),
    Rule("markets", "a page", "deleted", "it was asked for no earlier than the deletion"),
    Rule("markets", "a page", "settled",
         "it says settled or nothing, or the exchange changed the row after the settlement and "
         "after the stored version"),
    Rule("markets", "a message", "by a page",
         "it was sent less than 2 s before the page was asked for, or later; a result, a "
         "settlement value and a settled time fill in what the page had not"),
    Rule("markets", "a message", "by a message",
         "no message that was sent later speaks of the column"),
    Rule("markets", "a message", "by the clock",
         "no message that was sent later speaks of the column; a closing stays until the close "
         "time moves into the future"),
    Rule("markets", "a message", "deleted", "it says created, and was sent after the deletion"),
    Rule("markets", "a message", "settled", "never for the status; other columns as above"),
    Rule("markets", "the clock", "by a page",
         "the time has come; to open, the page was asked for less than 10 s after it"),
    Rule("markets", "the clock", "by a message", "the time has come"),
    Rule("markets", "the clock", "by the clock", "the time has come"),
    Rule("markets", "the clock", "deleted", "never"),
    Rule("markets", "the clock", "settled", "never"),
    Rule("events", "a page", "at all",
         "the stored row has no title; else it was asked for after the row was last written, and "
         "the exchange changed the row no earlier"),
    Rule("events", "a message", "at all",
         "no message that was sent later speaks of the column, and the exchange has not changed "
         "the stored row since; an announcement fills in what the row has not"),
    Rule("series", "a page", "at all", "the exchange changed the row no earlier"),
)  # fmt: skip


def as_markdown() -> str:
    """The table as docs/contracts.md has it."""
    lines = ["| table | what comes | what is stored | it counts where |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(astuple(rule))} |" for rule in RULES)])
