"""The latest events of the stream, in memory: what every reader of /v1/changes is written from.

An event is there once, and what readers of the same filter get of a batch is one buffer,
which all their connections share.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from ssmd_api.changefilter import ChangeFilter
from ssmd_api.kinds import Multivariate
from ssmd_api.serversent import Event, EventId
from ssmd_api.subjects import SubjectIndex

_OF_BOTH_KINDS: Final = ("cdc.markets.", "cdc.events.")
"""Subjects of tables that have multivariate rows and others."""
_OF_AN_EVENT_BYTES: Final = 400
"""What Python needs for one, beside its data."""


@dataclass(frozen=True, eq=False)
class Channel:
    """A filter, compiled once for all its readers."""

    wanted: ChangeFilter

    @cached_property
    def subjects(self) -> Sequence[str]:
        return self.wanted.subjects()

    @cached_property
    def _index(self) -> SubjectIndex[bool]:
        index: SubjectIndex[bool] = SubjectIndex()
        index.add(True, self.subjects)
        return index

    def takes_kind(self, event: Event) -> bool:
        """Of events whose subject it takes."""
        if event.kind is None:
            return True
        if event.subject.startswith(_OF_BOTH_KINDS):
            match self.wanted.multivariate:
                case Multivariate.EXCLUDE if event.multivariate:
                    return False
                case Multivariate.ONLY if not event.multivariate and not event.of_whole_table:
                    return False
                case _:
                    pass
        return not self.wanted.types or event.kind in self.wanted.types

    def takes(self, event: Event) -> bool:
        return self.takes_kind(event) and bool(self._index.matching(event.subject))

    def data(self, event: Event) -> bytes:
        """An event as its readers get it."""
        return event.sparse(self.wanted.columns) if self.wanted.columns else event.data

    def joined(self, events: Sequence[Event], start: int = 0) -> bytes:
        """What its readers get of these, from sequence `start` on."""
        wanted = (e for e in events if e.id.sequence >= start and self.takes(e))
        return framed(b"".join(map(self.data, wanted)))


def framed(data: bytes) -> bytes:
    """A chunk as HTTP/1.1 sends it: framed once for all connections; of nothing, nothing."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def unframed(chunk: bytes) -> bytes:
    """What is in a chunk, for HTTP/1.0."""
    return chunk[chunk.index(b"\r\n") + 2 : -2]


@dataclass(slots=True, eq=False)
class Batch:
    """Events that came together, and what readers of each filter get of them, once they asked."""

    events: Sequence[Event]
    parts: dict[ChangeFilter, bytes] = field(default_factory=dict)

    @property
    def first(self) -> int:
        return self.events[0].id.sequence


class Ring:
    """The latest batches, numbered from 0 on, in so many bytes."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._bytes = 0
        self._batches: dict[int, Batch] = {}
        self.first_batch = self.next_batch = 0
        self.next_sequence = 0
        """What comes after the last event that it had."""
        self.last_id: EventId | None = None
        """The id of the last event before `next_sequence`; None where that is not known."""
        self._before_first: EventId | None = None
        self._first_sequence = 0

    def begin(self, sequence: int, last_id: EventId | None) -> None:
        """Forget everything; the next event is this one."""
        self._batches.clear()
        self._bytes = 0
        self.first_batch = self.next_batch
        self.next_sequence = self._first_sequence = sequence
        self.last_id = self._before_first = last_id

    def add(self, events: Sequence[Event]) -> Batch:
        """The next batch; the oldest ones make place for it."""
        batch = Batch(events)
        self._batches[self.next_batch] = batch
        self.next_batch += 1
        self.last_id = events[-1].id
        self.next_sequence = self.last_id.sequence + 1
        self._grown(sum(len(event.data) + _OF_AN_EVENT_BYTES for event in events))
        return batch

    def part(self, number: int, channel: Channel) -> bytes:
        """What readers of a filter get of a batch that is there."""
        batch = self._batches[number]
        part = batch.parts.get(channel.wanted)
        if part is None:
            part = self.keep(batch, channel, channel.joined(batch.events))
        return part

    def keep(self, batch: Batch, channel: Channel, part: bytes) -> bytes:
        batch.parts[channel.wanted] = part
        self._grown(len(part))
        return part

    def holds(self, start: int) -> bool:
        """Whether everything from this sequence on is there, or yet to come."""
        return self._first_sequence <= start <= self.next_sequence

    def after(self, last: EventId | int) -> bool | None:
        """Whether the event before what comes next is this one; None where it is not known."""
        sequence = last.sequence if isinstance(last, EventId) else last
        if not self.holds(sequence + 1):
            return None
        if isinstance(last, int):
            return True
        if sequence + 1 == self._first_sequence:
            known = self._before_first
        else:
            events = self._batches[self.batch_of(sequence)].events
            known = next((e.id for e in events if e.id.sequence == sequence), None)
        return None if known is None else known == last

    def batch_of(self, sequence: int) -> int:
        """The number of the batch that has a sequence, or the one after it; `holds` is true."""
        low, high = self.first_batch, self.next_batch
        while low < high:
            middle = (low + high) // 2
            if self._batches[middle].events[-1].id.sequence < sequence:
                low = middle + 1
            else:
                high = middle
        return low

    def sequence_of(self, number: int) -> int:
        """The first sequence of a batch that is there, or of the one to come."""
        batch = self._batches.get(number)
        return self.next_sequence if batch is None else batch.first

    def events_of(self, number: int) -> Sequence[Event]:
        return self._batches[number].events

    def _grown(self, size: int) -> None:
        self._bytes += size
        # The last one stays: it is what is being handed over.
        while self._bytes > self.most_bytes and self.next_batch - self.first_batch > 1:
            oldest = self._batches.pop(self.first_batch)
            self.first_batch += 1
            self._before_first = oldest.events[-1].id
            self._first_sequence = self._before_first.sequence + 1
            self._bytes -= sum(len(e.data) + _OF_AN_EVENT_BYTES for e in oldest.events)
            self._bytes -= sum(map(len, oldest.parts.values()))
