"""Writes a stream's messages into an archive. The manifest is the offset.

All of it is blocking file work. After an OSError (a full disk, most likely) nothing is lost: what
was not written waits, and the call may be repeated.
"""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import structlog

from ssmd_archive import lines
from ssmd_archive.disk import Disk
from ssmd_archive.journal import Journal, Seen
from ssmd_archive.layout import OTHER, Layout, Window, window_of
from ssmd_archive.manifest import Chain, Expired, HoleLine, Line, Old, Segment, State, StateFile
from ssmd_archive.recovery import recover
from ssmd_archive.retention import Keep, Removal, remove_old
from ssmd_archive.segment import MOST_HOLES, OpenSegment
from ssmd_archive.state import StateWriter

log = structlog.get_logger(__name__)

FLUSH_BYTES: Final = 1 << 18
"""Of lines that wait for one file: a gzip member's size, at most but for one line."""

LOST: Final = "the stream holds no such message: purged or deleted"
EXPIRED: Final = "the stream begins after it: its retention, or a purge, took it before it was read"
REPLACED: Final = "the stream was replaced by another one before it was read"


class Message(Protocol):
    """What is taken of a delivery (`ssmd_stream.reader.Delivery`)."""

    @property
    def sequence(self) -> int: ...
    @property
    def subject(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def stored_at_ns(self) -> int: ...


def encode(layout: Layout, message: Message) -> tuple[str, str, bytes]:
    """A message's folder, the type that it counts as, and its line."""
    folder, payload = layout.folder(message.subject), message.payload
    if folder != OTHER and lines.can_be_carried(payload):
        line = lines.encode(message.sequence, message.stored_at_ns, payload)
        return folder, lines.kind_of(folder, payload), line
    line = lines.encode_other(message.sequence, message.stored_at_ns, message.subject, payload)
    return OTHER, lines.UNTYPED, line


class Rotation(NamedTuple):
    """When a segment is sealed: at multiples of `seconds` from midnight UTC by the server's clock,
    or once its files have this many bytes in sum.
    """

    seconds: int = 900
    bytes: int = 256 << 20


class _Begins(NamedTuple):
    created: str
    first_sequence: int
    why: str


class ArchiveWriter:
    """One stream of an archive whose lock is held (`ssmd_archive.lock`)."""

    def __init__(
        self,
        root: Path,
        layout: Layout,
        rotation: Rotation,
        disk: Disk | None = None,
        told: Callable[[Line], None] = lambda _: None,
    ) -> None:
        """`told` is called with each line of the manifest that was written."""
        self._disk = disk or Disk()
        self._layout = layout
        self._rotation = rotation
        self.stream = root / layout.stream
        self.journal = Journal(self._disk, self.stream, told)
        self._segment: OpenSegment | None = None
        self._waiting: deque[Message] = deque()
        self._begins: _Begins | None = None
        self._expired_stop = 0
        self.written = 0
        """Messages that were put into files since the start, those of an earlier process aside."""

    def recover(self) -> None:
        """Begin, from what an earlier process left.

        Raises:
            ArchiveDamaged: what is there was changed by somebody else.
        """
        self.journal.recover()
        self._segment = recover(self._disk, self.stream, self.journal)

    @property
    def created(self) -> str | None:
        """When the stream that is archived was created; None before the first message."""
        if self._begins is not None:
            return self._begins.created
        return self.journal.tail.created if self.journal.tail else None

    @property
    def next_sequence(self) -> int:
        """What comes next, after what was taken."""
        if self._waiting:
            return self._waiting[-1].sequence + 1
        if self._begins is not None:
            return max(self._begins.first_sequence, self._expired_stop)
        tail, segment = self.journal.tail, self._segment
        reached = segment.next_sequence if segment else tail.next_sequence if tail else 1
        return max(reached, self._expired_stop)

    @property
    def seen(self) -> Seen | None:
        """The last message that files hold of this incarnation of the stream."""
        if self._begins is not None:
            return None
        last = self._segment.last if self._segment else None
        return Seen(*last) if last else self.journal.tail.seen if self.journal.tail else None

    @property
    def window(self) -> Window | None:
        """The window that was reached; None before the first message."""
        if self._segment is not None:
            return self._segment.window
        return self.journal.tail.window if self.journal.tail else None

    @property
    def sealed_through(self) -> int:
        """The last sequence that the manifest accounts for; 0 where there is none."""
        return self.journal.tail.next_sequence - 1 if self.journal.tail else 0

    @property
    def needs_state(self) -> bool:
        """Whether the day that was reached has no state, or lost something since."""
        tail, window = self.journal.tail, self.window
        if tail is None or window is None or self._begins is not None:
            return False
        if tail.day != window.day or tail.state_after is None:
            return True
        holes = self._segment.holes if self._segment else []
        return bool(holes) and holes[-1].to_seq > tail.state_after

    def state_writer(self, after_seq: int) -> StateWriter:
        """For the rows of a snapshot that the stream completes after this sequence, in the day that
        was reached. Beside it messages may be written.
        """
        window, tail = self.window, self.journal.tail
        assert window is not None
        assert tail is not None
        return StateWriter(self._disk, self.stream, window, after_seq, tail.chain)

    def add_state(
        self, state: StateWriter, files: list[StateFile], snapshot: str, lsn: str, epoch: int
    ) -> bool:
        """List a finished state; False where another day or chain began while it was taken."""
        tail, window = self.journal.tail, self.window
        assert tail is not None
        assert window is not None
        if (tail.chain, window.day) != (state.chain, state.window.day) or self._begins:
            return False
        self.journal.append(
            window.day,
            State,
            window=_time(state.window),
            after_seq=state.after_seq,
            snapshot=snapshot,
            lsn=lsn,
            epoch=epoch,
            files=files,
        )
        return True

    def remove_old(
        self, keep: Keep, must_stay: Callable[[str], str | None] = lambda _: None
    ) -> Removal:
        """Remove the oldest days beyond what is kept, but for those that have to stay."""
        return remove_old(self._disk, self.stream, self.journal, keep, must_stay)

    def begin_chain(self, created: str, first_sequence: int, why: str) -> None:
        """The stream is another one than before: it is archived from `first_sequence` on."""
        self._begins = _Begins(created, first_sequence, why)
        self._expired_stop = 0

    def expire(self, stop: int) -> None:
        """The stream begins at `stop`: what comes before it does not come any more."""
        if stop > self.next_sequence:
            self._expired_stop = stop

    def take(self, messages: Sequence[Message]) -> None:
        """These come next, ascending. `work` writes them."""
        self._waiting.extend(messages)

    def work(self) -> None:
        """Write what was taken, and seal what is full or over."""
        waiting = self._waiting
        if self._segment is not None:
            # What a full disk did not take goes first, or ever more would wait.
            self._segment.flush(FLUSH_BYTES)
            self._settle(self._segment)
        while waiting:
            message = waiting[0]
            segment = self._segment_of(message)
            if message.sequence > segment.next_sequence:
                segment.account(message.sequence, LOST)
            folder, kind, line = encode(self._layout, message)
            file = segment.add(folder, message.sequence, message.stored_at_ns, line, kind)
            waiting.popleft()
            self.written += 1
            if file.buffered_bytes >= FLUSH_BYTES:
                segment.size += file.flush()
        if self._segment is None and self._expired_stop and (window := self.window):
            # No message may come for long, and a state that follows the loss is of use before.
            self._write_missing(window.day, self._expired_stop)

    def flush(self) -> None:
        """Write what waits in memory, so that whoever reads the files sees it."""
        if self._segment is not None:
            self._segment.flush()

    def seal_if_over(self, now_ns: int) -> bool:
        """Seal if the window is over by the server's clock, and nothing new came to say so."""
        segment = self._segment
        if (
            segment is None
            or not segment.is_replayed
            or (
                now_ns < segment.window.end(self._rotation.seconds) * 1_000_000_000
                and not segment.is_sealing
            )
        ):
            return False
        self.seal()
        return True

    def seal(self) -> Segment | None:
        """Put the segment on the disk and into the manifest."""
        segment = self._segment
        if segment is None:
            return None
        assert segment.is_replayed
        files = segment.seal()
        first = min(files, key=lambda file: file.from_seq)
        last = max(files, key=lambda file: file.to_seq)
        line = self.journal.append(
            segment.window.day,
            Segment,
            from_seq=segment.from_seq,
            to_seq=segment.next_sequence - 1,
            window=_time(segment.window),
            messages=sum(file.messages for file in files),
            first_time=first.first_time,
            last_time=last.last_time,
            counts={
                file.table: dict(sorted(segment.files[file.table].counts.items())) for file in files
            },
            files=files,
            holes=segment.holes,
        )
        self._segment = None
        segment.close()
        log.info(
            "sealed",
            stream=line.stream,
            from_seq=line.from_seq,
            to_seq=line.to_seq,
            messages=line.messages,
        )
        return line

    def close(self) -> None:
        """Leave the segment for the next process, with all that was taken where there is room."""
        segment = self._segment
        if segment is None:
            return
        try:
            self.work()
            segment = self._segment or segment
            segment.flush()
        except OSError as error:
            log.warning("not all could be written, it is read again", error=str(error))
        segment.close()

    def _segment_of(self, message: Message) -> OpenSegment:
        """The segment that a message belongs to; what comes before it is settled first."""
        segment = self._segment
        if segment is not None and not self._is_over(segment, message):
            return segment
        if segment is not None:
            self.seal()
        reached = self.window or Window(0)
        window = max(reached, window_of(message.stored_at_ns, self._rotation.seconds))
        self._write_missing(window.day, message.sequence)
        tail = self.journal.tail
        assert tail is not None
        self._segment = OpenSegment(self._disk, self.stream, window, message.sequence, tail.chain)
        return self._segment

    def _is_over(self, segment: OpenSegment, message: Message) -> bool:
        # One whose sealing a full disk interrupted takes no more, whatever it was sealed for.
        return segment.is_sealing or (
            segment.is_replayed
            and (
                message.stored_at_ns >= segment.window.end(self._rotation.seconds) * 1_000_000_000
                or segment.size >= self._rotation.bytes
                or len(segment.holes) >= MOST_HOLES
            )
        )

    def _settle(self, segment: OpenSegment) -> None:
        """Where the stream lost its beginning, or is another one: what the files hold of it stays,
        though it does not come again.
        """
        if self._begins is None and not self._expired_stop:
            return
        stop, why = self._expired_stop, EXPIRED
        if self._begins is not None:
            stop, why = segment.last_present + 1, REPLACED
        if not segment.is_replayed:
            segment.account(min(stop, segment.last_present + 1), why)
        if self._begins is not None or stop > segment.next_sequence:
            self.seal()
        else:
            self._expired_stop = 0

    def _write_missing(self, day: str, sequence: int) -> None:
        """Lines for all that lies between the last one and a message."""
        journal, begins = self.journal, self._begins
        if begins is not None:
            tail = journal.tail
            old = tail and Old(created=tail.created, chain=tail.chain, to_seq=self.sealed_through)
            journal.append(
                day,
                Chain,
                created=begins.created,
                chain=tail.chain + 1 if tail else 1,
                from_seq=begins.first_sequence,
                to_seq=begins.first_sequence - 1,
                why=begins.why,
                old=old,
            )
            self._begins = None
        assert journal.tail is not None
        if (stop := min(self._expired_stop, sequence)) > journal.tail.next_sequence:
            journal.append(day, Expired, to_seq=stop - 1, why=EXPIRED)
        self._expired_stop = 0
        if sequence > journal.tail.next_sequence:
            journal.append(day, HoleLine, to_seq=sequence - 1, why=LOST)


def _time(window: Window) -> str:
    return lines.timestamp(window.start * 1_000_000_000)
