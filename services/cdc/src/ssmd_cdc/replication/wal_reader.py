"""From the slot's frames to messages, transaction after transaction, beyond what the stream has.

The slot sends again what was not confirmed: all up to the stream's last change, `resume`, is
skipped. Where the slot begins before that change (`overlaps`), it has to come; a WAL without it is
not the one that was published. What is read is noted in `progress`, in `heartbeats` (our own marks)
and in `returns` (that they come back).
"""

import asyncio
from typing import Final

from ssmd_cdc.control import HEARTBEAT_PREFIX
from ssmd_cdc.encode.envelope import Envelope, Outgoing, unix_seconds, utc
from ssmd_cdc.encode.translate import translate
from ssmd_cdc.errors import MalformedMessage, WalDiverged
from ssmd_cdc.replication.heartbeat import Heartbeats, Return
from ssmd_cdc.replication.pgoutput import Begin, Commit, Logical, Relation, decode
from ssmd_cdc.replication.progress import Progress
from ssmd_cdc.replication.slot import DATA_AT, WAL_DATA, Replication, keepalive
from ssmd_cdc.replication.tables import Tables
from ssmd_stream.change import Position
from ssmd_stream.visibility import widen

_FRAMES_PER_TURN: Final = 256
_BYTES_PER_TURN: Final = 1 << 20
"""Read before what was read is published, and other tasks get their turn."""

_ROWS: Final = frozenset(b"IUDT")
_DIVERGED: Final = "the WAL does not have the change that the stream ends with"


class WalReader:
    """Reads for one session in one epoch; `position` is the last change in the stream."""

    def __init__(
        self,
        replication: Replication,
        tables: Tables,
        progress: Progress,
        heartbeats: Heartbeats,
        returns: Return,
        position: Position,
        xid_reference: int,
        *,
        overlaps: bool,
    ) -> None:
        self.heard = 0
        """Frames that were read."""
        self.answer_wanted = asyncio.Event()
        """The server asked how far we are."""
        self.xid_reference = xid_reference
        """A fresh 64-bit transaction id, by which those of the WAL are widened."""
        self._replication = replication
        self._tables = tables
        self._progress = progress
        self._heartbeats = heartbeats
        self._return = returns
        self._epoch = position.epoch
        self._start_lsn = position.lsn
        self._resume: tuple[int, int] | None = (position.lsn, position.seq)
        self._overlaps = overlaps
        self._envelope: Envelope | None = None

    def read(self, messages: list[Outgoing]) -> Relation | bool:
        """Add what the frames that are there become; whether there are more of them.

        A table's description stops it, since the rows that follow need it.

        Raises:
            MalformedMessage: the frames do not follow the protocol.
            WalDiverged: the stream's last change is not in the WAL.
            MarksMissing: a mark of ours is not.
        """
        size = 0
        for count, frame in enumerate(self._replication.frames(), 1):
            if frame[0] == WAL_DATA:
                data = bytes(frame[DATA_AT:])
                if data[0] in _ROWS:
                    messages += self._row(data)
                else:
                    relation = self._between_rows(data)
                    if relation is not None:
                        return relation
            else:
                wal_end, wants_answer = keepalive(frame)
                self._return.passed(wal_end)
                if not self._misses_tail(wal_end):
                    self._progress.keepalive(wal_end)
                if wants_answer:
                    self.answer_wanted.set()
            size += len(frame)
            self.heard += 1
            if count >= _FRAMES_PER_TURN or size >= _BYTES_PER_TURN:
                return True
        return False

    def _row(self, data: bytes) -> list[Outgoing]:
        if self._envelope is None:
            raise MalformedMessage("a row came outside of a transaction")
        messages = translate(self._envelope, self._tables, data)
        if self._resume is not None:
            messages = self._beyond(self._resume, messages)
        self._progress.sent += len(messages)
        return messages

    def _beyond(self, resume: tuple[int, int], messages: list[Outgoing]) -> list[Outgoing]:
        """Those that the stream does not have yet.

        Raises:
            WalDiverged: the last one that it has did not come before them, although it had to.
        """
        beyond = [message for message in messages if (message.lsn, message.seq) > resume]
        if any((message.lsn, message.seq) == resume for message in messages):
            self._overlaps = False
        if beyond:
            if self._overlaps:
                raise WalDiverged(_DIVERGED)
            self._resume = None
        return beyond

    def _between_rows(self, data: bytes) -> Relation | None:
        match decode(data):
            case Begin(commit_lsn, committed_at, xid):
                wide = widen(xid, self.xid_reference)
                self._envelope = Envelope(self._epoch, commit_lsn, wide, utc(committed_at))
                self._progress.began()
            case Commit(_, end_lsn, committed_at):
                if self._misses_tail(end_lsn):
                    raise WalDiverged(_DIVERGED)
                self._envelope = None
                self._progress.ended(end_lsn, unix_seconds(committed_at))
                self._heartbeats.ended(end_lsn)
            case Relation() as relation:
                return relation
            case Logical(_, _, prefix, content) if prefix == HEARTBEAT_PREFIX:
                self._heartbeats.saw(content.decode(errors="replace"))
        return None

    def _misses_tail(self, end_lsn: int) -> bool:
        """Whether the stream's last change should have come before `end_lsn`, and has not.

        Confirmed so far, the slot would no longer tell the next session that it has to come.
        """
        return self._overlaps and end_lsn > self._start_lsn
