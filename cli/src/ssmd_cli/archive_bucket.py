"""What is done with an archive's bucket: days fetched from it, all of it verified."""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import typer

from ssmd_archive import fetch as fetching
from ssmd_archive.bucket import Bucket
from ssmd_archive.bucket_settings import BucketSettings
from ssmd_archive.catalog import Archive
from ssmd_archive.coverage import day_of
from ssmd_archive.layout import MANIFEST
from ssmd_archive.manifest import files_of
from ssmd_archive.verify import Finding
from ssmd_cli import output
from ssmd_cli.archive_streams import layout
from ssmd_cli.progress import BytesRead
from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import load


def bucket_of() -> Bucket:
    """That of the environment.

    Raises:
        ConfigurationError: there is none.
    """
    settings = load(BucketSettings)
    if settings.archiver_bucket is None:
        raise ConfigurationError(
            "ARCHIVER_BUCKET is not set: it, and what begins so, say which bucket the archiver "
            "uploads to (docs/archive.md)"
        )
    return Bucket(settings)


def fetch(
    root: Path,
    days: list[str] | None,
    stream: str | None,
    tables: list[str] | None,
    *,
    as_json: bool,
) -> None:
    """Fetch days, and say what came.

    Raises:
        ConfigurationError: a day is none, or no bucket is named.
        NotArchived, BucketRefused, BucketUnreachable, ForeignArchive, ArchiveDamaged: see
            `ssmd_archive.fetch`.
    """
    for day in days or ():
        try:
            day_of(day)
        except ValueError:
            raise ConfigurationError(f"--date {day} is no day such as 2026-02-03") from None
    named = layout(stream).stream if stream else None
    wanted = frozenset(tables) if tables else None
    found = asyncio.run(
        fetching.fetch(
            root,
            bucket_of(),
            days or None,
            stream=named,
            wanted=lambda folder: wanted is None or folder in wanted,
            told=BytesRead(1 << 24) if sys.stderr.isatty() else lambda _: None,
        )
    )
    if as_json:
        output.document(msgspec.to_builtins(found))
        return
    for day in found.days:
        typer.echo(day)
    output.note(f"{found.files} files came ({found.bytes} bytes), and {found.manifests} manifests")


class InBucket:
    """The archive that a bucket has, its files where they are: `root` has the manifests only."""

    def __init__(self, bucket: Bucket, root: Path) -> None:
        self._bucket = bucket
        self.root = root

    def hash_of(self, path: Path) -> tuple[int, str]:
        """As `ssmd_archive.verify` asks it; may be called in any thread."""
        key = path.relative_to(self.root).as_posix()
        found = asyncio.run(self._bucket.digest(key))
        if found is None:
            raise FileNotFoundError(key)
        return found

    def strays(self, archive: Archive) -> list[Finding]:
        """Objects that no manifest lists."""
        stream = archive.layout.stream
        listed = {
            f"{stream}/{day}/{file.path}"
            for day in archive.days()
            for text in archive.texts(day)[0]
            if text.line is not None
            for file in files_of(text.line)
        }
        listed |= {f"{stream}/{day}/{MANIFEST}" for day in archive.days()}
        newest = max(archive.days(), default="")
        return [
            Finding(key.partition("/")[2], None, "extra", "no line of a manifest lists it")
            for key in sorted(asyncio.run(self._bucket.sizes(stream)))
            # What is under way has no line yet.
            if key not in listed and key.split("/")[1] < newest
        ]


@contextmanager
def in_bucket() -> Iterator[InBucket]:
    """The bucket's archive, while inside."""
    bucket = bucket_of()
    with tempfile.TemporaryDirectory(prefix="ssmd-bucket-") as folder:
        root = Path(folder)
        asyncio.run(fetching.fetch(root, bucket, None, wanted=lambda _: False))
        yield InBucket(bucket, root)
