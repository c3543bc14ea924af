"""Archived messages again, in the order in which they were stored: what backtests stand on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Generator
from contextlib import aclosing
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssmd_client.errors import Missing, SecmasterError

if TYPE_CHECKING:
    from ssmd_archive.layout import Layout
    from ssmd_archive.playback import Item, Lost, Played

_AT_ONCE: Final = 1000


class Incomplete(SecmasterError):
    """The archive lacks something, and the replay is `strict`; `lost` says what."""

    def __init__(self, lost: Lost) -> None:
        super().__init__(
            f"{lost.stream} lacks {lost.from_seq} to {lost.to_seq} of chain {lost.chain}: "
            f"{lost.why}"
        )
        self.lost = lost


async def replay(
    root: Path | str,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    streams: Collection[str] | None = None,
    channels: Collection[str] | None = None,
    series: str | None = None,
    ticker: str | None = None,
    speed: float | None = None,
    strict: bool = False,
) -> AsyncGenerator[Played | Lost, None]:
    """Messages of an archive's directory that were stored from `since` on and before `until`.

    Each item is a `Played` message or a `Lost`: what the archive lacks, in its place (with `strict`
    that is raised). Of one stream the order is the stream's; between streams it is by the time at
    which JetStream stored them. `streams` are names, by default all that there are; `channels` are
    channels of market data and tables of changes. With a `series` or a `ticker` only messages about
    it come, no records of the capture. `speed` 1 takes the time that it took, 10 a tenth; None is
    as fast as it is read. Files are read in another thread, a few at once: memory is bounded.

    Raises:
        Missing: `ssmd-client[replay]` is not installed.
        ValueError: a stream or a channel is none of ours, or a time has no zone.
        NoArchive, ArchiveDamaged (of `ssmd_archive.errors`): there is none, or a manifest cannot be
            read. A damaged file is a `Lost`.
        InBucket (of `ssmd_archive.errors`): files were deleted here, since the bucket has them.
        Incomplete: `strict`, and something is missing.
    """
    for name, moment in (("since", since), ("until", until)):
        if moment is not None and moment.tzinfo is None:
            raise ValueError(f"{name} {moment} has no time zone: say which is meant")
    if speed is not None and not speed > 0:
        raise ValueError(f"speed {speed} is not above 0")
    source = _source(Path(root), since, until, streams, channels, series, ticker)
    from ssmd_archive import playback

    async with aclosing(_batches(source)) as batches:
        began: tuple[float, int] | None = None
        async for batch in batches:
            if speed is None and not strict:
                for item in batch:
                    yield item
                continue
            for item in batch:
                if isinstance(item, playback.Lost):
                    if strict:
                        raise Incomplete(item)
                elif speed is not None:
                    began = began or (time.monotonic(), item.stored_at_ns)
                    due = began[0] + (item.stored_at_ns - began[1]) / 1e9 / speed
                    wait = due - time.monotonic()
                    if wait > 0:
                        await asyncio.sleep(wait)
                yield item


async def _batches(source: Generator[Item, None, None]) -> AsyncGenerator[list[Item], None]:
    """A few items at a time, read in a thread; the files are closed at the end, whatever ends."""
    reading: asyncio.Future[list[Item]] | None = None
    try:
        while True:
            reading = asyncio.ensure_future(asyncio.to_thread(_next, source))
            # A thread cannot be cancelled: it is waited for before its files are closed.
            batch = await asyncio.shield(reading)
            if not batch:
                return
            yield batch
    finally:
        if reading is not None and not reading.done():
            await asyncio.wait([reading])
        source.close()


def _next(source: Generator[Item, None, None]) -> list[Item]:
    return list(islice(source, _AT_ONCE))


def _source(
    root: Path,
    since: datetime | None,
    until: datetime | None,
    streams: Collection[str] | None,
    channels: Collection[str] | None,
    series: str | None,
    ticker: str | None,
) -> Generator[Item, None, None]:
    try:
        from ssmd_archive import playback
        from ssmd_archive.bounds import At
        from ssmd_archive.catalog import Archive
    except ImportError as error:
        raise Missing("ssmd-archive is not installed: pip install 'ssmd-client[replay]'") from error
    wanted = playback.Wanted(None if channels is None else frozenset(channels), series, ticker)
    return playback.play(
        [Archive(root, layout) for layout in _layouts(root, streams, channels)],
        None if since is None else At.of(since),
        None if until is None else At.of(until),
        wanted,
    )


def _layouts(
    root: Path, streams: Collection[str] | None, channels: Collection[str] | None
) -> list[Layout]:
    """Those of the streams that have such a channel."""
    from ssmd_archive import playback
    from ssmd_archive.layout import layout_of

    found = playback.streams(root) if streams is None else [layout_of(name) for name in streams]
    layouts = [layout for layout in found if layout is not None]
    if streams is not None and (odd := [name for name in streams if layout_of(name) is None]):
        raise ValueError(f"no stream that is archived is called {', '.join(odd)}")
    if channels is None:
        return layouts
    known = {table for layout in layouts for table in layout.tables}
    if unknown := set(channels) - known:
        raise ValueError(
            f"{', '.join(sorted(unknown))}: these streams have {', '.join(sorted(known))}"
        )
    return [layout for layout in layouts if not layout.tables.isdisjoint(channels)]
