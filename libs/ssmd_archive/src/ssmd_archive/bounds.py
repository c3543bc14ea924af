"""Where in an archive something begins and ends: by sequence, or by the server's time."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

from ssmd_archive import lines
from ssmd_archive.catalog import Archive, Listed
from ssmd_archive.layout import day_of
from ssmd_archive.manifest import Segment
from ssmd_archive.messages import Archived, segment_messages

Bound: TypeAlias = "At | Sequence | None"
Wanted: TypeAlias = Callable[[str], bool]
"""Whether the messages of a folder are."""

_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)


class At(NamedTuple):
    """Nanoseconds since 1970."""

    ns: int

    @classmethod
    def of(cls, moment: datetime) -> "At":
        return cls((moment - _1970) // timedelta(microseconds=1) * 1000)

    @property
    def day(self) -> str:
        return day_of(self.ns // 1_000_000_000)

    def is_reached(self, message: Archived) -> bool:
        return message.reached_ns >= self.ns


class Sequence(NamedTuple):
    chain: int
    sequence: int

    def is_reached(self, message: Archived) -> bool:
        return message.place >= self


class Span(NamedTuple):
    """From the first message that has reached `start` up to the one before that reached `stop`."""

    start: Bound = None
    stop: Bound = None

    def may_have(self, segment: Segment, following: Segment | None) -> bool:
        """Whether messages of a segment can be in it. `following` is the next one."""
        match self.start:
            case Sequence():
                if (segment.chain, segment.to_seq) < self.start:
                    return False
            case At(ns):
                # The last message need not be the latest: the next window's start is later than
                # all of them, unless windows had another length then.
                later = following is not None and lines.nanoseconds(following.window) <= ns
                if later and lines.nanoseconds(segment.last_time) < ns:
                    return False
            case None:
                pass
        return not self.is_over(segment)

    def is_over(self, segment: Segment) -> bool:
        """Whether it ends before a segment."""
        match self.stop:
            case Sequence():
                return (segment.chain, segment.from_seq) >= self.stop
            case At(ns):
                return lines.nanoseconds(segment.window) >= ns
            case None:
                return False


def read(
    archive: Archive,
    listed: list[Listed],
    span: Span,
    wanted: Wanted = lambda _: True,
) -> Iterator[Archived]:
    """The messages of a span, of the folders that are `wanted`, in the stream's order.

    Where the server's clock went back within a window, what was stored before the span's beginning
    and after its end is left out by its own time.

    Raises:
        ArchiveDamaged: a file is not what the manifest says.
    """
    segments = [(day, line) for day, line in listed if isinstance(line, Segment)]
    for number, (day, segment) in enumerate(segments):
        following = segments[number + 1][1] if number + 1 < len(segments) else None
        if span.is_over(segment):
            return
        if not span.may_have(segment, following):
            continue
        for message in segment_messages(archive, day, segment, wanted):
            if span.start is not None and not span.start.is_reached(message):
                continue
            if span.stop is not None and span.stop.is_reached(message):
                continue
            yield message
