"""What is kept of multivariate markets (docs/decisions/0051): all but their quotes.

They outnumber all other markets ten to one, trade on request for quotes, and mostly not at all:
prices and counts of theirs would be most of what is written, and old when they are read.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ssmd_common import tables
from ssmd_common.models import Market

QUOTES: Final = tuple(
    name
    for column in tables.MARKETS.columns
    if column.exact
    for name in (column.name, column.exact)
)
"""The columns that are NULL in a multivariate market."""

_NONE: Final[dict[str, Any]] = dict.fromkeys(QUOTES)


def without_quotes(rows: Sequence[Market]) -> Sequence[Market]:
    """The rows, of multivariate markets without their quotes."""
    if all(row.mve_collection_ticker is None for row in rows):
        return rows
    return [
        row if row.mve_collection_ticker is None else msgspec.structs.replace(row, **_NONE)
        for row in rows
    ]
