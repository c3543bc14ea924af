"""Rows that the stream could not carry, read from PostgreSQL, and what they do in Redis."""

from collections import defaultdict
from collections.abc import Sequence

from ssmd_cache.apply import Refetch
from ssmd_cache.commands import TABLES, Command, after, gone, hidden, only_steps, picture_of, put
from ssmd_cache.errors import UnreadableRow
from ssmd_cache.lookup import Lookup
from ssmd_cache.picture import FeePicture, facts_of, ticker_of
from ssmd_cache.unreadable import Unreadable
from ssmd_common.keys import Keys
from ssmd_stream.change import Position


class Refetcher:
    """Tells `unreadable` of each row whether it can be read."""

    def __init__(self, lookup: Lookup, keys: Keys, unreadable: Unreadable) -> None:
        self._lookup = lookup
        self._keys = keys
        self._unreadable = unreadable

    async def resolve(self, pending: Sequence[Command | Refetch]) -> list[Command]:
        """Commands in their order, with what had to be read from PostgreSQL in its place."""
        wanted: dict[str, set[str]] = defaultdict(set)
        for effect in pending:
            if isinstance(effect, Refetch):
                wanted[effect.table].add(effect.ticker)
        rows: dict[tuple[str, str], list[bytes]] = defaultdict(list)
        for table, tickers in wanted.items():
            for row in await self._lookup.rows(table, sorted(tickers)):
                rows[table, ticker_of(table, row)].append(row)
        commands: list[Command] = []
        for effect in pending:
            if isinstance(effect, Refetch):
                found = rows[effect.table, effect.ticker]
                some = self.effects(effect.table, effect.ticker, found, effect.position)
                commands += [after(command, effect.sequence) for command in some]
            else:
                if self._unreadable.rows and effect.row[0] in ("m", "e", "s"):
                    self._unreadable.readable([(TABLES[effect.row[0]], effect.row[1])])
                commands.append(effect)
        await self._unreadable.save()
        return commands

    def effects(
        self, table: str, ticker: str, rows: list[bytes], position: Position
    ) -> list[Command]:
        """What a row that was read from PostgreSQL does, or a whole fee schedule."""
        commands: list[Command] = []
        starts: list[int] = []
        trouble: UnreadableRow | None = None
        for row in rows:
            try:
                picture = picture_of(facts_of(table, row), self._keys)
            except UnreadableRow as error:
                trouble = error
                command = hidden(table, ticker, error.facts, position)
                commands += [command] if command else []
                continue
            if isinstance(picture, FeePicture):
                starts.append(picture.from_microseconds)
            commands.append(put(picture, row, position))
        if table == "series_fees":
            commands.insert(0, only_steps(ticker, starts, position))
        elif not rows:
            commands.append(gone(table, ticker, position))
        if trouble is None:
            self._unreadable.readable([(table, ticker)])
        else:
            self._unreadable.add((table, ticker), trouble.reason, str(trouble))
        return commands
