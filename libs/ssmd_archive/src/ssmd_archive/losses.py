"""What an archive does not have, and the spans between that are complete. Pure."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from ssmd_archive.bounds import Sequence
from ssmd_archive.catalog import Listed
from ssmd_archive.manifest import Chain, Expired, HoleLine, Line, Segment

DAMAGED: Final = "damaged"


class Loss(NamedTuple):
    """Sequences that no file has. `kind` is the manifest's word: hole, expired or chain; `damaged`
    where it says nothing, since lines of it are missing before one of this `day`.

    Of a chain nobody knows how many the stream before it still had: `size` is 0.
    """

    day: str
    kind: str
    chain: int
    from_seq: int
    to_seq: int
    why: str

    @property
    def size(self) -> int:
        return self.to_seq + 1 - self.from_seq

    @property
    def start(self) -> Sequence:
        return Sequence(self.chain, self.from_seq)

    @property
    def stop(self) -> Sequence:
        """The first sequence after it."""
        return Sequence(self.chain, self.to_seq + 1)


def losses(listed: Iterable[Listed]) -> list[Loss]:
    """All of them, in the stream's order; where the first incarnation begins nothing was lost."""
    found: list[Loss] = []
    before: Line | None = None
    for day, line in listed:
        if (gap := skipped(before, day, line)) is not None:
            found.append(gap)
        before = line
        match line:
            case Segment():
                found.extend(
                    Loss(day, "hole", line.chain, hole.from_seq, hole.to_seq, hole.why)
                    for hole in line.holes
                )
            case HoleLine():
                found.append(Loss(day, "hole", line.chain, line.from_seq, line.to_seq, line.why))
            case Expired():
                found.append(Loss(day, "expired", line.chain, line.from_seq, line.to_seq, line.why))
            case Chain() if line.old is not None:
                found.append(Loss(day, "chain", line.chain, line.from_seq, line.to_seq, line.why))
            case _:
                pass
    return found


def skipped(before: Line | None, day: str, line: Line) -> Loss | None:
    """What lines accounted for that are missing between this one and the one `before`."""
    if before is None or isinstance(line, Chain):
        return None
    # Where the line is missing with which a chain begins, nobody knows what else was there.
    start = before.next_sequence if line.chain == before.chain else line.from_seq
    if line.chain == before.chain and line.from_seq <= start:
        return None
    why = (
        "no line of the manifests accounts for them: `ssmd archive verify` says where, "
        f"`ssmd archive repair --stream {line.stream}` mends it"
    )
    return Loss(day, DAMAGED, line.chain, start, line.from_seq - 1, why)


class Complete(NamedTuple):
    """A span without a loss: sequences of a chain, and the times of its first and last message."""

    chain: int
    from_seq: int
    to_seq: int
    first_time: str | None
    last_time: str | None


def spans(listed: Iterable[Listed]) -> list[Complete]:
    """The spans between losses, in the stream's order. Times are known where a segment begins or
    ends; within one they are those of the segment.
    """
    found: list[Complete] = []
    current: Complete | None = None

    def end() -> None:
        nonlocal current
        if current is not None and current.to_seq >= current.from_seq:
            found.append(current)
        current = None

    before: Line | None = None
    for day, line in listed:
        if skipped(before, day, line) is not None:
            end()
        before = line
        match line:
            case Chain():
                end()
            case HoleLine() | Expired():
                end()
            case Segment():
                place = line.from_seq
                for hole in [*line.holes, None]:
                    stop = hole.from_seq if hole else line.to_seq + 1
                    if stop > place:
                        current = (
                            current._replace(to_seq=stop - 1, last_time=line.last_time)
                            if current
                            else Complete(
                                line.chain, place, stop - 1, line.first_time, line.last_time
                            )
                        )
                    if hole:
                        end()
                        place = hole.to_seq + 1
            case _:
                pass
    end()
    return found
