"""Which rows a live view holds. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

KINDS: Final = ("events", "markets")
"""Tables that have multivariate rows."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Everything, or what belongs to some series, or to series and events of some categories.

    With categories all series and events are held, since they say what belongs to one; of the
    markets only those whose category, the event's or else the series', is one of these.
    """

    series: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    multivariate: bool = False
    """Whether multivariate markets and their events are held, which outnumber the others."""

    @classmethod
    def of(
        cls,
        series: str | Collection[str] | None,
        categories: Collection[str] | None,
        *,
        multivariate: bool = False,
    ) -> "Scope":
        """TypeError where categories are one text, which would be its letters."""
        if isinstance(categories, str):
            raise TypeError("categories: must be several, such as ['Crypto']")
        several = (series,) if isinstance(series, str) else series or ()
        return cls(frozenset(several), frozenset(categories or ()), multivariate)

    @property
    def is_bounded(self) -> bool:
        """Whether there are rows that it does not hold."""
        return bool(self.series or self.categories or not self.multivariate)

    @property
    def one_series(self) -> str | None:
        """The only one, by which a server can filter; None for several or all."""
        return next(iter(self.series)) if len(self.series) == 1 else None

    def holds(self, table: str, row: Any) -> bool:
        """Whether a row is of the series, and of the kinds; categories are for `holds_category`."""
        if not self.multivariate and table in KINDS and row.mve_collection_ticker is not None:
            return False
        if not self.series or table == "fees":
            return True
        name = row.ticker if table == "series" else row.series_ticker
        return name in self.series

    def holds_category(self, category: str | None) -> bool:
        return not self.categories or category in self.categories
