"""Repairing an archive from its stream, for `ssmd archive repair`."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Final

import nats.errors
import nats.js.errors
import typer

from ssmd_archive.catalog import Archive
from ssmd_archive.errors import ArchiveLocked
from ssmd_archive.lock import locked
from ssmd_archive.mended import Mended
from ssmd_archive.repair import repair as mend
from ssmd_cli import output
from ssmd_cli.archive_streams import layout
from ssmd_common.connections import nats as connections
from ssmd_common.connections.retry import first_line
from ssmd_common.errors import UpstreamUnavailable
from ssmd_common.settings import NatsSettings, load
from ssmd_stream.delivery import Delivery
from ssmd_stream.errors import ReaderBroken, StreamGap
from ssmd_stream.reader import reading
from ssmd_stream.stream import Stream, StreamInfo

_LOCK_SECONDS: Final = 0.02
_BATCH: Final = 1000
_WAIT_SECONDS: Final = 2.0


async def repair(
    root: Path,
    stream: str | None,
    *,
    dry_run: bool,
    without_stream: bool,
    wait_seconds: float,
    as_json: bool,
) -> bool:
    """Mend, and print what was done; whether something is lost for good.

    Raises:
        NoArchive: there is none.
        ArchiveLocked: an archiver writes to it.
        UpstreamUnavailable, StreamMissing: the stream cannot be read; nothing was changed.
    """
    archive = Archive(root, layout(stream))
    with await _locked(root, wait_seconds):
        if without_stream:
            mended = await asyncio.to_thread(mend, archive, None, dry_run=dry_run)
        else:
            mended = await _from_stream(archive, dry_run=dry_run)
    if as_json:
        output.document(mended)
    else:
        _show(mended, dry_run=dry_run)
    return bool(mended.lost)


async def _locked(root: Path, wait_seconds: float) -> contextlib.ExitStack:
    """The archive's lock, once its holder has ended.

    Raises:
        ArchiveLocked: it has not in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_seconds
    while True:
        lock = contextlib.ExitStack()
        try:
            lock.enter_context(locked(root))
        except ArchiveLocked:
            if loop.time() >= deadline:
                raise
            # Sooner than an archiver that stands by, or one that is started in its place.
            await asyncio.sleep(_LOCK_SECONDS)
        else:
            return lock


async def _from_stream(archive: Archive, *, dry_run: bool) -> Mended:
    settings = load(NatsSettings)
    client = await connections.connect(
        settings, "ssmd-archive-repair", budget_seconds=5, service="archiver"
    )
    try:
        of = archive.layout
        stream = Stream(client, of.stream, publisher=of.publisher)
        source = _Source(stream, of.subjects, await stream.info())
        return await asyncio.to_thread(mend, archive, source, dry_run=dry_run)
    except (nats.errors.Error, nats.js.errors.Error, ReaderBroken) as error:
        raise UpstreamUnavailable(
            f"the stream cannot be read ({first_line(error)}), nothing was changed: try again when "
            "NATS answers"
        ) from error
    finally:
        await connections.close(client)


class _Source:
    """The stream for a thread beside the event loop."""

    def __init__(self, stream: Stream, subjects: tuple[str, ...], info: StreamInfo) -> None:
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._subjects = subjects
        self._stop = info.last_sequence + 1
        self.created = info.created
        self.first = info.first_sequence

    def read(self, start: int, stop: int) -> Iterator[Delivery]:
        batches = self._batches(start, min(stop, self._stop))
        try:
            while True:
                coming = asyncio.run_coroutine_threadsafe(_next(batches), self._loop)
                if (batch := coming.result()) is None:
                    return
                yield from batch
        finally:
            asyncio.run_coroutine_threadsafe(batches.aclose(), self._loop).result()

    async def _batches(self, start: int, stop: int) -> AsyncGenerator[list[Delivery], None]:
        while start < stop:
            try:
                async with reading(self._stream, start, subjects=self._subjects) as reader:
                    while start < stop:
                        batch = await reader.batch(_BATCH, _WAIT_SECONDS)
                        yield [message for message in batch if message.sequence < stop]
                        start = reader.next_sequence
                        if not batch and reader.is_current:
                            return
            except StreamGap as gap:
                if gap.lost is None:
                    return
                start = gap.lost.stop


async def _next(batches: AsyncGenerator[list[Delivery], None]) -> list[Delivery] | None:
    return await anext(batches, None)


def _show(mended: Mended, *, dry_run: bool) -> None:
    done = "would be" if dry_run else "are"
    if mended.is_other_stream:
        output.note("the stream is not the one that was archived last: nothing can be had from it")
    if mended.is_nothing:
        output.note("there is nothing to mend")
        return
    for path in mended.files:
        typer.echo(f"{path}: made anew")
    for state in mended.states:
        typer.echo(f"state of {state}: withdrawn, a file of it is damaged")
    for day in mended.manifests:
        typer.echo(f"{day}/manifest.jsonl: written anew")
    for path in mended.strays:
        typer.echo(f"{path}: taken away")
    output.note(
        f"messages that {done} had from the stream: {mended.fetched:,}, from damaged files: "
        f"{mended.salvaged:,}, that {done} marked as lost: {mended.lost:,}"
    )
    if mended.aside:
        output.note(f"what was replaced is in {mended.aside}: delete it when you need it no more")
