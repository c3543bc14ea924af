"""The messages of several streams of an archive, in the order in which they were stored.

Of one stream that is the stream's own order, by chain and sequence. Between streams the time counts
at which JetStream stored each message: no other order exists between them, and none is meant. Where
the server's clock went back, a message counts as stored when the one before it was; of the same
moment the streams come in the order of their names.

What the archive lacks is an item in its place, too. A file that is not as it was sealed, by its
SHA-256, costs itself: nothing of it is played, and an item says what is missing. Memory is that of
a gzip member per file that is read.
"""

import heapq
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, NamedTuple

from ssmd_archive import lines
from ssmd_archive.away import here
from ssmd_archive.bounds import At, Span
from ssmd_archive.catalog import Archive, Listed
from ssmd_archive.errors import ArchiveDamaged, UnreadableLine
from ssmd_archive.hashing import hash_file
from ssmd_archive.identity import id_of, is_about, subject_of
from ssmd_archive.layout import OTHER, Layout, layout_of
from ssmd_archive.losses import Loss, losses, skipped
from ssmd_archive.manifest import Chain, Expired, File, HoleLine, Line, Segment
from ssmd_archive.members import members

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


Kind = Literal["hole", "expired", "chain", "damaged"]


class Played(NamedTuple):
    """A message as the stream had it. `payload` is as published, byte for byte."""

    layout: Layout
    chain: int
    sequence: int
    stored_at_ns: int
    """Nanoseconds since 1970, by the server's clock."""
    folder: str
    """Its table, of market data its channel; `_other` of what no publisher of ours made."""
    payload: bytes
    own_subject: str | None = None
    """Of a message of `_other`."""

    @property
    def stream(self) -> str:
        return self.layout.stream

    @property
    def stored_at(self) -> datetime:
        """The same in UTC, cut to microseconds."""
        return _EPOCH + timedelta(microseconds=self.stored_at_ns // 1000)

    @property
    def id(self) -> str | None:
        """Its `Nats-Msg-Id`; None in `_other`."""
        return id_of(self.layout, self.folder, self.payload)

    @property
    def subject(self) -> str | None:
        """As it was published (of a change whose row could not be carried: as far as it says)."""
        if self.own_subject is not None:
            return self.own_subject
        return subject_of(self.layout, self.folder, self.payload)


class Lost(NamedTuple):
    """What the archive lacks, in the place where it would come.

    `kind` is `hole` or `expired` (the stream had lost it), `chain` (another incarnation of the
    stream begins: what the one before still had is not known), or `damaged`: a file that is not as
    it was sealed, whose `messages` stand between these sequences, or lines of a manifest that are
    missing, without a `folder`.
    """

    layout: Layout
    chain: int
    from_seq: int
    to_seq: int
    messages: int
    kind: Kind
    why: str
    folder: str | None = None

    @property
    def stream(self) -> str:
        return self.layout.stream


Item = Played | Lost


class Wanted(NamedTuple):
    """What is played. With a series or a ticker only messages about it: no records of the capture.

    `folders` are tables and channels; None is all.
    """

    folders: frozenset[str] | None = None
    series: str | None = None
    ticker: str | None = None

    def has_folder(self, folder: str) -> bool:
        return self.folders is None or folder in self.folders

    def about(self, layout: Layout) -> Callable[[str, bytes], bool] | None:
        """Of a folder and a payload; None where all are wanted."""
        if self.series is None and self.ticker is None:
            return None
        needles = [text.encode() for text in (self.series, self.ticker) if text is not None]

        def wants(folder: str, payload: bytes) -> bool:
            # Most messages are about others, and this tells it at once.
            return all(needle in payload for needle in needles) and is_about(
                layout, folder, payload, series=self.series, ticker=self.ticker
            )

        return wants


ALL: Final = Wanted()


def play(
    archives: Iterable[Archive],
    start: At | None = None,
    stop: At | None = None,
    wanted: Wanted = ALL,
) -> Generator[Item, None, None]:
    """All that was stored from `start` on and before `stop`. Blocks.

    Raises:
        ArchiveDamaged: a manifest cannot be read.
        OSError: a file cannot be read, though it is there.
        InBucket, BucketRefused, BucketUnreachable: one is in the bucket only, and is not brought.
    """
    streams = sorted(archives, key=lambda archive: archive.layout.stream)
    with ExitStack() as stack:
        sources = [
            stack.enter_context(closing(_of_stream(archive, start, stop, wanted)))
            for archive in streams
        ]
        if len(sources) == 1:
            yield from (item for _, item in sources[0])
        else:
            # Stable: of the same moment the first source's comes first.
            for _, item in heapq.merge(*sources, key=_moment):
                yield item


def streams(root: Path) -> list[Layout]:
    """Those that an archive has.

    Raises:
        NoArchive: it is none.
    """
    Archive(root)
    names = sorted(path.name for path in root.iterdir() if path.is_dir())
    found = (layout_of(name) for name in names)
    return [layout for layout in found if layout is not None]


def _moment(placed: tuple[int, Item]) -> int:
    return placed[0]


def _of_stream(
    archive: Archive, start: At | None, stop: At | None, wanted: Wanted
) -> Generator[tuple[int, Item], None, None]:
    """Each with the moment at which the stream had reached it, which never goes back."""
    listed = list(archive.lines())
    span = Span(start, stop)
    since = start.ns if start else 0
    until = stop.ns if stop else None
    segments = [listing for listing in listed if isinstance(listing.line, Segment)]
    number = -1
    reached = since
    before_span = True
    waiting: list[Lost] = []

    def told() -> Iterator[tuple[int, Item]]:
        yield from ((reached, lost) for lost in waiting)
        waiting.clear()

    before: Line | None = None
    for listing in listed:
        line = listing.line
        if (gap := skipped(before, listing.day, line)) is not None:
            waiting.append(_lost(archive.layout, gap))
        before = line
        if isinstance(line, HoleLine | Expired | Chain):
            waiting.extend(_losses(archive.layout, listing))
        if not isinstance(line, Segment):
            continue
        number += 1
        following = segments[number + 1].line if number + 1 < len(segments) else None
        if span.is_over(line):
            break
        if not span.may_have(line, following if isinstance(following, Segment) else None):
            waiting.clear()
            continue
        with closing(_of_segment(archive, listing.day, line, wanted)) as items:
            for ns, item in items:
                if isinstance(item, Lost):
                    waiting.append(item)
                    continue
                if until is not None and ns >= until:
                    # Another may be earlier yet, where the server's clock went back.
                    continue
                if ns < since:
                    waiting.clear()
                    continue
                before_span = False
                if waiting:
                    yield from told()
                reached = max(reached, ns)
                yield reached, item
    if waiting and (not before_span or until is None or reached < until):
        yield from told()


def _losses(layout: Layout, listing: Listed) -> Iterator[Lost]:
    for loss in losses([listing]):
        yield _lost(layout, loss)


def _lost(layout: Layout, loss: Loss) -> Lost:
    kind: Kind = loss.kind  # type: ignore[assignment] # it is one
    return Lost(layout, loss.chain, loss.from_seq, loss.to_seq, loss.size, kind, loss.why)


def _of_segment(
    archive: Archive, day: str, segment: Segment, wanted: Wanted
) -> Generator[tuple[int, Item], None, None]:
    """In the order of sequences, each with its moment: never before the window's start."""
    layout, chain = archive.layout, segment.chain
    start_ns = lines.nanoseconds(segment.window)
    about = wanted.about(layout)
    with ExitStack() as stack:
        # Sequences differ, so that nothing behind them is compared.
        sources: list[Iterable[tuple[int, Item]]] = [
            [(lost.from_seq, lost) for lost in _losses(layout, Listed(day, segment))]
        ]
        for file in segment.files:
            if wanted.has_folder(file.table) or (file.table == OTHER and wanted.folders is None):
                source = _of_file(layout, chain, archive.stream / day / file.path, file)
                sources.append(stack.enter_context(closing(source)))
        for _, item in heapq.merge(*sources, key=_moment):
            if isinstance(item, Lost):
                yield start_ns, item
            elif about is None or about(item.folder, item.payload):
                yield max(item.stored_at_ns, start_ns), item


def _of_file(
    layout: Layout, chain: int, path: Path, file: File
) -> Generator[tuple[int, Item], None, None]:
    """A file's messages, each with its sequence; what it lacks where it is damaged."""
    there, wrong = _found(path, file)
    if wrong is None:
        folder = file.table
        with there.open("rb") as opened:
            for member in members(opened):
                for text in member.raw.removesuffix(b"\n").split(b"\n"):
                    try:
                        line = lines.decode(text)
                    except UnreadableLine as error:
                        # It was sealed so: only `verify --deep` would have seen it.
                        wrong = f"{path} has a line that cannot be read ({error})"
                        yield _damaged(layout, chain, file, wrong)
                        return
                    yield (
                        line.sequence,
                        Played(
                            layout, chain, line.sequence, line.stored_at_ns, folder,
                            line.payload, line.subject,
                        ),
                    )  # fmt: skip
    else:
        yield _damaged(layout, chain, file, wrong)


def _found(path: Path, file: File) -> tuple[Path, str | None]:
    """Where a file is, and why it is not the one that was sealed."""
    try:
        there = here(path)
        size, digest = hash_file(there)
    except FileNotFoundError:
        return path, f"{path} is not there"
    except ArchiveDamaged as error:
        return path, str(error)
    if (size, digest) != (file.bytes, file.sha256):
        return path, f"{path} is not as it was sealed"
    return there, None


def _damaged(layout: Layout, chain: int, file: File, wrong: str) -> tuple[int, Lost]:
    why = (
        f"{wrong}: `ssmd archive repair --stream {layout.stream}` mends it from the stream, as far "
        "as that holds it"
    )
    return file.from_seq, Lost(
        layout, chain, file.from_seq, file.to_seq, file.messages, "damaged", why, file.table
    )
