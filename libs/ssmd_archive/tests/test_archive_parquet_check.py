"""`ssmd archive verify` of Parquet: whatever is changed of a compacted day is found."""

from pathlib import Path

import made_bucket as bucketed
import msgspec
import pyarrow.parquet as pq
import pytest
from made_bucket import DAYS, STREAM

from ssmd_archive.catalog import Archive
from ssmd_archive.errors import ArchiveDamaged
from ssmd_archive.parquet import record
from ssmd_archive.parquet.check import Compacted, check
from ssmd_archive.parquet.compaction import compact
from ssmd_archive.repair import repair


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    found = bucketed.archived(tmp_path)
    for day in DAYS[:2]:
        compact(found, day)
    return found


def folder(archive: Archive, day: str = DAYS[0]) -> Path:
    return record.folder_of(archive.root, STREAM, day)


def kinds(found: Compacted) -> list[tuple[str, str]]:
    return [(finding.path.rpartition("/")[2], finding.kind) for finding in found.findings]


def rows_of(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def rewrite(archive: Archive, **changed: object) -> None:
    path = folder(archive) / record.RECORD
    known = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**known, **changed}))


def test_what_is_as_it_was_written_has_no_fault(archive: Archive) -> None:
    found = check(archive, rows_of=rows_of)
    assert (found.findings, found.days, found.rows) == ([], 2, 20)
    sizes = [path.stat().st_size for path in archive.root.rglob("*.parquet")]
    assert (found.files, found.bytes) == (len(sizes), sum(sizes))


def test_each_change_of_a_file_is_found(archive: Archive) -> None:
    trades = folder(archive) / "trade.parquet"
    content = trades.read_bytes()
    for changed in (content[:-1], content[:50] + bytes([content[50] ^ 1]) + content[51:]):
        trades.write_bytes(changed)
        assert kinds(check(archive)) == [("trade.parquet", "changed")]
    trades.unlink()
    found = check(archive)
    assert kinds(found) == [("trade.parquet", "missing")]
    assert f"compact --again --date {DAYS[0]}" in found.findings[0].what
    trades.write_bytes(content)
    (folder(archive) / "more.parquet").write_bytes(content)
    assert kinds(check(archive)) == [("more.parquet", "extra")]


def test_a_record_that_contradicts_itself_or_the_files_is_found(archive: Archive) -> None:
    rewrite(archive, messages=11)
    assert kinds(check(archive)) == [("manifest.json", "contradiction")]
    rewrite(archive, messages=10, day=DAYS[1])
    assert kinds(check(archive)) == [("manifest.json", "contradiction")]
    (folder(archive) / record.RECORD).write_bytes(b"{")
    assert kinds(check(archive)) == [("manifest.json", "unreadable")]
    found = check(archive, rows_of=lambda path: rows_of(path) + ("trade" in path.name))
    assert kinds(found) == [("manifest.json", "unreadable"), ("trade.parquet", "contradiction")]


def test_parquet_of_other_files_than_there_are_is_outdated(archive: Archive) -> None:
    path = next(archive.stream.glob(f"{DAYS[0]}/trade/*"))
    path.write_bytes(b"")
    repair(archive, None)
    found = check(archive)
    assert kinds(found) == [("manifest.json", "outdated")]
    compact(archive, DAYS[0])
    assert kinds(check(archive)) == []


def test_sources_count_by_their_hashes_and_a_part_by_its_beginning(archive: Archive) -> None:
    known = msgspec.json.decode((folder(archive) / record.RECORD).read_bytes())
    first, *more = known["sources"]
    rewrite(archive, sources=[{**first, "sha256": "0" * 64}, *more])
    assert kinds(check(archive)) == [("manifest.json", "outdated")]
    # As it was when the day was half over: the rest came since.
    tables = [{**made, "rows": 0} for made in known["tables"]]
    tables[0]["rows"] = first["messages"]
    half = {"sources": [first], "messages": first["messages"], "tables": tables}
    rewrite(archive, **half, is_over=False)
    assert kinds(check(archive)) == []
    rewrite(archive, **half, is_over=True)
    assert kinds(check(archive)) == [("manifest.json", "outdated")]
    rewrite(archive, **{**half, "sources": [{**first, "sha256": "0" * 64}]}, is_over=False)
    assert kinds(check(archive)) == [("manifest.json", "outdated")]


def test_a_day_that_goes_on_or_is_gone_is_no_fault(archive: Archive) -> None:
    compact(archive, DAYS[2], partial=True)
    bucketed.archived(archive.root, days=1)
    assert kinds(check(archive)) == []
    # As retention leaves it.
    for path in sorted((archive.stream / DAYS[0]).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (archive.stream / DAYS[0]).rmdir()
    assert kinds(check(archive)) == []


def test_an_archive_that_cannot_be_read_does_not_hide_parquet(archive: Archive) -> None:
    manifest = archive.stream / DAYS[0] / "manifest.jsonl"
    manifest.write_bytes(b"x\n" + manifest.read_bytes())
    with pytest.raises(ArchiveDamaged):
        list(archive.lines())
    (folder(archive) / "trade.parquet").write_bytes(b"")
    assert kinds(check(archive)) == [("trade.parquet", "changed")]
