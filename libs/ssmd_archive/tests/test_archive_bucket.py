"""A bucket of a real S3 server: what is uploaded, what is refused, and what survives what."""

import asyncio
import os
import secrets
from pathlib import Path
from typing import Any

import made_bucket as bucketed
import pytest
from made_bucket import DAYS, STREAM
from s3_server import S3Server

from ssmd_archive import uploaded
from ssmd_archive.bucket import Bucket
from ssmd_archive.catalog import Archive
from ssmd_archive.errors import (
    ArchiveDamaged,
    BucketUnreachable,
    ForeignArchive,
    InBucket,
    NotArchived,
)
from ssmd_archive.fetch import fetch
from ssmd_archive.layout import MANIFEST, MARKET_DATA
from ssmd_archive.messages import file_lines
from ssmd_archive.repair import repair
from ssmd_archive.upload import Backlog, Upload
from ssmd_archive.verify import verify
from ssmd_stack.proxy import TcpProxy


@pytest.fixture
def prefix() -> str:
    return f"test/{secrets.token_hex(6)}"


@pytest.fixture
def bucket(s3: S3Server, prefix: str) -> Bucket:
    return Bucket(s3.settings(archiver_bucket_prefix=prefix))


async def uploads(archive: Archive, bucket: Bucket, **more: Any) -> Upload:
    """Upload all of it."""
    upload = Upload(archive, bucket, **more)
    while await upload.work():
        pass
    return upload


async def test_a_bucket_gives_back_what_it_was_given(bucket: Bucket, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(9 << 20))
    await bucket.put("a/large", large)
    await bucket.put("a/b/small", b"x")
    assert await bucket.digest("a/b/small") == (
        1, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    )  # fmt: skip
    assert await bucket.get("a/large") == large.read_bytes()
    assert await bucket.get("a/none") is None
    assert await bucket.digest("none") is None
    assert await bucket.sizes("a") == {"a/large": 9 << 20, "a/b/small": 1}
    assert await bucket.folders("a") == ["b"]
    await bucket.copy("a/b/small", "c")
    assert await bucket.get("c") == b"x"


async def test_an_archive_is_uploaded_and_followed(bucket: Bucket, tmp_path: Path) -> None:
    archive = bucketed.archived(tmp_path)
    told: list[int] = []
    upload = Upload(archive, bucket, told=told.append)
    everything = bucketed.local(tmp_path)
    files = {key: content for key, content in everything.items() if not key.endswith(MANIFEST)}
    before = upload.backlog()
    assert (before.files, before.bytes) == (len(files), sum(map(len, files.values())))
    assert before.oldest_ns == int(bucketed.BEGAN.timestamp()) * 1_000_000_000
    assert await upload.work(), "a day at a time"
    assert upload.backlog().files == len(files) * 2 // 3
    assert await upload.work()
    assert not await upload.work()
    assert await bucketed.objects(bucket) == everything
    assert sum(told) == before.bytes
    assert upload.backlog() == Backlog()
    # Nothing more is sent, neither by this process nor by the next one.
    other = Upload(archive, bucket, told=told.append)
    assert not await other.work()
    assert sum(told) == before.bytes
    bucketed.archived(tmp_path, days=1)
    for one in (upload, other):
        assert not await one.work()
    assert await bucketed.objects(bucket) == bucketed.local(tmp_path)
    # What this archive remembers is not believed of another bucket, nor of another archive's.
    assert all(upload.is_whole(day) for day in archive.days())
    uploaded.forget(tmp_path, STREAM, DAYS[0])
    fresh = Upload(archive, bucket, told=told.append)
    sent = sum(told)
    assert not await fresh.work()
    assert sum(told) == sent
    assert fresh.is_whole(DAYS[0])


class Died(BaseException):
    """The process is killed."""


class Mortal(Bucket):
    """One whose process is killed at its n-th request, before or after the store did it."""

    def __init__(self, settings: Any, lives: int) -> None:
        super().__init__(settings)
        self.left = lives

    async def _asked(self, right: str, key: str, asking: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            asking.close() if hasattr(asking, "close") else asking.cancel()
            raise Died
        found = await super()._asked(right, key, asking)
        if self.left == 1 and right == "s3:PutObject":
            raise Died
        return found


async def test_killed_at_any_moment_nothing_is_lost_or_doubled(
    s3: S3Server, prefix: str, tmp_path: Path
) -> None:
    """Between a file and the manifest, a manifest and its memory, and while files are deleted."""
    settings = s3.settings(archiver_bucket_prefix=prefix)
    archive = bucketed.archived(tmp_path, days=2, each=2)
    everything = bucketed.local(tmp_path)
    honest = Bucket(settings)
    deaths = 0
    while True:
        mortal = Mortal(settings, deaths + 1)
        try:
            upload = await uploads(archive, mortal)
            await upload.prune(1)
            break
        except Died:
            deaths += 1
        await bucketed.require_sound(tmp_path, honest)
    assert deaths > 10
    assert await bucketed.objects(honest) == everything
    await bucketed.require_sound(tmp_path, honest)
    assert uploaded.is_away(tmp_path, STREAM, DAYS[0])
    assert {key for key in bucketed.local(tmp_path) if DAYS[0] in key} == {
        f"{STREAM}/{DAYS[0]}/{MANIFEST}"
    }


async def test_uploads_that_are_cut_off_are_sent_again(
    s3: S3Server, prefix: str, tmp_path: Path
) -> None:
    archive = bucketed.archived(tmp_path, days=1, each=2, windows=1)
    large = archive.stream / "large"
    honest = Bucket(s3.settings(archiver_bucket_prefix=prefix))
    for passes in (200, 5_000, 3_000_000):
        async with TcpProxy(s3.url, passes=passes) as proxy:
            cut = Bucket(
                s3.settings(archiver_bucket_prefix=prefix, archiver_bucket_endpoint=proxy.url)
            )
            large.write_bytes(os.urandom(9 << 20))
            sending = asyncio.gather(
                uploads(archive, cut), cut.put("large", large), return_exceptions=True
            )
            await asyncio.wait([sending], timeout=0.7)
            sending.cancel()
            proxy.cut()
        large.unlink()
        await bucketed.require_sound(tmp_path, honest)
        # An object is there as a whole or not at all.
        assert (await honest.sizes("large")).get("large", 9 << 20) == 9 << 20
    await uploads(archive, honest)
    everything = await bucketed.objects(honest)
    everything.pop("large", None)
    assert everything == bucketed.local(tmp_path)


async def test_a_store_that_gives_back_something_else_is_not_believed(
    s3: S3Server, prefix: str, tmp_path: Path
) -> None:
    archive = bucketed.archived(tmp_path, days=2)

    class Forgetful(Bucket):
        async def put(self, key: str, content: bytes | Path) -> None:
            await super().put(key, b"x" if key.endswith(".gz") else content)

    settings = s3.settings(archiver_bucket_prefix=prefix)
    upload = Upload(archive, Forgetful(settings))
    with pytest.raises(BucketUnreachable, match="not what it was given"):
        await upload.work()
    assert not [key for key in await Bucket(settings).sizes("") if key.endswith(MANIFEST)]
    assert await upload.prune(1) == []
    assert verify(archive).findings == []


async def test_a_file_that_is_damaged_here_is_not_uploaded(bucket: Bucket, tmp_path: Path) -> None:
    archive = bucketed.archived(tmp_path)
    path = min((archive.stream / DAYS[0]).rglob("trade/*.gz"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    upload = Upload(archive, bucket)
    with pytest.raises(ArchiveDamaged, match="is not as it was sealed"):
        while await upload.work():
            pass
    # The other days are there.
    assert [upload.is_whole(day) for day in DAYS] == [False, True, True]
    path.write_bytes(content)
    await uploads(archive, bucket)
    assert await bucketed.objects(bucket) == bucketed.local(tmp_path)


async def test_only_what_the_bucket_has_is_deleted_here(bucket: Bucket, tmp_path: Path) -> None:
    archive = bucketed.archived(tmp_path)
    everything = bucketed.local(tmp_path)
    upload = Upload(archive, bucket)
    assert await upload.prune(1) == []
    assert await upload.work()
    # Somebody deletes an object: it is noticed before the copy here goes, and sent again.
    gone = next(key for key in everything if key.startswith(f"{STREAM}/{DAYS[0]}/trade/"))
    await bucket.put(gone, b"")
    assert await upload.prune(1) == []
    assert not upload.is_whole(DAYS[0])
    while await upload.work():
        pass
    assert await bucket.get(gone) == everything[gone]
    assert await upload.prune(1) == list(DAYS[:2])
    left = {key for key in everything if key.endswith(MANIFEST) or DAYS[2] in key}
    assert bucketed.local(tmp_path).keys() == left
    await bucketed.require_sound(tmp_path, bucket)
    assert await upload.prune(1) == []

    report = verify(archive)
    assert (report.findings, report.in_bucket) == ([], len(everything) - len(left))
    path = tmp_path / gone
    with pytest.raises(InBucket, match=rf"`ssmd archive fetch --date {DAYS[0]}`"):
        list(file_lines(path))
    with pytest.raises(InBucket):
        repair(archive, None)
    # Only there a missing file is none.
    next(path for path in (archive.stream / DAYS[2]).rglob("*.gz")).unlink()
    assert [one.kind for one in verify(archive).findings] == ["missing"]


async def test_days_are_fetched(bucket: Bucket, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    archive = bucketed.archived(here)
    everything = bucketed.local(here)
    upload = await uploads(archive, bucket)
    found = await fetch(there, bucket, [DAYS[1]])
    assert found.days == [f"{STREAM}/{DAYS[1]}"]
    assert (found.manifests, found.files) == (3, 4)
    assert bucketed.local(there) == {
        key: content for key, content in everything.items()
        if key.endswith(MANIFEST) or DAYS[1] in key
    }  # fmt: skip
    report = verify(Archive(there, MARKET_DATA), deep=True)
    assert (report.findings, report.in_bucket) == ([], 8)
    assert not (there / ".fetch").exists()
    # Only records of the capture, of the others.
    await fetch(there, bucket, None, wanted=lambda folder: folder == "session")
    assert [len(list((there / STREAM / day).rglob("*.gz"))) for day in DAYS] == [2, 4, 2]
    await fetch(there, bucket, None)
    assert bucketed.local(there) == everything
    # What comes back to where it was deleted stays there.
    await upload.prune(1)
    await fetch(here, bucket, [DAYS[0]])
    assert await Upload(archive, bucket).prune(1) == []
    assert len(list((here / STREAM / DAYS[0]).rglob("*.gz"))) == 4
    # A lost volume: the archive goes on from what the bucket has.
    bucketed.archived(there, days=1)
    await uploads(Archive(there, MARKET_DATA), bucket)
    assert verify(Archive(there, MARKET_DATA), deep=True).findings == []

    with pytest.raises(NotArchived, match="has nothing of 2026-03-01"):
        await fetch(there, bucket, ["2026-03-01"])
    [key, *_] = [key for key in everything if DAYS[0] in key and "/trade/" in key]
    await bucket.put(key, b"x")
    with pytest.raises(ArchiveDamaged, match="is not what its manifest says"):
        await fetch(tmp_path / "damaged", bucket, [DAYS[0]])
    assert not (tmp_path / "damaged" / key).exists()


async def test_another_archive_is_not_overwritten(bucket: Bucket, tmp_path: Path) -> None:
    first = bucketed.archived(tmp_path / "a")
    await uploads(first, bucket)
    there = await bucketed.objects(bucket)
    second = bucketed.archived(tmp_path / "b", each=3)
    with pytest.raises(ForeignArchive, match="ARCHIVER_BUCKET_PREFIX"):
        await uploads(second, bucket)
    assert await bucketed.objects(bucket) == there
    with pytest.raises(ForeignArchive, match="fetch into a directory of its own"):
        await fetch(tmp_path / "b", bucket, None)


async def test_after_a_repair_the_bucket_keeps_both(bucket: Bucket, tmp_path: Path) -> None:
    archive = bucketed.archived(tmp_path)
    await uploads(archive, bucket)
    before = await bucketed.objects(bucket)
    damaged = min((archive.stream / DAYS[1]).rglob("trade/*.gz"))
    damaged.write_bytes(b"x")
    assert repair(archive, None).lost
    await uploads(archive, bucket)
    there = await bucketed.objects(bucket)
    aside = {key for key in there if key.startswith("aside/")}
    listed = set(bucketed.local(tmp_path))
    assert {key: there[key] for key in listed} == bucketed.local(tmp_path)
    kept = {key.split("/", 2)[2]: there[key] for key in aside}
    assert kept
    assert kept.items() <= before.items()
    key = damaged.relative_to(tmp_path).as_posix()
    assert there.get(key) == before[key] or kept[key] == before[key]
    await bucketed.require_sound(tmp_path, bucket)
