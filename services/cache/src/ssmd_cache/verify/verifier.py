"""Whether Redis holds what PostgreSQL says, entry by entry, and what it holds beyond that.

rows → what they call for (expectation.py) → what Redis holds (reading.py), and beyond that
(surplus.py) → what differs is looked at again, until it stays → report.py
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any, Final

import redis.asyncio as aioredis

from ssmd_cache.database.rows import Connection, Rows, queries
from ssmd_cache.errors import UnreadableRow
from ssmd_cache.projection.facts import TABLES, facts_of
from ssmd_cache.verify.entries import About, Entry, Found
from ssmd_cache.verify.expectation import Expectation
from ssmd_cache.verify.reading import read
from ssmd_cache.verify.report import Difference, Report, Unread, differences_of, is_same
from ssmd_cache.verify.surplus import surplus
from ssmd_cache.writer.names import clock
from ssmd_common.keys import Keys

RECHECKS: Final = 5
PAUSE_SECONDS: Final = 0.6
_PAGE: Final = 1000


class Verifier:
    """Compares at a quiet moment: what differs is looked at again, so changes under way pass."""

    def __init__(
        self,
        connection: Connection,
        client: aioredis.Redis,
        keys: Keys,
        *,
        rechecks: int = RECHECKS,
        pause_seconds: float = PAUSE_SECONDS,
        page_pause_seconds: float = 0.0,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._connection = connection
        self._client = client
        self._keys = keys
        self._rechecks = rechecks
        self._pause_seconds = pause_seconds
        self._page_pause_seconds = page_pause_seconds
        self._progress = progress
        self._rows = Rows(connection)
        self._compared_rows = self._compared_entries = 0
        self._unreadable: dict[About, str] = {}

    async def full(self) -> Report:
        """Every row, and everything in Redis that no row accounts for."""
        await self._rows.prepare()
        suspects = await self._compare_all()
        return await self._report(suspects)

    async def sample(self, count: int) -> Report:
        """Some markets by chance, with their events, series and fees."""
        await self._rows.prepare()
        cursor = await self._connection.execute(queries.sample_markets, {"count": count})
        markets = [About("markets", row[0]) for row in await cursor.fetchall()]
        expected, about = await self._expect(markets, with_parents=True)
        wrong = await self._compare(expected)
        return await self._report({entry: about.get(entry) for entry in wrong})

    async def _report(self, suspects: dict[Entry, About | None]) -> Report:
        differences: dict[tuple[str, str], Difference] = {}
        for attempt in range(self._rechecks):
            if not suspects:
                break
            if attempt:
                await asyncio.sleep(self._pause_seconds)
            told: dict[tuple[str, str], Difference] = {}
            still: dict[Entry, About | None] = {}
            for some in _in_pages(suspects):
                for difference in await self._look_again(some, still):
                    at = (difference.key, difference.field)
                    # What is wrong in the same way twice is no change under way.
                    if not attempt or differences.get(at) == difference:
                        told[at] = difference
            differences, suspects = told, still
        return Report(
            self._compared_rows,
            self._compared_entries,
            [difference for _, difference in sorted(differences.items())],
            sorted(Unread(*row, reason) for row, reason in self._unreadable.items()),
        )

    async def _look_again(
        self, suspects: dict[Entry, About | None], still: dict[Entry, About | None]
    ) -> list[Difference]:
        """The differences of these entries now; those that have any are added to `still`."""
        expected, _ = await self._expect({row for row in suspects.values() if row is not None})
        wanted = {entry: expected.get(entry) for entry in suspects}
        wrong = await self._compare(wanted)
        still |= {entry: suspects[entry] for entry in wrong}
        return [d for entry in wrong for d in differences_of(entry, wanted[entry], wrong[entry])]

    async def _compare_all(self) -> dict[Entry, About | None]:
        now = await clock(self._client)
        expectation = Expectation(self._keys, now)
        suspects: dict[Entry, About | None] = {}
        known: dict[str, set[str]] = defaultdict(set)
        async with self._connection.transaction():
            await self._connection.execute(
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
            )
            for table in TABLES:
                async with aclosing(self._rows.all(table, now, _PAGE)) as pages:
                    async for page in pages:
                        self._compared_rows += len(page)
                        found = [row[0] for row in page]
                        if table == "series_fees":
                            found = [step for schedule in found for step in schedule]
                        await self._compare_page(table, found, expectation, known, suspects)
                        self._progress(self._compared_rows)
                        await asyncio.sleep(self._page_pause_seconds)
        self._unreadable = expectation.unreadable
        return suspects | await surplus(self._client, self._keys, known)

    async def _compare_page(
        self,
        table: str,
        page: list[bytes],
        expectation: Expectation,
        known: dict[str, set[str]],
        suspects: dict[Entry, About | None],
    ) -> None:
        expected, about = expectation.of(table, page)
        for key, field in expected:
            known[key].add(field)
        for entry in await self._compare(expected):
            suspects[entry] = about[entry]

    async def _compare(self, expected: Found) -> Found:
        """Those entries that hold something else, with what they hold."""
        self._compared_entries += len(expected)
        found = await read(self._client, self._keys, expected)
        return {
            entry: found[entry]
            for entry in expected
            if not is_same(entry, expected[entry], found[entry])
        }

    async def _expect(
        self, rows: Iterable[About], *, with_parents: bool = False
    ) -> tuple[Found, dict[Entry, About]]:
        """What these rows call for now, as PostgreSQL has them at this moment."""
        tickers: dict[str, set[str]] = {table: set() for table in TABLES}
        for table, ticker in rows:
            tickers[table].add(ticker)
        markets = await self._rows.some("markets", sorted(tickers["markets"]))
        parents = [_known("markets", row) for row in markets]
        events = tickers["events"] | {getattr(facts, "event_ticker", "") for facts in parents}
        event_rows = await self._rows.some("events", sorted(events))
        series = tickers["series"] | {
            getattr(facts, "series_ticker", "")
            for facts in (*parents, *(_known("events", row) for row in event_rows))
        }
        fees = tickers["series_fees"] | (series if with_parents else set())
        expectation = Expectation(self._keys, await clock(self._client))
        found: Found = {}
        about: dict[Entry, About] = {}
        for table, part in (
            ("series", await self._rows.some("series", sorted(series))),
            ("events", event_rows),
            ("markets", markets),
            ("series_fees", await self._rows.some("series_fees", sorted(fees))),
        ):
            more, whose = expectation.of(table, part)
            found |= more
            about |= whose
            if with_parents:
                self._compared_rows += len(part)
        if with_parents:
            self._unreadable = expectation.unreadable
        return found, about


def _known(table: str, row: bytes) -> Any:
    """The facts of a row as far as they are known, also of one that cannot be shown."""
    try:
        return facts_of(table, row)
    except UnreadableRow as error:
        return error.facts


def _in_pages(suspects: dict[Entry, About | None]) -> Iterator[dict[Entry, About | None]]:
    """Those of the same rows together."""
    entries = sorted(suspects, key=lambda entry: suspects[entry] or ("", ""))
    for first in range(0, len(entries), _PAGE):
        yield {entry: suspects[entry] for entry in entries[first : first + _PAGE]}
