"""Certificates and Parquet in a bucket: sent, read back, replaced, and there again after a loss."""

import os
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import Any

import made_bucket as bucketed
import pytest
from made_bucket import DAYS, STREAM
from s3_server import S3Server

from ssmd_archive import certificate
from ssmd_archive.beside import Beside
from ssmd_archive.bucket import Bucket
from ssmd_archive.bucket_settings import BucketSettings
from ssmd_archive.certificate import Certificate, Result
from ssmd_archive.errors import ArchiveDamaged, BucketUnreachable
from ssmd_archive.fetch import fetch
from ssmd_archive.parquet.compaction import compact
from ssmd_archive.upload import Upload

TICKERS = ("KXA-26FEB03-T1", "KXA-26FEB03-T2.5", "KXB-1", "K/ö%-1")


class Counting(Bucket):
    """Counts what is put."""

    puts: Counter[str]
    settings: BucketSettings

    async def put(self, key: str, content: bytes | Path) -> None:
        self.puts[key] += 1
        await super().put(key, content)


@pytest.fixture
def bucket(s3: S3Server) -> Counting:
    settings = s3.settings(archiver_bucket_prefix=f"beside/{secrets.token_hex(6)}")
    found = Counting(settings)
    found.settings, found.puts = settings, Counter()
    return found


def certify(root: Path, ticker: str, why: str = "x", at: str = "2026-02-05T01:00:00Z") -> None:
    made = Certificate(ticker=ticker, result=Result.COMPLETE, why=why, certified_at=at)
    certificate.write(root, made)


def small(root: Path, *folders: str) -> dict[str, bytes]:
    """The files of some folders, but for a lock."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for folder in folders
        for path in (root / folder).rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    archive = bucketed.archived(tmp_path / "archive")
    for day in DAYS[:2]:
        compact(archive, day)
    for ticker in TICKERS:
        certify(archive.root, ticker)
    return archive.root


async def test_what_a_lost_disk_had_comes_back(
    root: Path, bucket: Counting, tmp_path: Path
) -> None:
    upload = Upload(bucketed.Archive(root, bucketed.MARKET_DATA), bucket)
    while await upload.work():
        pass
    assert not await Beside(root, bucket, parquet=True).work()
    wanted = small(root, "certificates", "parquet")
    there = await bucketed.objects(bucket)
    assert wanted.items() <= there.items()

    again = tmp_path / "again"
    found = await fetch(again, bucket, None, certificates=True, parquet=True)
    assert found.certificates == len(TICKERS)
    assert small(again, "certificates", "parquet") == wanted
    assert bucketed.local(again) == bucketed.local(root)
    assert certificate.read(again, TICKERS[3]) == certificate.read(root, TICKERS[3])
    # What is here is newer: it stays.
    certify(again, TICKERS[0], "newer")
    await fetch(again, bucket, None, certificates=True, parquet=True)
    kept = certificate.read(again, TICKERS[0])
    assert kept is not None
    assert kept.why == "newer"
    # Of one day Parquet comes alone.
    one = tmp_path / "one"
    await fetch(one, bucket, [DAYS[0]], wanted={"trade"}.__contains__, parquet=True)
    assert set(small(one, "parquet")) == {
        f"parquet/{STREAM}/day={DAYS[0]}/trade.parquet",
        f"parquet/{STREAM}/day={DAYS[0]}/manifest.json",
    }
    assert not small(one, "certificates")


async def test_each_is_sent_once_and_again_when_it_is_another(root: Path, bucket: Counting) -> None:
    beside = Beside(root, bucket)
    await beside.work()
    assert not await bucket.sizes("parquet"), "only where a setting says so"
    assert set(bucket.puts.values()) == {1}
    assert len(bucket.puts) == len(TICKERS)
    bucket.puts.clear()
    await beside.work()
    await Beside(root, bucket).work()
    assert not bucket.puts
    certify(root, TICKERS[1], "again")
    certify(root, "KXC-1")
    for one in (beside, Beside(root, bucket)):
        await one.work()
        keys = {certificate.path_of(root, name) for name in (TICKERS[1], "KXC-1")}
        assert set(bucket.puts) == {path.relative_to(root).as_posix() for path in keys}
        assert set(bucket.puts.values()) == {1}
    wanted = small(root, "certificates")
    assert wanted.items() <= (await bucketed.objects(bucket)).items()


async def test_what_is_not_given_back_is_not_there(root: Path, bucket: Counting) -> None:
    class Forgetful(Bucket):
        async def get(self, key: str) -> bytes | None:
            found = await super().get(key)
            return None if found is None else found[:-1]

    other = Forgetful(bucket.settings)
    with pytest.raises(BucketUnreachable, match="does not give back"):
        await Beside(root, other).work()
    await Beside(root, bucket).work()
    wanted = small(root, "certificates")
    assert wanted.items() <= (await bucketed.objects(bucket)).items()


async def test_a_newer_one_in_the_bucket_stays(root: Path, bucket: Counting) -> None:
    await Beside(root, bucket).work()
    key = certificate.path_of(root, TICKERS[0]).relative_to(root).as_posix()
    certify(root, TICKERS[0], "certified in the bucket", "2026-02-06T00:00:00Z")
    newer = (root / key).read_bytes()
    await bucket.put(key, newer)
    certify(root, TICKERS[0], "older")
    await Beside(root, bucket).work()
    assert await bucket.get(key) == newer
    await bucket.put(key, newer[:-9])
    certify(root, TICKERS[0], "older, too")
    await Beside(root, bucket).work()
    assert await bucket.get(key) == (root / key).read_bytes(), "what is no certificate is replaced"


async def test_old_ones_are_not_looked_at_again(
    root: Path, bucket: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = time.time() - 86_400
    for name in small(root, "certificates"):
        os.utime(root / name, (old, old))
    certify(root, "KXC-1")
    await Beside(root, bucket).work()
    asked: list[str] = []
    get = Bucket.get

    async def watched(self: Bucket, key: str) -> bytes | None:
        asked.append(key)
        return await get(self, key)

    monkeypatch.setattr(Bucket, "get", watched)
    await Beside(root, bucket).work()
    assert asked == ["certificates/KXC/KXC-1.json"], "within a minute of the newest"


async def test_what_was_changed_here_replaces_nothing(root: Path, bucket: Counting) -> None:
    beside = Beside(root, bucket, parquet=True)
    await beside.work()
    good = await bucketed.objects(bucket)
    path = certificate.path_of(root, TICKERS[0])
    path.write_bytes(path.read_bytes().replace(b'"x"', b'"y"'))
    certify(root, "KXC-1")
    for one in (beside, Beside(root, bucket)):
        with pytest.raises(ArchiveDamaged, match="certify the market again"):
            await one.work()
    there = await bucketed.objects(bucket)
    assert good.items() <= there.items()
    assert "certificates/KXC/KXC-1.json" in there, "one that is damaged holds up no other"
    certify(root, TICKERS[0], "mended")
    await beside.work()
    assert (await bucketed.objects(bucket))[path.relative_to(root).as_posix()] == path.read_bytes()

    # A compacted day that is not as its record says.
    trades = root / f"parquet/{STREAM}/day={DAYS[0]}/trade.parquet"
    await bucket.put(f"parquet/{STREAM}/day={DAYS[0]}/manifest.json", b"older")
    await bucket.put(f"parquet/{STREAM}/day={DAYS[0]}/trade.parquet", b"older")
    trades.write_bytes(trades.read_bytes()[:-1])
    with pytest.raises(ArchiveDamaged, match=rf"compact --again --date {DAYS[0]}"):
        await Beside(root, bucket, parquet=True).work()
    compact(bucketed.Archive(root, bucketed.MARKET_DATA), DAYS[0], again=True)
    await Beside(root, bucket, parquet=True).work()
    wanted: dict[str, Any] = small(root, "parquet")
    assert wanted.items() <= (await bucketed.objects(bucket)).items()


async def test_a_certificate_in_the_bucket_that_was_changed_is_not_taken(
    root: Path, bucket: Counting, tmp_path: Path
) -> None:
    upload = Upload(bucketed.Archive(root, bucketed.MARKET_DATA), bucket)
    while await upload.work():
        pass
    await Beside(root, bucket).work()
    key = certificate.path_of(root, TICKERS[0]).relative_to(root).as_posix()
    await bucket.put(key, (root / key).read_bytes().replace(b"complete", b"repaired"))
    with pytest.raises(ArchiveDamaged, match="not as it was written"):
        await fetch(tmp_path / "again", bucket, None, certificates=True)
