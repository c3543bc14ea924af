"""Copies of what a bucket has: bounded, compared, and readable while they are open."""

import asyncio
import hashlib
import secrets
from pathlib import Path

import made_bucket as bucketed
import pytest
from made_bucket import DAYS
from s3_server import S3Server

from ssmd_archive import away
from ssmd_archive.bringing import Bringing
from ssmd_archive.bucket import Bucket
from ssmd_archive.errors import ArchiveDamaged, BucketUnreachable
from ssmd_archive.messages import file_lines
from ssmd_archive.upload import Upload

SIZE = 1000


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    return Bucket(s3.settings(archiver_bucket_prefix=f"bring/{secrets.token_hex(6)}"))


async def stored(bucket: Bucket, count: int) -> list[tuple[str, int, str]]:
    found = []
    for number in range(count):
        content = bytes([number]) * SIZE
        await bucket.put(f"a/{number}", content)
        found.append((f"a/{number}", SIZE, hashlib.sha256(content).hexdigest()))
    return found


async def test_what_was_not_read_for_the_longest_time_goes(bucket: Bucket, tmp_path: Path) -> None:
    objects = await stored(bucket, 6)
    brought = Bringing(bucket, tmp_path / "root", tmp_path / "copies", most_bytes=3 * SIZE, least=2)

    def here() -> set[str]:
        return {path.name for path in (tmp_path / "copies").rglob("*") if path.is_file()}

    for one in objects[:3]:
        brought.copy(*one)
    assert here() == {"0", "1", "2"}
    with brought.copy(*objects[0]).open("rb") as opened:
        brought.copy(*objects[3])
        assert here() == {"0", "2", "3"}, "0 was read last"
        for one in objects[2:]:
            brought.copy(*one)
        assert here() == {"3", "4", "5"}
        assert opened.read() == bytes(SIZE), "what is open stays readable"
    assert brought.copy(*objects[0]).read_bytes() == bytes(SIZE), "and comes again"
    brought.close()


async def test_what_is_about_to_be_opened_stays(bucket: Bucket, tmp_path: Path) -> None:
    objects = await stored(bucket, 4)
    brought = Bringing(bucket, tmp_path / "root", tmp_path / "copies", most_bytes=1)
    paths = [brought.copy(*one) for one in objects]
    assert all(path.exists() for path in paths)
    brought.close()


async def test_what_is_missing_changed_or_away_is_no_copy(
    bucket: Bucket, s3: S3Server, tmp_path: Path
) -> None:
    [(key, size, sha256)] = await stored(bucket, 1)
    brought = Bringing(bucket, tmp_path / "root", tmp_path / "copies")
    for wrong in ((key, size, "0" * 64), (key, size + 1, sha256), ("a/none", size, sha256)):
        with pytest.raises(ArchiveDamaged, match="which its manifest lists"):
            brought.copy(*wrong)
    assert not [path for path in (tmp_path / "copies").rglob("*") if path.is_file()]
    brought.close()
    nowhere = Bucket(s3.settings(archiver_bucket_endpoint="http://127.0.0.1:1"))
    brought = Bringing(nowhere, tmp_path / "root", tmp_path / "copies")
    with pytest.raises(BucketUnreachable):
        brought.copy(key, size, sha256)
    brought.close()


async def test_threads_and_a_running_loop_read_at_once(bucket: Bucket, tmp_path: Path) -> None:
    archive = bucketed.archived(tmp_path / "archive")
    whole = bucketed.local(archive.root)
    upload = Upload(archive, bucket)
    while await upload.work():
        pass
    assert await upload.prune(1)
    gone = [archive.root / key for key in whole if not (archive.root / key).exists()]
    assert {path.parts[-3] for path in gone} == set(DAYS[:2])
    brought = Bringing(bucket, archive.root, tmp_path / "copies")
    with away.brought(archive.root, brought.bring):
        assert list(file_lines(gone[0]))
        found = await asyncio.gather(
            *(asyncio.to_thread(lambda path=path: list(file_lines(path))) for path in gone)  # type: ignore[misc]
        )
    assert all(found)
    brought.close()
