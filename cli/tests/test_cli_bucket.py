"""`ssmd archive fetch` and `verify --bucket`, against a real S3 server."""

import asyncio
import json
import os
import secrets
from pathlib import Path
from typing import Any

import made_bucket as bucketed
import pytest
import warm
from made_bucket import DAYS, STREAM
from s3_server import S3Server
from warm import Done

from ssmd_archive.bucket import Bucket
from ssmd_archive.upload import Upload


@pytest.fixture
def environment(s3: S3Server) -> dict[str, str]:
    place = s3.environment(archiver_bucket_prefix=f"cli/{secrets.token_hex(6)}")
    return {name.upper(): str(value) for name, value in place.items()}


async def ssmd(place: Path, environment: dict[str, Any], *words: str) -> Done:
    return await warm.ssmd(("archive", *words), place, {"PATH": os.environ["PATH"], **environment})


async def test_a_bucket_is_verified_and_days_come_back(
    s3: S3Server, environment: dict[str, str], tmp_path: Path
) -> None:
    prefix = environment["ARCHIVER_BUCKET_PREFIX"]
    bucket = Bucket(s3.settings(archiver_bucket_prefix=prefix))
    archive = bucketed.archived(tmp_path / "archive")
    upload = Upload(archive, bucket)
    while await upload.work():
        pass
    everything = bucketed.local(tmp_path / "archive")

    done = await ssmd(tmp_path, environment, "verify", "--bucket", "--stream", STREAM, "--json")
    assert done.code == 0, done
    report = json.loads(done.out)
    assert (report["findings"], report["files"]) == ([], len(everything) - len(DAYS))

    await upload.prune(1)
    here = str(tmp_path / "archive")
    done = await ssmd(tmp_path, environment, "verify", "--root", here, "--stream", STREAM)
    assert done.code == 0
    assert "in the bucket only: 8 files" in done.err
    words = ("--root", here, "--date", DAYS[0])
    done = await ssmd(tmp_path, {}, "coverage", *words)
    assert (done.code, "`ssmd archive fetch --date 2026-02-04`" in done.err) == (3, True), done
    done = await ssmd(tmp_path, environment, "repair", "--root", here, "--stream", STREAM,
                      "--without-stream")  # fmt: skip
    assert (done.code, "`ssmd archive fetch --date 2026-02-03`" in done.err) == (3, True), done
    # Records of the days around tell of a day, too.
    done = await ssmd(
        tmp_path, environment, "fetch", "--root", here, "--table", "session", "--json"
    )
    assert done.code == 0, done
    assert json.loads(done.out)["files"] == 4
    done = await ssmd(tmp_path, {}, "coverage", *words, "--json")
    assert done.code == 0, done

    there = str(tmp_path / "there")
    done = await ssmd(tmp_path, environment, "fetch", "--root", there, "--table", "trade")
    assert done.code == 0, done
    assert done.out.splitlines() == [f"{STREAM}/{day}" for day in DAYS]
    assert {key.split("/")[2] for key in bucketed.local(tmp_path / "there")} == {
        "trade", "manifest.jsonl",
    }  # fmt: skip

    [key, other, *_] = [key for key in sorted(everything) if "/trade/" in key]
    await bucket.put(key, everything[other])
    await bucket.put(f"{STREAM}/{DAYS[0]}/trade/stray", b"x")
    done = await ssmd(tmp_path, environment, "verify", "--bucket", "--stream", STREAM)
    assert done.code == 6
    found = [line.split(": ")[:2] for line in done.out.splitlines()]
    assert found == [
        [key.partition("/")[2], "swapped"], [f"{DAYS[0]}/trade/stray", "extra"],
    ]  # fmt: skip


async def test_what_the_bucket_refuses_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    for changed, code, said in (
        ({"ARCHIVER_BUCKET": ""}, 2, "ARCHIVER_BUCKET is not set"),
        ({"ARCHIVER_BUCKET_ACCESS_KEY_ID": "nobody"}, 2, "does not know the access key"),
        ({"ARCHIVER_BUCKET_ACCESS_KEY_ID": ""}, 2, "a key has an id and a secret"),
        ({}, 3, "has nothing of 2026-02-03"),
    ):
        words = ("fetch", "--date", DAYS[0], "--root", str(tmp_path / "none"))
        done = await ssmd(tmp_path, {**environment, **changed}, *words)
        assert (done.code, said in done.err) == (code, True), done
    done = await asyncio.wait_for(ssmd(tmp_path, environment, "fetch", "--date", "x"), 180)
    assert (done.code, "is no day" in done.err) == (2, True)
