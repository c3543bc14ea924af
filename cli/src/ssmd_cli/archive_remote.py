"""Archives that are in a bucket, for commands that read: what is needed is brought."""

import asyncio
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ssmd_archive import away, certificate, playback
from ssmd_archive import fetch as fetching
from ssmd_archive.bringing import MOST_BYTES, Bringing
from ssmd_archive.bucket import Bucket
from ssmd_archive.bucket_settings import BucketSettings
from ssmd_archive.catalog import Archive
from ssmd_archive.certificate import CERTIFICATES
from ssmd_archive.layout import MANIFEST
from ssmd_archive.manifest import files_of
from ssmd_archive.parquet import record
from ssmd_archive.parquet.record import Record
from ssmd_archive.sending import send_text
from ssmd_archive.verify import Finding
from ssmd_common.errors import ConfigurationError
from ssmd_common.settings import load


class Remote:
    """The archive that a bucket has: `root` has its manifests, and what was brought of the rest."""

    def __init__(self, bringing: Bringing) -> None:
        self._bringing = bringing
        self._bucket = bringing.bucket
        self._ask = bringing.ask
        self.root = bringing.root

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
            for key in sorted(self._ask(self._bucket.sizes(stream)))
            # What is under way has no line yet.
            if key not in listed and key.split("/")[1] < newest
        ]

    def records(self) -> None:
        """Bring the records of compacted days."""
        names = [of.stream for of in playback.streams(self.root)]
        for key, content in self._ask(fetching.records(self._bucket, names)).items():
            self._put(key, content)

    def parquet(self, wanted: Iterable[Path]) -> None:
        """Bring files of Parquet that records list, to where they would be.

        Raises:
            ConfigurationError: they are more than is copied.
            ArchiveDamaged: one is not as its record says.
        """
        needed = [
            (path, made)
            for path in wanted
            for made in _record(path.parent).tables
            if made.path == path.name
        ]
        if (size := sum(made.bytes for _, made in needed)) > MOST_BYTES:
            raise ConfigurationError(
                f"these are {size:,} bytes of Parquet in the bucket, and at most {MOST_BYTES:,} "
                "are copied: name days (--date), or `ssmd archive fetch --parquet --date DAY "
                "--root DIR` and ask there"
            )
        for path, made in needed:
            key = path.relative_to(self.root).as_posix()
            self._bringing.fetch(key, path, made.bytes, made.sha256)

    def certificates(self, tickers: Iterable[str] | None) -> None:
        """Bring those of these markets that there are; None: all."""
        if tickers is None:
            keys = sorted(self._ask(self._bucket.sizes(CERTIFICATES)))
        else:
            keys = [self._key_of(ticker) for ticker in tickers]
        for key, content in zip(keys, self._ask(self._bucket.get_all(keys)), strict=True):
            if content is not None:
                self._put(key, content)

    def give_back(self, ticker: str) -> None:
        """Put a market's certificate into the bucket."""
        key = self._key_of(ticker)
        self._ask(send_text(self._bucket, key, (self.root / key).read_bytes()))

    def _key_of(self, ticker: str) -> str:
        return certificate.path_of(self.root, ticker).relative_to(self.root).as_posix()

    def _put(self, key: str, content: bytes) -> None:
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        (self.root / key).write_bytes(content)


def _record(folder: Path) -> Record:
    path = folder / record.RECORD
    return record.decode(path, path.read_bytes())


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


@contextmanager
def mirrored(place: tuple[str, ...] | None) -> Iterator[Remote]:
    """A bucket's archive: a directory with its manifests, whose files are brought, while inside.

    `place` are the bucket and the parts of the prefix; None: as the environment says.
    """
    if place is None:
        bucket = bucket_of()
    elif not place:
        raise ConfigurationError("--root s3:// names no bucket: s3://BUCKET/PREFIX")
    else:
        name, *prefix = place
        named = {"archiver_bucket": name, "archiver_bucket_prefix": "/".join(prefix)}
        bucket = Bucket(load(BucketSettings).model_copy(update=named))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ssmd-bucket-"))
        root = Path(folder)
        asyncio.run(fetching.fetch(root, bucket, None, wanted=lambda _: False))
        brought = stack.enter_context(bringing(root, bucket))
        stack.enter_context(away.brought(root, brought.bring))
        yield Remote(brought)


@contextmanager
def bringing(root: Path, bucket: Bucket | None = None) -> Iterator[Bringing]:
    """What brings an archive's files from a bucket, by default the environment's."""
    with tempfile.TemporaryDirectory(prefix="ssmd-brought-") as folder:
        brought = Bringing(bucket or bucket_of(), root, Path(folder))
        try:
            yield brought
        finally:
            brought.close()
