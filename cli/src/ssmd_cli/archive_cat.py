"""Reading archived changes for `ssmd archive cat`."""

import sys
from collections import deque
from pathlib import Path

from ssmd_archive import bounds
from ssmd_archive.bounds import At, Bound, Sequence, Span, Wanted
from ssmd_archive.catalog import Archive
from ssmd_archive.layout import OTHER
from ssmd_archive.losses import Loss, losses
from ssmd_archive.messages import Archived
from ssmd_cli import output
from ssmd_cli.archive_place import parse_place
from ssmd_cli.changes import Filter, line
from ssmd_cli.console import Terminal
from ssmd_stream.change import Change, decode
from ssmd_stream.errors import UnreadableMessage


def cat(
    root: Path,
    wanted: Filter,
    since: str | None,
    until: str | None,
    *,
    limit: int | None,
    as_json: bool,
) -> None:
    """Print the messages of a span.

    Raises:
        ConfigurationError: a bound is none, or the filter asks for what no message has.
        NoArchive, ArchiveDamaged: it cannot be read.
    """
    wanted.subjects()
    archive = Archive(root)
    listed = list(archive.lines())
    start = parse_place(since, "--since", listed)
    stop = parse_place(until, "--until", listed)
    if isinstance(stop, Sequence):
        stop = Sequence(stop.chain, stop.sequence + 1)
    lost = deque(loss for loss in losses(listed) if _may_be_in(loss, start, stop))
    console = Terminal(soft_wrap=True)
    shown, day = 0, ""
    for message in bounds.read(archive, listed, Span(start, stop), _folders(wanted)):
        while lost and lost[0].start <= message.place:
            tell(lost.popleft())
        change = _read(message)
        if change is None or not wanted.wants(change):
            continue
        if as_json:
            sys.stdout.write(message.text.decode() + "\n")
        else:
            if message.day != day:
                day = message.day
                console.print(day, style="bold dim")
            console.print(line(change))
        shown += 1
        if shown == limit:
            return
    for loss in lost:
        tell(loss)


def tell(loss: Loss) -> None:
    """Say what is lost."""
    if loss.kind == "chain":
        output.note(
            f"chain {loss.chain} begins at sequence {loss.from_seq}: {loss.why}; what the stream "
            "before it still had is not archived"
        )
    else:
        output.note(
            f"sequences {loss.from_seq} to {loss.to_seq} of chain {loss.chain} are lost: {loss.why}"
        )


def _may_be_in(loss: Loss, start: Bound, stop: Bound) -> bool:
    """Of a span of time only the day of a loss is known."""
    after = isinstance(start, Sequence) and loss.stop <= start
    before = isinstance(stop, Sequence) and loss.start >= stop
    after = after or (isinstance(start, At) and loss.day < start.day)
    before = before or (isinstance(stop, At) and loss.day > stop.day)
    return not after and not before


def _folders(wanted: Filter) -> Wanted:
    if wanted.table is None:
        return lambda _: True
    # What cannot be carried as it is stands with messages of unknown tables.
    return lambda folder: folder in (wanted.table, OTHER)


def _read(message: Archived) -> Change | None:
    """The change of a message. None if it cannot be read, which is said on stderr."""
    try:
        return decode(message.line.payload)
    except UnreadableMessage as error:
        named = f" ({message.line.subject})" if message.line.subject else ""
        output.note(f"message {message.line.sequence}{named} is passed over as unreadable: {error}")
        return None
