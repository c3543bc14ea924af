"""Reading archived messages for `ssmd archive cat`."""

import sys
from collections import deque
from pathlib import Path

from ssmd_archive import bounds
from ssmd_archive.bounds import At, Bound, Sequence, Span
from ssmd_archive.catalog import Archive
from ssmd_archive.losses import DAMAGED, Loss, losses
from ssmd_cli import output
from ssmd_cli.archive_place import parse_place
from ssmd_cli.archive_streams import Messages, layout
from ssmd_cli.console import Terminal


def cat(
    root: Path,
    stream: str | None,
    wanted: Messages,
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
    archive = Archive(root, layout(stream))
    listed = list(archive.lines())
    start = parse_place(since, "--since", listed)
    stop = parse_place(until, "--until", listed)
    if isinstance(stop, Sequence):
        stop = Sequence(stop.chain, stop.sequence + 1)
    lost = deque(loss for loss in losses(listed) if _may_be_in(loss, start, stop))
    console = Terminal(soft_wrap=True)
    shown, day = 0, ""
    for message in bounds.read(archive, listed, Span(start, stop), wanted.folder):
        while lost and lost[0].start <= message.place:
            tell(lost.popleft())
        shown_as = wanted.line(message)
        if shown_as is None:
            continue
        if as_json:
            sys.stdout.write(message.text.decode() + "\n")
        else:
            if message.day != day:
                day = message.day
                console.print(day, style="bold dim")
            console.print(shown_as)
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
    """Of a span of time only the day of a loss is known, and not even that where lines are missing
    that would say so."""
    after = isinstance(start, Sequence) and loss.stop <= start
    before = isinstance(stop, Sequence) and loss.start >= stop
    if loss.kind != DAMAGED:
        after = after or (isinstance(start, At) and loss.day < start.day)
        before = before or (isinstance(stop, At) and loss.day > stop.day)
    return not after and not before
