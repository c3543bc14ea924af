"""Uploading beside archiving: whatever the bucket does, that goes on, and nothing is lost."""

import asyncio
import random
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import made_archive
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY
from s3_server import S3Server

from ssmd_archive import certificate, manifest
from ssmd_archive.bucket import Bucket
from ssmd_archive.catalog import Archive
from ssmd_archive.certificate import Certificate, Result
from ssmd_archive.disk import Disk
from ssmd_archive.journal import Journal
from ssmd_archive.layout import SECMASTER_CDC
from ssmd_archive.retention import Keep, remove_old
from ssmd_archive.upload import Upload
from ssmd_archiver.uploads import pause_seconds
from ssmd_stack.proxy import TcpProxy
from ssmd_stream.subjects import STREAM

from .conftest import World, eventually


@pytest.fixture
def prefix() -> str:
    return f"service/{secrets.token_hex(6)}"


@pytest.fixture
def place(s3: S3Server, prefix: str) -> dict[str, Any]:
    """Where the archiver uploads to."""
    found = s3.environment(archiver_bucket_prefix=prefix)
    return {**found, "archiver_upload_seconds": 0.1}


@pytest.fixture
def bucket(s3: S3Server, prefix: str) -> Bucket:
    return Bucket(s3.settings(archiver_bucket_prefix=prefix))


@pytest_asyncio.fixture
async def proxy(s3: S3Server) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(s3.url) as made:
        yield made


async def has_all(world: World, bucket: Bucket) -> None:
    """Wait until the bucket has what is sealed here."""
    archive = Archive(world.root, SECMASTER_CDC)

    async def there() -> bool:
        return not Upload(archive, bucket).backlog().files

    await eventually(there, lambda: f"{Upload(archive, bucket).backlog()} is left")


async def require_same(world: World, bucket: Bucket) -> None:
    """Every line here is there, once, with its files as they were sealed."""
    archive = Archive(world.root, SECMASTER_CDC)
    for day in archive.days():
        texts, _ = archive.texts(day)
        content = b"".join(text.text + b"\n" for text in texts)
        assert await bucket.get(f"{STREAM}/{day}/manifest.jsonl") == content
        for text in texts:
            assert text.line is not None
            for file in manifest.files_of(text.line):
                key = f"{STREAM}/{day}/{file.path}"
                assert await bucket.digest(key) == (file.bytes, file.sha256)


async def sealed(world: World, count: int = 20) -> None:
    """Publish, and wait until it is sealed."""
    await world.publish(count)
    await world.caught_up()


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"ssmd_archiver_{name}", labels) or 0.0


def told(running: Any) -> str:
    """What health says of the bucket."""
    return str(running.health.document().get("degraded", {}).get("bucket") or "")


async def says(running: Any, check: Callable[[str], bool]) -> None:
    async def so() -> bool:
        return check(told(running))

    await eventually(so, lambda: f"{running.health.document()}")


async def test_what_is_sealed_is_uploaded_while_archiving_goes_on(
    world: World, s3: S3Server, bucket: Bucket, place: dict[str, Any], proxy: TcpProxy
) -> None:
    place["archiver_bucket_endpoint"] = proxy.url
    sent = metric("uploaded_bytes_total")
    async with world.archiver(**place) as running:
        await running.ready()
        await sealed(world)
        await has_all(world, bucket)
        assert metric("uploaded_bytes_total") > sent
        # The bucket is away, or refuses connections: files are sealed all the same.
        await s3.kill()
        proxy.cut()
        await sealed(world)
        await says(running, lambda text: "sealed files are not uploaded, and stay here" in text)
        await sealed(world)
        assert running.health.ready
        assert metric("upload_backlog_files", stream=STREAM) > 0
        assert metric("upload_failures_total", why="unreachable") > 0
        await s3.start()
        await says(running, lambda text: not text)
        await has_all(world, bucket)
        await require_same(world, bucket)
        # It is so slow that nothing comes back: that holds up neither archiving nor the end.
        proxy.freeze()
        await sealed(world)
        await sealed(world)
    proxy.thaw()
    async with world.archiver(**place) as running:
        await has_all(world, bucket)
    await require_same(world, bucket)


async def test_certificates_are_uploaded_while_archiving_goes_on(
    world: World, bucket: Bucket, place: dict[str, Any]
) -> None:
    """And Parquet, where a setting says so: `test_archive_bucket_beside` has both."""
    made = Certificate(
        ticker="KXA-1", result=Result.COMPLETE, why="x", certified_at="2026-02-05T00:00:00Z"
    )
    async with world.archiver(**place) as running:
        await running.ready()
        certificate.write(world.root, made)
        key = certificate.path_of(world.root, "KXA-1").relative_to(world.root).as_posix()

        async def there() -> bool:
            return await bucket.get(key) == (world.root / key).read_bytes()

        await eventually(there, lambda: f"{running.health.document()}")
        # What was changed by hand is said, and not uploaded.
        (world.root / key).write_bytes(b"x")
        await says(running, lambda text: "certify the market again" in text)
        await sealed(world)
        await has_all(world, bucket)
        certificate.write(world.root, made)
        await says(running, lambda text: not text)


async def test_a_key_without_the_right_is_named_and_nothing_is_deleted(
    world: World, s3: S3Server, prefix: str
) -> None:
    place = s3.environment(
        "reader", archiver_bucket_prefix=prefix, archiver_bucket_local_days=1,
        archiver_upload_seconds=0.1,
    )  # fmt: skip
    async with world.archiver(**place) as running:
        await sealed(world)
        await says(
            running, lambda text: "the access key lacks s3:PutObject for SECMASTER_C" in text
        )
        assert "grant it s3:PutObject and s3:GetObject on" in told(running)
        await sealed(world)
        assert running.health.ready
    assert not await Bucket(s3.settings(archiver_bucket_prefix=prefix)).sizes("")
    assert world.archive().messages


@pytest.mark.slow
async def test_killed_while_it_uploads_it_goes_on_where_it_was(
    world: World, bucket: Bucket, place: dict[str, Any]
) -> None:
    environment = {name.upper(): str(value) for name, value in place.items()}
    environment["ARCHIVER_UPLOAD_SECONDS"] = "0.01"
    chance = random.Random(4)
    for _ in range(4):
        async with world.process(**environment) as process:
            await process.until(bool)
            await world.publish(50)
            await world.caught_up()
            await asyncio.sleep(chance.uniform(0, 0.2))
            process.child.send_signal(signal.SIGKILL)
            await process.child.wait()
    async with world.process(**environment):
        await sealed(world)
        await has_all(world, bucket)
    await require_same(world, bucket)
    assert {*world.archive().messages.values()} >= {*world.published.values()}


def test_a_bucket_that_is_away_for_long_is_asked_once_a_minute() -> None:
    waits = [pause_seconds(failures) for failures in range(1, 5000)]
    assert waits[0] <= 2
    assert waits == sorted(waits)
    assert max(waits) == 60.0


async def test_a_day_that_the_bucket_lacks_is_kept_and_said(
    world: World, bucket: Bucket, place: dict[str, Any], proxy: TcpProxy
) -> None:
    made_archive.archive(world.root)
    first = Archive(world.root, SECMASTER_CDC).days()[0]
    place |= {"archiver_bucket_endpoint": proxy.url, "archiver_keep_days": 1}
    proxy.freeze()

    async with world.archiver(**place) as running:
        await running.ready()

        async def kept() -> str:
            # Retention looks when something is sealed.
            await world.publish(1)
            return str(running.health.document().get("degraded", {}).get("retention"))

        why = f"{bucket} does not have all of its files yet"
        told = f"{first} is older than what is kept, and has to stay ({why})"

        async def stays() -> bool:
            return told in await kept()

        await eventually(stays, lambda: f"{running.health.document()}")
        assert (world.root / STREAM / first).is_dir()
        proxy.thaw()

        async def gone() -> bool:
            return await kept() == "None" and not (world.root / STREAM / first).exists()

        await eventually(gone, lambda: f"{running.health.document()}")
    assert await bucket.get(f"{STREAM}/{first}/manifest.jsonl") is not None


async def test_retention_removes_only_what_the_bucket_has(world: World) -> None:
    async with world.archiver():
        await sealed(world)
    stream = world.root / STREAM
    journal = Journal(Disk(), stream)
    journal.recover()
    for day in ("2020-01-01", "2020-01-02"):
        (stream / day).mkdir()
        (stream / day / "x").write_bytes(b"x")
    found = remove_old(Disk(), stream, journal, Keep(days=1), {"2020-01-01": "not there"}.get)
    assert (found.removed, found.why) == ([], "not there")
    found = remove_old(Disk(), stream, journal, Keep(days=1), {"2020-01-02": "not there"}.get)
    assert found.removed == ["2020-01-01"]
    assert (stream / "2020-01-02").is_dir()
