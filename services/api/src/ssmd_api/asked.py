"""What lists are asked for: read once for all requests that ask with the same letters."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Generic, cast

from aiohttp import web

from ssmd_api import filters, refusals
from ssmd_api.filters import EventFilter, F, MarketFilter
from ssmd_api.formats import Wished
from ssmd_api.lists import Listing
from ssmd_api.paging import Page
from ssmd_api.parameters import Parameters
from ssmd_api.shapes import Shape
from ssmd_common.columns import Table

MOST: Final = 1000
_LONGEST: Final = 500
"""Of parameters that are remembered, in characters: cursors are among them."""


@dataclass(frozen=True, slots=True)
class Asked(Generic[F]):
    """Which rows, which page of them, what of each, as of when (None is now), and in what form."""

    wanted: F
    page: Page
    shape: Shape
    at: datetime | None
    wished: Wished
    kept: list[tuple[object, Listing]] = field(default_factory=list, compare=False, repr=False)

    def listing(self, make: Callable[..., Listing], *aged: tuple[Table, ...]) -> Listing:
        """Its query, by `make` of the rows, the page, the shape and `aged`: made once for all who
        ask the same, as long as ages need the same."""
        if not self.kept or self.kept[0][0] != aged:
            self.kept[:] = [(aged, make(self.wanted, self.page, self.shape, *aged))]
        return self.kept[0][1]


def of_list(
    request: web.Request,
    kind: type[F],
    table: Table,
    ticker: str,
    shape: Shape,
) -> Asked[F]:
    """What a request asks of a list of `kind`. It is remembered, unless it depends on when it is
    asked.

    Raises:
        Problem: a 400 that names everything that is wrong.
    """
    query = request.raw_path.partition("?")[2]
    found = remembered.get((kind, query))
    if found is not None:
        return cast(Asked[F], found)
    given = Parameters(request.query, datetime.now(UTC))
    asked = read(given, kind, table, ticker, shape)
    if len(query) <= _LONGEST and not given.by_the_clock:
        if len(remembered) >= MOST:
            remembered.clear()
        remembered[kind, query] = asked
    return asked


def read(given: Parameters, kind: type[F], table: Table, ticker: str, shape: Shape) -> Asked[F]:
    """What parameters ask of a list of `kind`.

    Raises:
        Problem: a 400 that names everything that is wrong.
    """
    wanted = filters.read(kind, given)
    page, shown = given.page(table, ticker), given.shape(shape)
    asked = Asked(wanted, page, shown, given.as_of(), given.wished())
    if isinstance(wanted, EventFilter | MarketFilter):
        given.refuse(refusals.refusal(wanted, asked.page.sort, ticker))
    given.done()
    return asked


remembered: Final[dict[tuple[object, str], object]] = {}
