"""Commands that read an archive say the same of a bucket as of the directory that it is of."""

import asyncio
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import made_archive
import made_bucket as bucketed
import pytest
import pytest_asyncio
import traded
import warm
from made_bucket import DAYS, STREAM
from s3_server import BUCKET, S3Server
from warm import Done

from ssmd_archive.beside import Beside
from ssmd_archive.bucket import Bucket
from ssmd_archive.catalog import Archive
from ssmd_archive.layout import MARKET_DATA, SECMASTER_CDC
from ssmd_archive.upload import Upload
from ssmd_cli import archive_remote
from ssmd_cli.archive_query import query
from ssmd_cli.archive_root import archive_at
from ssmd_cli.output import Format
from ssmd_common.errors import ConfigurationError

QUESTION = (
    "SELECT ticker, day, _stream, count(*) AS n, sum(count) FROM trade GROUP BY ALL ORDER BY ALL"
)
READING = [
    ("ls",),
    ("ls", "--stream", STREAM, "--json"),
    ("cat", "--json"),
    ("cat", "--stream", STREAM, "--table", "trade"),
    ("state", "--json", "--table", "markets"),
    ("tickers", "--date", "2026-11-28", "--json"),
    ("verify",),
    ("verify", "--json"),
    ("coverage", "--date", DAYS[1], "--json"),
    ("replay", "--from", DAYS[0], "--to", DAYS[1], "--stream", STREAM),
    ("replay", "--stream", SECMASTER_CDC.stream),
    ("query", QUESTION, "--output", "csv"),
    ("query", QUESTION, "--output", "csv", "--date", DAYS[1]),
    ("query", "SHOW TABLES", "--json"),
    ("query", "DESCRIBE session", "--json"),
    ("query", "DROP VIEW trade"),
]


PRUNED = ("cat", "state", "coverage", "replay")
"""Verbs that need files which were deleted in the directory."""


class Place(NamedTuple):
    """An archive whose `root` is whole, and its bucket."""

    root: Path
    bucket: Bucket
    uploads: list[Upload]
    settings: dict[str, str]
    """How the bucket is reached, without its name."""

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/{self.bucket.prefix}"

    @property
    def named(self) -> dict[str, str]:
        more = {"ARCHIVER_BUCKET": BUCKET, "ARCHIVER_BUCKET_PREFIX": self.bucket.prefix}
        return self.settings | more

    async def ssmd(self, root: Path | str, *words: str, **settings: str) -> Done:
        told = {
            "PATH": os.environ["PATH"],
            "COLUMNS": "200",
            "TMPDIR": str(self.scratch),
            **settings,
        }
        return await warm.ssmd(("archive", *words, "--root", str(root)), self.root.parent, told)

    @property
    def scratch(self) -> Path:
        found = self.root.parent / "scratch"
        found.mkdir(exist_ok=True)
        return found


@pytest_asyncio.fixture
async def place(s3: S3Server, tmp_path: Path) -> Place:
    prefix = f"root/{secrets.token_hex(6)}"
    bucket = Bucket(s3.settings(archiver_bucket_prefix=prefix))
    root = tmp_path / "archive"
    made_archive.archive(root)
    bucketed.archived(root)
    settings = {name.upper(): str(value) for name, value in s3.environment().items()}
    del settings["ARCHIVER_BUCKET"], settings["ARCHIVER_BUCKET_PREFIX"]
    uploads = [Upload(Archive(root, of), bucket) for of in (SECMASTER_CDC, MARKET_DATA)]
    found = Place(root, bucket, uploads, settings)
    done = await found.ssmd(root, "compact", "--stream", STREAM)
    assert done.code == 0, done
    for upload in uploads:
        while await upload.work():
            pass
    await Beside(root, bucket, parquet=True).work()
    return found


async def test_a_bucket_is_read_as_the_directory_is(place: Place) -> None:
    pruned = Path(shutil.copytree(place.root, place.root.with_name("pruned")))
    for of in (SECMASTER_CDC, MARKET_DATA):
        upload = Upload(Archive(pruned, of), place.bucket)
        assert await upload.prune(1)
    for words in READING:
        here = await place.ssmd(place.root, *words)
        there = await place.ssmd(place.url, *words, **place.settings)
        assert (there.code, there.out) == (here.code, here.out), words
        assert there.err == here.err or words[0] == "verify", words
        if words[0] in PRUNED:
            back = await place.ssmd(pruned, *words, **place.named)
            assert (back.code, back.out, back.err) == (here.code, here.out, here.err), words
    assert list(place.scratch.iterdir()) == [], "copies stay when the command has ended"

    # Without the bucket's settings nothing is played over what was deleted as if it were damaged.
    done = await place.ssmd(pruned, "replay", "--stream", STREAM)
    assert (done.code, "is in the bucket only" in done.err) == (3, True), done
    # Days come without a byte of what the question is not about.
    assert json.loads((await place.ssmd(pruned, "verify", "--json", **place.named)).out)[
        "in_bucket"
    ]
    deep = await place.ssmd(place.url, "verify", "--deep", "--stream", STREAM, **place.settings)
    assert deep.code == 0, deep


@pytest.mark.parametrize("verb", ["compact", "repair", "fetch"])
async def test_what_writes_needs_a_directory(place: Place, verb: str) -> None:
    done = await place.ssmd(place.url, verb, **place.settings)
    assert (done.code, "needs a directory" in done.err) == (2, True), done


async def test_days_that_were_deleted_here_are_compacted_all_the_same(place: Place) -> None:
    shutil.rmtree(place.root / "parquet")
    assert await place.uploads[1].prune(1)
    done = await place.ssmd(place.root, "compact", "--stream", STREAM)
    assert (done.code, "is in the bucket only" in done.err) == (3, True), done
    done = await place.ssmd(place.root, "compact", "--stream", STREAM, **place.named)
    assert (done.code, [line.split()[1] for line in done.out.splitlines()]) == (0, [*DAYS[:2]]), (
        done
    )


async def test_what_the_bucket_has_instead_is_not_believed(place: Place) -> None:
    sizes = await place.bucket.sizes(f"{STREAM}/{DAYS[0]}")
    key, other, *_ = (key for key in sorted(sizes) if "/trade/" in key)
    content = await place.bucket.get(other)
    assert content is not None
    await place.bucket.put(key, content)
    done = await place.ssmd(place.url, "cat", "--stream", STREAM, **place.settings)
    assert (done.code, "something else in the place of" in done.err) == (1, True), done
    done = await place.ssmd(place.url, "replay", "--stream", STREAM, **place.settings)
    assert (done.code, '"kind":"damaged"' in done.out) == (5, True), done
    done = await place.ssmd(place.url, "verify", "--stream", STREAM, **place.settings)
    assert (done.code, "swapped" in done.out) == (6, True), done

    key = f"parquet/{STREAM}/day={DAYS[0]}/trade.parquet"
    await place.bucket.put(key, b"PAR1")
    done = await place.ssmd(place.url, "query", "FROM trade", **place.settings)
    assert (done.code, "something else in the place of" in done.err) == (1, True), done
    done = await place.ssmd(place.url, "query", "SELECT count(*) FROM session", **place.settings)
    assert done.code == 0, done
    done = await place.ssmd(place.url, "verify", "--stream", STREAM, **place.settings)
    assert f"{key}: changed" in done.out


async def test_more_parquet_than_is_copied_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in place.settings.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(archive_remote, "MOST_BYTES", 1)

    def ask(question: str) -> None:
        with archive_at(Path(place.url)) as found:
            query(found, question, Format.CSV, place.root.parent / "answer", [])

    with pytest.raises(ConfigurationError, match=r"at most 1 are copied: name days \(--date\)"):
        await asyncio.to_thread(ask, QUESTION)
    await asyncio.to_thread(ask, "SHOW TABLES")


async def test_a_bucket_without_an_archive_is_named(place: Place) -> None:
    done = await place.ssmd(f"s3://{BUCKET}/none", "ls", **place.settings)
    assert (done.code, "has nothing of an archive" in done.err) == (3, True), done
    done = await place.ssmd("s3://nowhere", "ls", **place.settings)
    assert (done.code, "nowhere" in done.err) == (2, True), done
    done = await place.ssmd("s3://", "ls", **place.settings)
    assert (done.code, "names no bucket" in done.err) == (2, True), done


async def test_certificates_are_made_and_checked_in_the_bucket(
    s3: S3Server, tmp_path: Path
) -> None:
    bucket = Bucket(s3.settings(archiver_bucket_prefix=f"certify/{secrets.token_hex(6)}"))
    settings = {name.upper(): str(value) for name, value in s3.environment().items()}
    async with traded.exchange() as sim:
        [market, silent] = traded.active(sim, 2)
        traded.trade(sim, market, 40)
        for one in (market, silent):
            traded.settle(sim, one)
        root = tmp_path / "archive"
        traded.archive(root, traded.trades(sim, [market.ticker, silent.ticker]))
        place = Place(root, bucket, [Upload(Archive(root, MARKET_DATA), bucket)], settings)
        while await place.uploads[0].work():
            pass
        more = {**place.settings, "KALSHI_BASE_URL": sim.base_url}
        tickers = (market.ticker, silent.ticker)
        done = await place.ssmd(place.url, "certify", *tickers, "--json", **more)
        assert done.code == 0, done
        assert [one["result"] for one in json.loads(done.out)] == ["complete", "complete"]
        here = await place.ssmd(root, "certify", *tickers, "--json", **more)

        def without_time(text: str) -> list[dict[str, Any]]:
            return [{**one, "certified_at": ""} for one in json.loads(text)]

        assert without_time(here.out) == without_time(done.out)
        assert len(await bucket.sizes("certificates")) == 2
    # The exchange is away: what the bucket has is not replaced by what says nothing.
    there = await bucketed.objects(bucket)
    done = await place.ssmd(place.url, "certify", market.ticker, **more)
    assert done.code == 4, done
    assert await bucketed.objects(bucket) == there
    done = await place.ssmd(place.url, "certify", "--check", **place.settings)
    assert done.code == 0, done
    assert "2 certificates, of which not true any more: 0" in done.err
    key = min(path for path in bucketed.local(root) if "/trade/" in path)
    await bucket.put(key, b"x")
    done = await place.ssmd(place.url, "certify", "--check", **place.settings)
    assert (done.code, "is not as it was sealed" in done.out) == (6, True), done
