"""Archives for tests: a pretended database, what its publisher says, and what is kept of it."""

import copy
import hashlib
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

from ssmd_archive.disk import Disk
from ssmd_archive.layout import SECMASTER_CDC, file_path, state_folder
from ssmd_archive.lines import timestamp
from ssmd_archive.manifest import State, StateFile
from ssmd_archive.members import compress
from ssmd_archive.writer import ArchiveWriter, Rotation
from ssmd_common.tables import PRIMARY_KEY
from ssmd_stream.change import format_lsn
from ssmd_stream.visibility import Snapshot

NOON = 1_795_867_200 * 10**9
"""2026-11-28T12:00:00Z, in nanoseconds since 1970."""
SECOND = 10**9
ROTATION = Rotation(seconds=900, bytes=1 << 30)

Rows = dict[str, dict[tuple[str, ...], dict[str, Any]]]


class Stored(NamedTuple):
    sequence: int
    subject: str
    payload: bytes
    stored_at_ns: int


class _Transaction(NamedTuple):
    xid: int
    changes: list[tuple[str, str, dict[str, Any]]]


class Source:
    """Rows that transactions change, and the messages that say so, in the order of commits.

    What is committed is published later; a snapshot can thus hold what is not published yet, and
    lack what was begun before it.
    """

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now = NOON
        self.rows: Rows = {table: {} for table in PRIMARY_KEY}
        self.published: Rows = copy.deepcopy(self.rows)
        self.after: dict[int, Rows] = {}
        """The rows as the stream had told of them, by sequence."""
        self.sequence = 0
        self.epoch = 1
        self._lsn = 1000
        self._xid = 10
        self._open: list[_Transaction] = []
        self._committed: list[tuple[int, _Transaction]] = []
        self.messages: list[Stored] = []

    def begin(self) -> None:
        self._xid += 1
        self._open.append(_Transaction(self._xid, []))

    def commit(self) -> None:
        """Commit one of the open transactions, with changes of rows as they are then."""
        if not self._open:
            self.begin()
        transaction = self._open.pop(self.chance.randrange(len(self._open)))
        for _ in range(self.chance.randrange(1, 4)):
            self._change(transaction)
        self._lsn += 10
        self._committed.append((self._lsn, transaction))

    def _change(self, transaction: _Transaction) -> None:
        table = self.chance.choice(list(PRIMARY_KEY))
        name = f"K{self.chance.randrange(4)}"
        key = tuple(name for _ in PRIMARY_KEY[table])
        rows = self.rows[table]
        if key in rows and self.chance.random() < 0.3:
            transaction.changes.append((table, "delete", rows.pop(key)))
            return
        row = {
            **dict(zip(PRIMARY_KEY[table], key, strict=True)),
            "series_ticker": f"S{self.chance.randrange(2)}",
            "title": "é" * self.chance.randrange(3) + str(self.chance.randrange(10**6)),
            "status": self.chance.choice(("open", "settled")),
        }
        if table == "series_fees":
            row["series_ticker"] = key[0]
        op = "update" if key in rows else "insert"
        rows[key] = row
        transaction.changes.append((table, op, row))

    def publish(self, most: int = 1000) -> None:
        """Say what was committed."""
        for lsn, transaction in self._committed[:most]:
            for seq, (table, op, row) in enumerate(transaction.changes):
                self.say(table, op, row, lsn=lsn, seq=seq, xid=transaction.xid)
        del self._committed[:most]

    def say(
        self,
        table: str,
        op: str,
        row: dict[str, Any] | None,
        *,
        lsn: int,
        seq: int,
        xid: int | None,
        **more: Any,
    ) -> None:
        """One message, a moment after the one before."""
        self.now += self.chance.choice((0, 1, SECOND, 20 * SECOND, 400 * SECOND, -SECOND))
        self.sequence += 1
        columns = PRIMARY_KEY.get(table, ())
        key = {column: row[column] for column in columns} if row else None
        payload = {
            "v": 1,
            "lsn": format_lsn(lsn),
            "seq": seq,
            "xid": xid,
            "epoch": self.epoch,
            "table": table,
            "op": op,
            "type": {"insert": "row_added", "update": "row_updated"}.get(op, op),
            "ticker": row and row[columns[0]],
            "key": key,
            "data": None if op == "delete" else row,
            "timestamp": "2026-11-28T17:00:00.123456Z",
            **({"before": row} if op == "delete" else {}),
            **more,
        }
        text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
        tokens = "" if row is None else f".{row.get('series_ticker') or row[columns[0]]}"
        subject = f"cdc.{table}.{op}{tokens}"
        self.messages.append(Stored(self.sequence, subject, text, self.now))
        if row is not None:
            values = tuple(row[column] for column in columns)
            if op == "delete":
                self.published[table].pop(values, None)
            else:
                self.published[table][values] = row
        self.after[self.sequence] = {table: dict(rows) for table, rows in self.published.items()}

    def say_foreign(self) -> None:
        """A message that no publisher of ours sends."""
        self.now += SECOND
        self.sequence += 1
        payload = self.chance.choice((b"\xff\n", b"[]", b'{"type":"x","n":1}'))
        subject = self.chance.choice(("cdc.unknown.insert.A", "cdc.markets.insert.A"))
        self.messages.append(Stored(self.sequence, subject, payload, self.now))
        self.after[self.sequence] = {table: dict(rows) for table, rows in self.published.items()}

    def announce(self) -> None:
        """A new epoch: all rows again. What was not published is in it."""
        self._committed.clear()
        self.epoch += 1
        self._lsn += 10
        lsn = self._lsn - 1
        seq = 0

        def say(table: str, op: str, row: dict[str, Any] | None, **more: Any) -> None:
            nonlocal seq
            self.say(table, op, row, lsn=lsn, seq=seq, xid=None, **more)
            seq += 1

        for table, rows in self.rows.items():
            say(table, "snapshot_begin", None)
            for row in list(rows.values()):
                say(table, "insert", row)
            last = table == list(PRIMARY_KEY)[-1]
            if last:
                self.published = copy.deepcopy(self.rows)
            say(table, "snapshot_end", None, **({"final": True} if last else {}))

    def snapshot(self) -> tuple[Snapshot, str, Rows]:
        """As PostgreSQL shows it now, and an LSN above all that it holds."""
        running = frozenset(transaction.xid for transaction in self._open)
        snapshot = Snapshot(min(running, default=self._xid + 1), self._xid + 1, running)
        return snapshot, format_lsn(self._lsn + 1), copy.deepcopy(self.rows)

    def play(self, steps: int) -> None:
        """Transactions that begin, commit and are published, by chance."""
        for _ in range(steps):
            match self.chance.random():
                case x if x < 0.3:
                    self.begin()
                case x if x < 0.7:
                    self.commit()
                case x if x < 0.74:
                    self.say_foreign()
                case _:
                    self.publish(self.chance.randrange(1, 3))


class Kept:
    """A writer, and what it has taken of a source."""

    def __init__(self, root: Path, rotation: Rotation = ROTATION) -> None:
        self.root = root
        self.writer = ArchiveWriter(root, SECMASTER_CDC, rotation)
        self.writer.recover()
        self._taken = 0

    def take(self, source: Source, *, seal: bool = False) -> None:
        """All messages that are new."""
        if self.writer.created is None:
            self.writer.begin_chain("2026-11-28T11:00:00Z", 1, "the archive begins")
        self.writer.take(source.messages[self._taken :])
        self._taken = len(source.messages)
        self.writer.work()
        if seal:
            self.writer.seal()

    def lose(self, source: Source, count: int) -> None:
        """The newest messages were purged before they were read."""
        self.take(source)
        source.play(1)
        while len(source.messages) < self._taken + count:
            source.say_foreign()
        self._taken = len(source.messages)

    def state(self, source: Source) -> None:
        """A state beside the messages; these were all taken. A second one of the same window and
        sequence is none, as for `StateWriter`.
        """
        self.take(source, seal=True)
        snapshot, lsn, rows = source.snapshot()
        window, tail = self.writer.window, self.writer.journal.tail
        assert window is not None
        assert tail is not None
        files = []
        for table in PRIMARY_KEY:
            texts = [
                json.dumps(row, separators=(",", ":")).encode() + b"\n"
                for row in rows[table].values()
            ]
            raw = b"".join(texts)
            path = file_path(state_folder(table), window, source.sequence, tail.chain)
            target = self.writer.stream / window.day / path
            if target.exists():
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            data = compress(raw)
            target.write_bytes(data)
            files.append(
                StateFile(
                    path=path,
                    table=table,
                    rows=len(texts),
                    bytes=len(data),
                    raw_bytes=len(raw),
                    sha256=hashlib.sha256(data).hexdigest(),
                )
            )
        self.writer.journal.append(
            window.day,
            State,
            window=timestamp(window.start * SECOND),
            after_seq=source.sequence,
            snapshot=str(snapshot),
            lsn=lsn,
            epoch=source.epoch,
            files=files,
        )


def archive(root: Path, seed: int = 1) -> Source:
    """Two days with states, losses, a new epoch, a stream made anew, and an open segment."""
    chance = random.Random(seed)
    source = Source(chance)
    kept = Kept(root)
    source.play(6)
    source.publish()
    kept.state(source)
    source.play(30)
    kept.take(source)
    kept.lose(source, 2)
    source.play(10)
    kept.state(source)
    source.announce()
    kept.take(source)
    source.now += 12 * 3600 * SECOND
    source.play(20)
    source.publish()
    kept.state(source)
    source.play(15)
    kept.take(source, seal=True)
    kept.writer.begin_chain("2026-11-29T05:00:00Z", 1, "the stream was made anew")
    source.sequence = 0
    source.now += 3600 * SECOND
    source.announce()
    source.play(20)
    kept.take(source, seal=True)
    source.now += 1000 * SECOND
    source.play(10)
    kept.take(source)
    kept.writer.flush()
    kept.writer.close()
    return source


__all__ = ["NOON", "ROTATION", "SECOND", "Disk", "Kept", "Source", "Stored", "archive"]
