"""Every filter in every order, as `test_api_plans.py` has them: PostgreSQL's processor time for a
page of 100, with its planning, beside that of the plain list. Least of several, in nanoseconds of
the backend's own clock: what else the machine does is not in it."""

import sys
from itertools import product
from pathlib import Path
from typing import Any, Final

import psycopg

from ssmd_api import lists, refusals
from ssmd_api.database import PLANNING
from ssmd_api.filters import MarketFilter, SeriesFilter
from ssmd_api.lists import Listing
from ssmd_api.paging import Page
from ssmd_api.parameters import orders

sys.path.append(str(Path(__file__).parents[1] / "services/api/tests"))
import test_api_plans as plans  # type: ignore[import-not-found]

ROUNDS: Final = 3
DOUBTED: Final = 1.7
"""What seems to be so many times slower is measured again."""


class Backend:
    """A session of PostgreSQL on this machine, planned as the API's are."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._cursor = psycopg.AsyncClientCursor(connection)
        self._clock = Path(f"/proc/{connection.info.backend_pid}/schedstat")

    def _busy(self) -> float:
        """Milliseconds of a processor so far."""
        return int(self._clock.read_text().split()[0]) / 1e6

    async def took(self, listing: Listing, rounds: int = ROUNDS) -> float:
        """Milliseconds, the least."""
        text = self._cursor.mogrify(listing.query, listing.parameters)
        found = []
        for _ in range(rounds):
            before = self._busy()
            await self._cursor.execute(text)
            await self._cursor.fetchall()
            found.append(self._busy() - before)
        return min(found)


async def compared(database: str) -> list[tuple[float, float, str]]:
    """Each list's time ÷ the plain one's, its milliseconds, and what it is; the slowest first."""
    plain = lists.markets(MarketFilter(), Page("ticker", 100))
    found: list[tuple[float, str]] = []
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        for name, value in PLANNING.items():
            await connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        backend = Backend(connection)
        least = await backend.took(plain, 30)
        for listed, kind, table, filters in plans.LISTED:
            for given, sort in product(filters, [*orders(table), *plans.SEVERAL[table.name]]):
                # The universe has no multivariate rows.
                if given.get("multivariate"):
                    continue
                wanted = kind(**given)
                key = table.columns[0].name
                if kind is not SeriesFilter and refusals.refusal(wanted, sort, key):
                    continue
                for cursor in (None, plans.within(table, sort)):
                    listing = listed(wanted, Page(sort, 100, cursor))
                    took = await backend.took(listing)
                    if took > DOUBTED * least:
                        took = min(took, await backend.took(listing, 3 * ROUNDS))
                    where = "from within" if cursor else "from the first"
                    found.append((took, f"{table.name} {given} by {sort}, {where}"))
        least = min(least, await backend.took(plain, 30))
    return sorted(((took / least, took, what) for took, what in found), reverse=True)
