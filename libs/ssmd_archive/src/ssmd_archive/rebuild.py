"""Rows as of any archived moment, from files alone. Memory is that of the rows asked for."""

from collections.abc import Callable, Collection, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from ssmd_archive import bounds
from ssmd_archive.bounds import At, Sequence, Span
from ssmd_archive.catalog import Archive, Listed
from ssmd_archive.errors import NotArchived
from ssmd_archive.losses import Loss, losses
from ssmd_archive.manifest import Segment, State
from ssmd_archive.messages import file_lines
from ssmd_archive.replay import Held, Replay

V = TypeVar("V")

NOTHING_YET: Final = (
    "nothing is archived yet: files appear when they are sealed, by default at each quarter of an "
    "hour (ARCHIVER_ROTATE_SECONDS)"
)


class Rebuilt(NamedTuple, Generic[V]):
    """`at` is the last sequence that counts. What was `lost` since `state` may have changed rows.

    `state` is None where the rows are from an epoch's announcement alone.
    """

    replay: Replay[V]
    at: Sequence
    state: State | None
    lost: list[Loss]


def place(archive: Archive, listed: list[Listed], at: At | Sequence | None) -> Sequence:
    """The last sequence that belongs to a moment: all that was stored up to then. None is the end.

    Raises:
        NotArchived: the archive has nothing of that moment.
    """
    segments = [line for _, line in listed if isinstance(line, Segment)]
    if not segments:
        raise NotArchived(NOTHING_YET)
    last = listed[-1].line
    end = Sequence(last.chain, last.to_seq)
    first = Sequence(segments[0].chain, segments[0].from_seq)
    if at is None:
        return end
    if isinstance(at, Sequence):
        if not first <= at <= end:
            raise NotArchived(
                f"sequence {at.sequence} of chain {at.chain} is not archived: sequences "
                f"{first.sequence} of chain {first.chain} to {end.sequence} of chain {end.chain} "
                "are"
            )
        return at
    after = bounds.read(archive, listed, Span(At(at.ns + 1)))
    for message in after:
        place = Sequence(message.chain, message.line.sequence - 1)
        if place < first:
            raise NotArchived(f"the archive begins at {segments[0].first_time}, after that moment")
        return place
    return end


def rebuild(
    archive: Archive,
    listed: list[Listed],
    at: Sequence,
    tables: Collection[str],
    keep: Callable[[str, bytes], V],
) -> Rebuilt[V]:
    """The rows of some tables after the message with a sequence, of each what `keep` makes of it.

    Raises:
        NotArchived: neither a state nor a whole announcement is archived before it.
        ArchiveDamaged: a file is not what the manifest says.
    """
    state = _state_before(archive, listed, at)
    replay = Replay(tables, keep)
    start = None
    if state is not None:
        day, line = state
        assert isinstance(line, State)
        replay.begin(line, state_rows(archive, day, line, tables))
        start = Sequence(line.chain, line.after_seq + 1)
    # Other folders may say that an epoch begins or ends.
    for message in bounds.read(archive, listed, Span(start, Sequence(at.chain, at.sequence + 1))):
        replay.apply(message.chain, message.line, message.folder)
    since = max(replay.whole_since or (0, 0), start or (0, 0))
    if since == (0, 0):
        first = next((line for _, line in listed if isinstance(line, State)), None)
        known = f"the first state is that after sequence {first.after_seq}" if first else "none is"
        raise NotArchived(f"no state is archived before sequence {at.sequence}: {known}")
    lost = [loss for loss in losses(listed) if since < loss.stop and loss.start <= at]
    return Rebuilt(replay, at, state.line if state else None, lost)  # type: ignore[arg-type]


def state_rows(
    archive: Archive, day: str, state: State, tables: Collection[str]
) -> Iterator[tuple[str, bytes]]:
    """The rows of a state, each with its table.

    Raises:
        ArchiveDamaged: a file is not what the manifest says.
    """
    for file in state.files:
        if file.table in tables:
            for row in file_lines(archive.stream / day / file.path):
                yield file.table, row


def _state_before(archive: Archive, listed: list[Listed], at: Sequence) -> Listed | None:
    """The last state that holds nothing which comes after `at`.

    Of the newest one that may not be known, while no message is archived that is later than all it
    holds. An earlier one is as good where nothing was lost since; else the newest is the best.
    """
    unknown: Listed | None = None
    lost = losses(listed)
    for listing in reversed(listed):
        state = listing.line
        if not isinstance(state, State) or (place := Sequence(state.chain, state.after_seq)) > at:
            continue
        if unknown is not None and any(place < loss.stop and loss.start <= at for loss in lost):
            break
        match _holds_later(archive, listed, state, at):
            case False:
                return listing
            case None:
                unknown = unknown or listing
            case True:
                pass
    return unknown


def _holds_later(archive: Archive, listed: list[Listed], state: State, at: Sequence) -> bool | None:
    """Whether a state holds what a message after `at` says. None: the archive does not tell."""
    held = Held.by(state)
    following = Span(Sequence(state.chain, state.after_seq + 1))
    for message in bounds.read(archive, listed, following):
        if message.chain != state.chain:
            break
        match held.tells(message.line):
            case "later":
                return False
            case "epoch":
                break
            case "held" if message.place > at:
                return True
            case _:
                pass
    return None
