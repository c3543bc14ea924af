"""The writer as the service uses it: one call at a time, beside the event loop, and again while the
disk is full.
"""

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import structlog

from ssmd_archive import manifest
from ssmd_archive.catalog import Archive
from ssmd_archive.disk import is_full
from ssmd_archive.errors import ArchiveDamaged
from ssmd_archive.layout import Layout
from ssmd_archive.manifest import Line
from ssmd_archive.parquet.record import why_not_compacted
from ssmd_archive.retention import usage
from ssmd_archive.state import StateWriter
from ssmd_archive.writer import ArchiveWriter
from ssmd_archiver.errors import Stopping
from ssmd_archiver.health import StreamHealth
from ssmd_archiver.metrics import (
    BYTES,
    CHAINS,
    FILES,
    FREE_BYTES,
    MISSING,
    OVERDUE_DAYS,
    SEALED_BYTES,
    SEALED_SEQUENCE,
    SEGMENTS,
    STATES,
)
from ssmd_archiver.settings import ArchiverSettings
from ssmd_archiver.taking import Taken
from ssmd_archiver.threads import in_thread
from ssmd_common.runtime import Runtime
from ssmd_stream.delivery import Delivery

log = structlog.get_logger(__name__)

T = TypeVar("T")

_RETRY_SECONDS: Final = 1.0


class Desk:
    """Owns the writer. Its calls wait for one another."""

    def __init__(
        self,
        runtime: Runtime,
        settings: ArchiverSettings,
        layout: Layout,
        health: StreamHealth,
        why_kept: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        """`why_kept` says why retention may not remove a day, or None; it is asked in a thread."""
        self._runtime = runtime
        self._health = health
        self.layout = layout
        self._keep = settings.keep_of(layout.stream)
        self._removes_compacted_only = settings.removes_compacted_only
        self._flush_seconds = settings.archiver_flush_seconds
        self.writer = ArchiveWriter(
            settings.archiver_root, layout, settings.rotation, told=self._told
        )
        self._why_kept = why_kept
        self._turn = asyncio.Lock()
        self._flushed_at = time.monotonic()
        self._server_ns = self._server_at = 0.0
        self._refused: str | None = None

    async def recover(self) -> None:
        """Begin with what an earlier process left."""
        await self._call(self.writer.recover)
        if self.writer.seen is not None:
            self._saw(self.writer.seen.stored_at_ns)
        SEALED_SEQUENCE.labels(self.layout.stream).set(self.writer.sealed_through)
        await self._tidy()

    async def write(self, batch: Sequence[Delivery]) -> None:
        """Write messages; returns when they are in files or wait for a full gzip member.

        Raises:
            Stopping: the service is asked to stop while the disk is full.
        """
        self.writer.take(batch)
        sealed = self.writer.sealed_through
        await self._call(self.writer.work)
        if batch:
            self._saw(batch[-1].stored_at_ns)
        if self.writer.sealed_through != sealed:
            await self._tidy()

    async def tick(self) -> None:
        """What is due by time alone: lines in memory, and a window that is over."""
        now = time.monotonic()
        if now - self._flushed_at >= self._flush_seconds:
            await self._call(self.writer.flush)
            self._flushed_at = now
        # The server's clock at least: it was this when the last message came, and goes on as ours.
        server_ns = int(self._server_ns + (now - self._server_at) * 1e9)
        if self._server_ns and await self._call(lambda: self.writer.seal_if_over(server_ns)):
            await self._tidy()

    async def begin_state(self, after_seq: int) -> StateWriter:
        return await self._call(lambda: self.writer.state_writer(after_seq))

    async def add_state(self, taken: Taken) -> bool:
        """Whether the state is listed: not if another day began while it was taken."""
        added = await self._call(
            lambda: self.writer.add_state(
                taken.writer, taken.files, taken.snapshot, taken.lsn, taken.epoch
            )
        )
        if not added:
            taken.writer.discard()
        return added

    async def close(self) -> None:
        async with self._turn:
            await in_thread(self.writer.close)

    async def _call(self, work: Callable[[], T]) -> T:
        """Do it, and again while the disk refuses it: nothing is lost, what comes next waits."""
        async with self._turn:
            while True:
                try:
                    result = await in_thread(work)
                except OSError as error:
                    self._refuse(error)
                    self._health.progress()
                    if await self._runtime.stopped_within(_RETRY_SECONDS):
                        raise Stopping from error
                    continue
                if self._refused is not None:
                    log.info("the archive's disk takes what is written again")
                    self._refused = None
                self._health.set("disk", None)
                return result

    def _refuse(self, error: OSError) -> None:
        root = self.writer.stream.parent
        why = (
            f"the disk of {root} is full ({error.strerror}): nothing is archived until there is "
            "room; make room before the stream's retention takes what is waiting"
            if is_full(error)
            else f"{root} cannot be written to ({error}): nothing is archived until it can"
        )
        self._health.set("disk", why)
        if self._refused != why:
            self._refused = why
            self._health.failed("disk", error)
            log.error("the archive's disk refuses what is written", error=why)

    async def _tidy(self) -> None:
        """After a seal: what is too old goes, and how much there is becomes known."""
        if self._keep.days is not None or self._keep.bytes is not None:
            await self._call(self._remove_old)
        found = await in_thread(usage, self.writer.stream)
        BYTES.labels(self.layout.stream).set(sum(day.bytes for day in found.values()))
        FILES.labels(self.layout.stream).set(sum(day.files for day in found.values()))
        FREE_BYTES.set(await in_thread(_free_bytes, self.writer.stream.parent))

    def _remove_old(self) -> None:
        found = self.writer.remove_old(self._keep, self._must_stay)
        OVERDUE_DAYS.labels(self.layout.stream).set(len(found.stay))
        self._health.degrade(
            "retention",
            f"{found.stay[0]} is older than what is kept, and has to stay ({found.why}), and so "
            f"have {len(found.stay) - 1} after it"
            if found.stay
            else None,
        )

    def _must_stay(self, day: str) -> str | None:
        """Why a day that is too old is not removed yet."""
        if (why := self._why_kept(day)) is not None:
            return why
        if not self._removes_compacted_only:
            return None
        try:
            return why_not_compacted(Archive(self.writer.stream.parent, self.layout), day)
        except ArchiveDamaged as error:
            return str(error)

    def _saw(self, stored_at_ns: int) -> None:
        self._server_ns, self._server_at = stored_at_ns, time.monotonic()

    def _told(self, line: Line) -> None:
        """A line is in the manifest."""
        SEALED_SEQUENCE.labels(self.layout.stream).set(line.to_seq)
        match line:
            case manifest.Segment():
                SEGMENTS.labels(self.layout.stream).inc()
                SEALED_BYTES.labels(self.layout.stream).inc(sum(file.bytes for file in line.files))
                if missing := manifest.missing(line):
                    self._lost("hole", missing, line)
            case manifest.HoleLine():
                self._lost("hole", line.to_seq + 1 - line.from_seq, line)
            case manifest.Expired():
                self._lost("expired", line.to_seq + 1 - line.from_seq, line)
            case manifest.Chain():
                CHAINS.labels(self.layout.stream).inc()
                log.info(
                    "a chain begins",
                    stream=self.layout.stream,
                    from_seq=line.from_seq,
                    why=line.why,
                )
            case manifest.State():
                STATES.inc()
            case manifest.Removed() | manifest.Repaired():
                pass

    def _lost(self, why: str, count: int, line: Line) -> None:
        MISSING.labels(self.layout.stream, why).inc(count)
        log.error(
            "the archive misses messages",
            stream=self.layout.stream,
            messages=count,
            from_seq=line.from_seq,
            to_seq=line.to_seq,
        )


def _free_bytes(root: Path) -> int:
    return shutil.disk_usage(root).free
