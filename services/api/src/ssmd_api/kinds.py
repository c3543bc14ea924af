"""Whether lists show multivariate events and markets: `multivariate=exclude|include|only`.

They outnumber the others ten to one. Each index of a list has the one kind or the other
(migrations/023 and 024), so a query of both is two, each in an index's order.
"""

from enum import StrEnum
from typing import Final, LiteralString


class Multivariate(StrEnum):
    """Which kinds a list shows."""

    EXCLUDE = "exclude"
    INCLUDE = "include"
    ONLY = "only"


SINGLE: Final[LiteralString] = "mve_collection_ticker IS NULL"
COMBINED: Final[LiteralString] = "mve_collection_ticker IS NOT NULL"
KINDS: Final[dict[Multivariate, tuple[LiteralString, ...]]] = {
    Multivariate.EXCLUDE: (SINGLE,),
    Multivariate.INCLUDE: (SINGLE, COMBINED),
    Multivariate.ONLY: (COMBINED,),
}
"""The conditions of each, which exclude each other."""

OF_BOTH_KINDS: Final = ("events", "markets")
"""The tables that have multivariate rows and others."""
