"""The rows of tables from a state and the messages after it (docs/archive.md § State). Pure.

The rules are those of every reader of the stream: `ssmd_stream.visibility`, docs/contracts.md § 2.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

import msgspec

from ssmd_archive.errors import ArchiveDamaged
from ssmd_archive.lines import Line
from ssmd_archive.manifest import State
from ssmd_common.tables import PRIMARY_KEY
from ssmd_stream.change import Head, decode_head, parse_lsn
from ssmd_stream.course import meaning
from ssmd_stream.errors import UnreadableMessage
from ssmd_stream.visibility import Snapshot, applies

Key = tuple[str, ...]
V = TypeVar("V")

_DECODERS: Final = {
    table: msgspec.json.Decoder(msgspec.defstruct(table, [(column, str) for column in columns]))
    for table, columns in PRIMARY_KEY.items()
}


def key_of(table: str, row: bytes) -> Key:
    """The primary key of a row as JSON.

    Raises:
        ArchiveDamaged: it has none.
    """
    try:
        return msgspec.structs.astuple(_DECODERS[table].decode(row))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ArchiveDamaged(f"a row of {table} has no readable key: {error}") from error


class Touched(NamedTuple):
    """What a message says of a row; where it is `is_announced` nothing happened to it."""

    table: str
    key: Key
    op: str
    is_announced: bool


Told = Literal["held", "other", "later", "epoch"]
"""Of a message and a state: it has the change; it has not; neither it nor a later one; an epoch
began, which announces all rows: what was not published before is told by no message of its own."""


class Held(NamedTuple):
    """What a state holds: of the changes before `below` those that its snapshot sees."""

    snapshot: Snapshot
    below: tuple[int, int]
    """Epoch and LSN."""

    @classmethod
    def by(cls, state: State) -> "Held":
        """What this one does.

        Raises:
            ArchiveDamaged: it cannot be read.
        """
        try:
            return cls(Snapshot.parse(state.snapshot), (state.epoch, parse_lsn(state.lsn)))
        except ValueError as error:
            raise ArchiveDamaged(f"the state after {state.after_seq}: {error}") from error

    def tells(self, line: Line) -> Told:
        """What a message says of it."""
        try:
            head = decode_head(line.payload)
            epoch, lsn, _ = head.position
        except UnreadableMessage:
            return "other"
        if epoch > self.below[0]:
            return "epoch"
        if (epoch, lsn) >= self.below:
            return "later"
        return "other" if applies(head.xid, self.snapshot) else "held"


class _Kept(NamedTuple, Generic[V]):
    epoch: int
    value: V


class Replay(Generic[V]):
    """Rows of some tables, of each what `keep` makes of it (table, row as JSON).

    Without a state it begins empty, and is whole once an epoch was announced from its beginning.
    """

    def __init__(self, tables: Collection[str], keep: Callable[[str, bytes], V]) -> None:
        self._keep = keep
        self._rows: dict[str, dict[Key, _Kept[V]]] = {table: {} for table in tables}
        self._snapshot: Snapshot | None = None
        self._below: tuple[int, int] | None = None
        self._epoch = 0
        self._announced_from: tuple[int, int] | None = None
        self.whole_since: tuple[int, int] | None = None
        """Chain and sequence where the last complete announcement began: what was lost before it
        does not matter any more."""
        self.unread: Counter[str] = Counter()
        """By table, changes whose row could not be carried or read: their rows are as before."""

    @property
    def is_settled(self) -> bool:
        """Whether the state is known to hold nothing that comes later."""
        return self._below is None

    def begin(self, state: State, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take over a state's rows, each with its table.

        Raises:
            ArchiveDamaged: the state cannot be read.
        """
        self._snapshot, self._below = Held.by(state)
        self._epoch = state.epoch
        for table, row in rows:
            key = key_of(table, row)
            self._rows[table][key] = _Kept(self._epoch, self._keep(table, row))

    def apply(self, chain: int, line: Line, folder: str) -> Touched | None:
        """The next message; what it says of a row of these tables, whether it counts or not."""
        try:
            head = decode_head(line.payload)
            position = head.position
        except UnreadableMessage:
            if folder in self._rows or line.subject is not None:
                self.unread[folder] += 1
            return None
        if head.epoch < self._epoch:
            return None
        if head.epoch > self._epoch:
            self._epoch, self._snapshot, self._below = head.epoch, None, None
            self._announced_from = None
        if self._below is not None and position[:2] >= self._below:
            self._below = None
        meant = meaning(head, self._epoch, self._snapshot)
        match meant:
            case "begin":
                self._snapshot = self._below = None
                self._announced_from = self._announced_from or (chain, line.sequence)
                return None
            case "end":
                self._end_epoch()
                return None
            case _:
                pass
        if head.table not in self._rows:
            return None
        return self._touched(head) if meant is None else self._change(head)

    def rows(self, table: str) -> dict[Key, V]:
        return {key: kept.value for key, kept in self._rows[table].items()}

    def _change(self, head: Head) -> Touched | None:
        rows = self._rows[head.table]
        if head.op == "truncate":
            rows.clear()
            return None
        touched = self._touched(head)
        if touched is None:
            self.unread[head.table] += 1
        elif head.op == "delete":
            rows.pop(touched.key, None)
        elif head.error is not None or bytes(head.data) == b"null":
            self.unread[head.table] += 1
        else:
            value = self._keep(head.table, bytes(head.data))
            rows[touched.key] = _Kept(head.epoch, value)
        return touched

    def _touched(self, head: Head) -> Touched | None:
        if head.op == "truncate":
            return None
        key: dict[str, Any] = head.key or {}
        values = tuple(key.get(column) for column in PRIMARY_KEY[head.table])
        if not all(isinstance(value, str) for value in values):
            return None
        return Touched(head.table, values, head.op, head.xid is None)  # type: ignore[arg-type] # they are texts

    def _end_epoch(self) -> None:
        """What was not announced again is gone."""
        if self._announced_from is not None:
            self.whole_since = self._announced_from
        for rows in self._rows.values():
            for key in [key for key, kept in rows.items() if kept.epoch < self._epoch]:
                del rows[key]
