"""Rows that the stream could not carry, read from PostgreSQL, and what they are in Redis."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from ssmd_cache.database.lookup import Lookup
from ssmd_cache.errors import UnreadableRow
from ssmd_cache.follower.messages import Refetch
from ssmd_cache.projection.commands import Command, Steps, put, remove
from ssmd_cache.projection.facts import ticker_of
from ssmd_cache.projection.records import TABLES_BY_KIND, FeeStep, sortable
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
        rows = {table: await self._read(table, sorted(names)) for table, names in wanted.items()}
        commands: list[Command] = []
        for effect in pending:
            if isinstance(effect, Refetch):
                table, ticker, position, sequence = effect
                some = self._commands(table, ticker, rows[table][ticker], position)
                commands += [command.after(sequence) for command in some]
            else:
                if self._unreadable.rows and effect.kind in ("m", "e", "s"):
                    self._unreadable.readable([(TABLES_BY_KIND[effect.kind], effect.ticker)])
                commands.append(effect)
        await self._unreadable.save()
        return commands

    async def read(
        self, table: str, at: Mapping[str, Position], *, if_there: bool = False
    ) -> dict[str, list[Command]]:
        """What rows are in Redis, each at its position; `if_there` without those that are gone."""
        rows = await self._read(table, list(at))
        commands = {
            ticker: self._commands(table, ticker, rows[ticker], position)
            for ticker, position in at.items()
            if ticker in rows or not if_there
        }
        await self._unreadable.save()
        return commands

    async def _read(self, table: str, tickers: Sequence[str]) -> dict[str, list[bytes]]:
        rows: dict[str, list[bytes]] = defaultdict(list)
        for row in await self._lookup.rows(table, tickers):
            rows[ticker_of(table, row)].append(row)
        return rows

    def _commands(
        self, table: str, ticker: str, rows: list[bytes], position: Position
    ) -> list[Command]:
        """What a row that was read from PostgreSQL is, or a whole fee schedule."""
        commands: list[Command] = []
        trouble: UnreadableRow | None = None
        for row in rows:
            try:
                commands.append(put(table, row, position, self._keys, known_only=False))
            except UnreadableRow as error:
                trouble = error
                if table != "series_fees":
                    commands.append(remove(table, ticker, position, error.facts))
        if table == "series_fees":
            starts = sorted(c.record.start for c in commands if isinstance(c.record, FeeStep))
            commands.insert(0, Command("d", ticker, Steps(sortable(position), starts)))
        elif not rows:
            commands.append(remove(table, ticker, position))
        if trouble is None:
            self._unreadable.readable([(table, ticker)])
        else:
            self._unreadable.add((table, ticker), trouble.reason, str(trouble))
        return commands
