"""Sealed files into the bucket, beside archiving: whatever the bucket does, that goes on."""

from __future__ import annotations

import random
import time
from typing import Final

import structlog

from ssmd_archive.beside import Beside
from ssmd_archive.bucket import Bucket
from ssmd_archive.catalog import Archive
from ssmd_archive.coverage import streams
from ssmd_archive.errors import (
    ArchiveDamaged,
    BucketRefused,
    BucketUnreachable,
    ForeignArchive,
    NoArchive,
)
from ssmd_archive.layout import SECMASTER_CDC, Layout
from ssmd_archive.upload import Backlog, Upload
from ssmd_archiver.metrics import (
    UPLOAD_BACKLOG_BYTES,
    UPLOAD_BACKLOG_FILES,
    UPLOAD_FAILURES,
    UPLOAD_OLDEST_SECONDS,
    UPLOADED_BYTES,
)
from ssmd_archiver.settings import ArchiverSettings
from ssmd_archiver.threads import in_thread
from ssmd_common.runtime import Runtime

log = structlog.get_logger(__name__)

_FIRST_WAIT_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 60.0
_PRUNE_SECONDS: Final = 60.0


class Uploads:
    """All streams of the root, one after the other."""

    def __init__(self, runtime: Runtime, settings: ArchiverSettings) -> None:
        self._runtime = runtime
        self._settings = settings
        self._bucket = Bucket(settings)
        self._uploads: dict[str, Upload] = {}
        self._beside = Beside(
            settings.archiver_root, self._bucket, parquet=settings.archiver_bucket_parquet
        )
        self._failures = 0
        self._has_more = False
        self._pruned_at = 0.0
        self._told: str | None = None

    async def run(self) -> None:
        """Upload until the service is asked to stop; what is under way then is uploaded again."""
        wait = 0.0
        while not await self._runtime.stopped_within(wait):
            await self._runtime.until_stop(self._round())
            wait = 0.0 if self._has_more else self._settings.archiver_upload_seconds
            if self._failures:
                wait = max(wait, pause_seconds(self._failures) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    def why_kept(self, stream: str, day: str) -> str | None:
        """Why retention may not remove a day; None where the bucket is known to have all of it."""
        upload = self._uploads.get(stream)
        if upload is not None and upload.is_whole(day):
            return None
        return f"{self._bucket} does not have all of its files yet"

    async def _round(self) -> None:
        """Of each stream a day at most: one that cannot be uploaded holds up no other."""
        errors: list[Exception] = []
        self._has_more = False
        for layout in await in_thread(self._layouts):
            try:
                await self._stream(layout)
            except _SURVIVED as error:
                errors.append(error)
        if all(isinstance(error, ArchiveDamaged | OSError) for error in errors):
            # The bucket answers, and its archive is this one.
            try:
                self._has_more = await self._beside.work() or self._has_more
            except _SURVIVED as error:
                errors.append(error)
        try:
            await self._prune()
        except _SURVIVED as error:
            errors.append(error)
        if errors:
            self._failed(errors[0])
            return
        self._failures = 0
        self._runtime.health.degrade("bucket", None)
        if self._told is not None:
            log.info("the bucket takes what is sealed again")
            self._told = None

    async def _stream(self, layout: Layout) -> None:
        upload = self._uploads.get(layout.stream)
        if upload is None:
            archive = Archive(self._settings.archiver_root, layout)
            upload = Upload(archive, self._bucket, told=UPLOADED_BYTES.inc)
            self._uploads[layout.stream] = upload
        _tell(layout.stream, await in_thread(upload.backlog))
        self._has_more = await upload.work() or self._has_more
        _tell(layout.stream, await in_thread(upload.backlog))

    async def _prune(self) -> None:
        keep = self._settings.archiver_bucket_local_days
        if keep is None or time.monotonic() - self._pruned_at < _PRUNE_SECONDS:
            return
        for upload in self._uploads.values():
            await upload.prune(keep)
        self._pruned_at = time.monotonic()

    def _layouts(self) -> list[Layout]:
        root = self._settings.archiver_root
        found = [SECMASTER_CDC] if (root / SECMASTER_CDC.stream).is_dir() else []
        return [*found, *streams(root)]

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        kind = _KINDS.get(type(error), "other")
        UPLOAD_FAILURES.labels(kind).inc()
        self._runtime.health.failed("bucket", error)
        why = f"sealed files are not uploaded, and stay here: {error}"
        self._runtime.health.degrade("bucket", why)
        if self._told != why:
            self._told = why
            log.error("sealed files are not uploaded", kind=kind, error=str(error))


def pause_seconds(failures: int) -> float:
    """How long to wait at most after so many rounds that failed, one after the other: a bucket
    that is away for an hour is asked about once a minute. Pure."""
    return min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * (1 << min(failures, 10)))


_SURVIVED: Final = (
    BucketRefused, BucketUnreachable, ForeignArchive, ArchiveDamaged, NoArchive, OSError,
)  # fmt: skip
_KINDS: Final[dict[type[Exception], str]] = {
    BucketRefused: "refused",
    BucketUnreachable: "unreachable",
    ForeignArchive: "foreign",
    ArchiveDamaged: "damaged",
}


def _tell(stream: str, backlog: Backlog) -> None:
    UPLOAD_BACKLOG_FILES.labels(stream).set(backlog.files)
    UPLOAD_BACKLOG_BYTES.labels(stream).set(backlog.bytes)
    oldest = backlog.oldest_ns
    age = 0.0 if oldest is None else max(0.0, time.time() - oldest / 1e9)
    UPLOAD_OLDEST_SECONDS.labels(stream).set(age)
