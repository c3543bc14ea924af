"""What Redis is given: rows by their records for the script, plain commands in a warm-up."""

from collections.abc import Iterable

import msgspec

from ssmd_cache.projection.facts import Facts, facts_of, is_multivariate
from ssmd_cache.projection.project import keyless, project, value
from ssmd_cache.projection.records import KINDS, FeeStep, Record, sortable
from ssmd_common.keys import Keys
from ssmd_stream.change import Position

Words = list[str | bytes]
"""One plain command of Redis: its name and its arguments."""


class Steps(msgspec.Struct, array_like=True):
    """When the steps of a fee schedule begin that was read as a whole: there are no others."""

    position: str
    starts: list[int]


class Command(msgspec.Struct, array_like=True):
    """A row of a table as it is at a position; without a key (or JSON, of a fee step) it is gone.

    `kind` is the table's (`KINDS`), or "d" for `Steps`. A row that is `known_only` leaves no trace
    of its absence where nothing is known of it.
    """

    kind: str
    ticker: str
    record: Record | Steps
    value: str = ""
    known_only: bool = False

    @property
    def row(self) -> tuple[str, str, int | None]:
        """Which row it is about: of several about one row, only the last one counts."""
        start = self.record.start if isinstance(self.record, FeeStep) else None
        return self.kind, self.ticker, start

    def standing_at(self, position: str) -> "Command":
        """The same at another position, as Redis has it."""
        record = msgspec.structs.replace(self.record, position=position)
        return msgspec.structs.replace(self, record=record)

    def after(self, sequence: int) -> "Command":
        """The same between its position and what comes next in the stream.

        For rows read from PostgreSQL in place of the message `sequence`, which need not tell its
        position: what Redis holds of the last message that did is older.
        """
        return self.standing_at(f"{self.record.position}~{sequence:016x}")


def coalesce(commands: Iterable[Command]) -> list[Command]:
    """Of several commands about one row the last, in the order of the last ones."""
    last: dict[tuple[str, str, int | None], Command] = {}
    for command in commands:
        row = command.row
        # A later position never stands before an earlier one in the stream; should it, it counts.
        before = last.pop(row, None)
        if before is not None and before.record.position > command.record.position:
            command = before
        last[row] = command
    return list(last.values())


def put(table: str, row: bytes, position: Position, keys: Keys, *, known_only: bool) -> Command:
    """What a row is in Redis.

    Raises:
        UnreadableRow: readers cannot be given it.
    """
    facts = facts_of(table, row)
    record = project(facts, keys, position=sortable(position))
    has_value = isinstance(record, FeeStep) or record.key
    text = value(row, position) if has_value else ""
    # No message ever gives a multivariate row a key again, so its absence need not be remembered.
    known_only = known_only or is_multivariate(facts)
    return Command(KINDS[table], facts.ticker, record, text, known_only)


def remove(
    table: str,
    ticker: str,
    position: Position,
    facts: Facts | None = None,
    *,
    known_only: bool = False,
) -> Command:
    """Take out a row of series, events or markets; what `facts` tell of its category counts."""
    return Command(KINDS[table], ticker, keyless(table, facts, sortable(position)), "", known_only)
