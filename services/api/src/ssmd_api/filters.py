"""What a list is asked for: plain values, already checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ssmd_api.cursors import Cursor


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list: its order (`name` ascends, `-name` descends), its start, its length."""

    sort: str
    limit: int
    cursor: Cursor | None = None
    filters: str = ""
    """The digest of the list's filters, for its next cursor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFilter:
    """A series has one of the tags, and each of the words in its ticker or title."""

    category: str | None = None
    tags: Sequence[str] = ()
    is_game: bool | None = None
    active: bool | None = None
    words: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """`category` is the event's own, else its series'. With `closing_before` (exclusive) or
    `closing_after` (inclusive) some market of the event closes in that time."""

    category: str | None = None
    statuses: Sequence[str] = ()
    series: str | None = None
    tags: Sequence[str] = ()
    is_game: bool | None = None
    closing_before: datetime | None = None
    closing_after: datetime | None = None
    words: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketFilter:
    """`category` is its event's, else its series'; `min_volume` is the market's own, in whole
    contracts."""

    category: str | None = None
    statuses: Sequence[str] = ()
    series: str | None = None
    event: str | None = None
    tags: Sequence[str] = ()
    is_game: bool | None = None
    closing_before: datetime | None = None
    closing_after: datetime | None = None
    min_volume: int | None = None
    words: Sequence[str] = ()
