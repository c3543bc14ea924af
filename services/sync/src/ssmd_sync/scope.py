"""What a run is about: which series, which states of their markets. Pure."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

SPORTS: Final = "Sports"


class Mode(StrEnum):
    """How much of the exchange a run reads."""

    FULL = "full"
    """Everything that is not settled, what settled lately, fees; then what disappeared."""
    ACTIVE = "active"
    """Only what trades: quotes, and events with their markets."""
    INCREMENTAL = "incremental"
    """What the exchange says has changed since the last run, trading aside."""
    WINDOWS = "windows"
    """What closed or settled during the last day."""
    SERIES = "series"
    """Series only."""
    FEES = "fees"
    """Fee schedules only."""


READS_MULTIVARIATE: Final = (Mode.FULL, Mode.INCREMENTAL, Mode.WINDOWS)
"""Modes that can read multivariate markets: of the others, quotes are the matter, and these are not
kept."""


class SeriesFacts(msgspec.Struct, frozen=True, array_like=True):
    """What decides whether a series is in a scope."""

    ticker: str
    category: str | None = None
    tags: list[str] | None = None
    is_game: bool = False
    volume: int | None = None
    active: bool = True


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A series is in scope when it has one of the categories, one of the tags, enough volume and,
    with `games_only` and in Sports, is about single games; an empty list excludes nothing."""

    mode: Mode = Mode.FULL
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    games_only: bool = False
    min_volume: int = 0
    by_series: bool = False
    multivariate: bool = False
    """Whether multivariate markets are read, too: of modes full, incremental and windows."""

    @property
    def restricted(self) -> bool:
        """Whether some series may be out of scope."""
        return bool(self.categories or self.tags or self.games_only or self.min_volume)

    @property
    def key(self) -> str:
        """Names the selection, not the mode: watermarks of equal selections are shared."""
        parts = [
            *(f"category={name}" for name in sorted(self.categories)),
            *(f"tag={name}" for name in sorted(self.tags)),
            *(["games"] if self.games_only else []),
            *([f"volume={self.min_volume}"] if self.min_volume else []),
        ]
        return ";".join(parts) or "all"

    def selects(self, series: SeriesFacts) -> bool:
        """Whether a series, and all below it, is in scope."""
        if self.categories and series.category not in self.categories:
            return False
        if self.tags and not set(self.tags).intersection(series.tags or ()):
            return False
        if self.games_only and series.category == SPORTS and not series.is_game:
            return False
        return not self.min_volume or (series.volume or 0) >= self.min_volume

    def tracked(self, series: Iterable[SeriesFacts]) -> list[str]:
        """The tickers of those that are in scope."""
        return [each.ticker for each in series if self.selects(each)]
