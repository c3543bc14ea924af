"""An archive with some days, and what is in a bucket of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from made_market_data import Maker, subject_of

from ssmd_archive import manifest
from ssmd_archive.bucket import Bucket
from ssmd_archive.catalog import Archive
from ssmd_archive.hashing import hash_file
from ssmd_archive.layout import MANIFEST, MARKET_DATA
from ssmd_archive.lock import locked
from ssmd_archive.writer import ArchiveWriter, Rotation
from ssmd_stream.market.messages import encoded

BEGAN = datetime(2026, 2, 3, tzinfo=UTC)
DAYS = ("2026-02-03", "2026-02-04", "2026-02-05")
STREAM = MARKET_DATA.stream


class Stored(NamedTuple):
    sequence: int
    subject: str
    payload: bytes
    stored_at_ns: int


def archived(root: Path, days: int = 3, each: int = 4, windows: int = 2) -> Archive:
    """Some more days; each has segments of trades and records."""
    with locked(root):
        writer = ArchiveWriter(root, MARKET_DATA, Rotation(900))
        writer.recover()
        if writer.created is None:
            writer.begin_chain("2026-02-01T00:00:00Z", 1, "the archive begins")
        maker = Maker(f"s{writer.next_sequence}")
        last = writer.window
        start = BEGAN if last is None else _next_day(last.day)
        for day in range(days):
            for window in range(windows):
                at = start + timedelta(days=day, minutes=15 * window)
                messages: list[Any] = [maker.record("count", at=at)]
                messages += [maker.trade("KX-A", at=at) for _ in range(each)]
                number = writer.next_sequence
                for message in messages:
                    ns = int(at.timestamp()) * 1_000_000_000
                    subject, payload = subject_of(message), encoded(message)
                    writer.take([Stored(number, subject, payload, ns)])
                    number += 1
                writer.work()
                writer.seal()
        writer.close()
    return Archive(root, MARKET_DATA)


def _next_day(day: str) -> datetime:
    return datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)


def local(root: Path, stream: str = STREAM) -> dict[str, bytes]:
    """All that is listed or lists, by its key."""
    found = {}
    for path in (root / stream).rglob("*"):
        if path.is_file():
            found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


async def objects(bucket: Bucket) -> dict[str, bytes | None]:
    """All that the bucket has."""
    return {key: await bucket.get(key) for key in await bucket.sizes("")}


async def require_sound(root: Path, bucket: Bucket) -> None:
    """Whatever happened: the bucket's manifests list nothing that is not there as it was sealed,
    and nothing was deleted here that is not there."""
    listed_there: set[str] = set()
    for key in await bucket.sizes(STREAM):
        if not key.endswith(MANIFEST):
            continue
        content = await bucket.get(key)
        assert content is not None
        day = key.split("/")[1]
        for text in content.splitlines():
            for file in manifest.files_of(manifest.decode(text)):
                place = f"{STREAM}/{day}/{file.path}"
                assert await bucket.digest(place) == (file.bytes, file.sha256), place
                listed_there.add(place)
    archive = Archive(root, MARKET_DATA)
    for day in archive.days():
        for text in archive.texts(day)[0]:
            assert text.line is not None
            for file in manifest.files_of(text.line):
                path = archive.stream / day / file.path
                if path.exists():
                    assert hash_file(path) == (file.bytes, file.sha256)
                else:
                    assert f"{STREAM}/{day}/{file.path}" in listed_there, "deleted and lost"
