"""A compacted day has what the archived day has: exactly, once, in order, or not at all."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import made_archive
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_market_data import Maker

from ssmd_archive import lines
from ssmd_archive.catalog import Archive
from ssmd_archive.disk import Disk
from ssmd_archive.errors import ArchiveDamaged, ArchiveLocked, NotArchived
from ssmd_archive.layout import MARKET_DATA, SECMASTER_CDC, Layout, books
from ssmd_archive.messages import segment_messages
from ssmd_archive.parquet import compaction, record, wide
from ssmd_archive.parquet.compaction import compact
from ssmd_archive.parquet.reading import Block, Reader
from ssmd_archive.parquet.schemas import OTHERS, tables
from ssmd_archive.verify import Report

from .archived_day import DAY, NEXT, Stored, a_day, archive, at, nanoseconds, stored

NAME = "2026-02-03"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day that is over, with what fits no table, and a hole."""
    root = tmp_path_factory.mktemp("archive")
    maker = Maker()
    day = stored([*a_day(maker), None, maker.trade("KXA-1", at=at(3))])
    first = day[-1].sequence + 1
    odd = [b"not json", day[1].payload.replace(b'"0.4200"', b'"0.42000001"', 1)]
    odd.append(day[1].payload.replace(b'"v":1', b'"v":2', 1))
    day += [
        Stored(first + number, "md.trade.A.B.C", payload, nanoseconds(at(4)))
        for number, payload in enumerate(odd)
    ]
    after = stored([maker.record("count", at=at(1, NEXT))], first=first + len(odd))
    archive(root, day + after)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "archive"))


def read(root: Path, table: str, layout: Layout = MARKET_DATA, day: str = NAME) -> pa.Table:
    return pq.read_table(record.folder_of(root, layout.stream, day) / f"{table}.parquet")


def archived(root: Path, layout: Layout, day: str) -> dict[tuple[int, int], tuple[str, bytes]]:
    """By chain and sequence the folder and the payload."""
    source = Archive(root, layout)
    return {
        message.place: (message.folder, message.line.payload)
        for segment in record.day_of(list(source.lines()), day).segments
        for message in segment_messages(source, day, segment)
    }


def digest(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def as_said(value: Any) -> Any:
    """A value of Parquet as the message has it."""
    match value:
        case Decimal():
            return value
        case datetime():
            return value.astimezone(UTC)
        case list() if value and isinstance(value[0], dict):
            return [(level["price"], level["count"]) for level in value]
        case _:
            return value


def as_typed(said: Any, found: Any) -> Any:
    """What the message says, as the type that Parquet has."""
    match found:
        case Decimal():
            return Decimal(said)
        case datetime():
            return datetime.fromisoformat(said)
        case list() if said and isinstance(said[0], list):
            return [(Decimal(price), Decimal(count)) for price, count in said]
        case str() if not isinstance(said, str):
            return json.dumps(said, separators=(",", ":"), ensure_ascii=False)
        case _:
            return said


def assert_equal(root: Path, layout: Layout, day: str, *, of_row: bool = False) -> int:
    """Every archived message is a row, with each value as it was; how many there are."""
    left = archived(root, layout, day)
    count = len(left)
    for name, table in tables(layout).items():
        for row in read(root, name, layout, day).to_pylist():
            folder, payload = left.pop((row["_chain"], row["_seq"]))
            assert folder == name
            message = json.loads(payload)
            whole = {**(message.get("data") or {}), **message} if of_row else message
            for column in table.columns:
                if column.name.startswith("_"):
                    continue
                found = row[column.name]
                assert as_said(found) == as_typed(whole.get(column.name), found), column.name
    for row in read(root, "other", layout, day).to_pylist():
        folder, payload = left.pop((row["_chain"], row["_seq"]))
        assert (row["folder"], row["payload"]) == (folder, payload)
        assert row["why"]
    assert not left
    return count


def test_every_message_is_one_row_with_exact_values(root: Path) -> None:
    before = digest(root / "MARKET_DATA")
    found = compact(Archive(root, MARKET_DATA), NAME)
    assert found.is_new
    assert found.record.messages == assert_equal(root, MARKET_DATA, NAME) == 86
    assert digest(root / "MARKET_DATA") == before
    assert found.record.is_over
    # A hole is said, and that the day is not complete.
    assert [(lost.kind, lost.from_seq) for lost in found.record.lost] == [("hole", 83)]
    assert not found.record.is_complete
    other = read(root, "other").to_pylist()
    assert [row["folder"] for row in other] == ["_other", "trade", "trade"]
    assert other[0]["subject"] == "md.trade.A.B.C"
    assert "data loss" in other[1]["why"]


def test_files_are_sorted_typed_and_described(root: Path) -> None:
    compact(Archive(root, MARKET_DATA), NAME)
    trades = read(root, "trade")
    keys = list(zip(*(trades[name].to_pylist() for name in ("ticker", "_stored_at", "_seq"))))  # noqa: B905
    assert keys == sorted(keys)
    assert trades.schema.field("price").type == pa.decimal128(18, 6)
    assert trades.schema.field("_stored_at").type == pa.timestamp("us", "UTC")
    file = pq.ParquetFile(record.folder_of(root, "MARKET_DATA", NAME) / "trade.parquet")
    assert file.schema_arrow.metadata[b"ssmd.schema"] == b"1"
    group = file.metadata.row_group(0)
    assert {group.column(at).compression for at in range(group.num_columns)} == {"ZSTD"}
    ticker = next(
        group.column(at)
        for at in range(group.num_columns)
        if group.column(at).path_in_schema == "ticker"
    )
    assert (ticker.statistics.min, ticker.statistics.max) == ("KXA-1", "KXC-1")


def test_books_and_changes_are_compacted_likewise(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    book = Maker("b1")
    levels = [("0.4000", "1.00"), ("0.4100", "2.50")]
    added = {"of_channel": "orderbook_delta", "tickers": ("KXA-1", "KXB-1")}
    said = [
        book.record("added", at=at(1), **added),
        book.snapshot("KXB-1", levels, []),
        book.snapshot("KXA-1", [], levels[:1]),
        book.delta("KXA-1", "yes", "0.4000", "-1.00"),
        book.record("count", at=at(1, NEXT)),
    ]
    archive(root, stored(said, shard=0), books(0))
    compact(Archive(root, books(0)), NAME)
    assert assert_equal(root, books(0), NAME) == 4
    made_archive.archive(root)
    archived_days = Archive(root, SECMASTER_CDC).days()
    compact(Archive(root, SECMASTER_CDC), archived_days[0])
    assert assert_equal(root, SECMASTER_CDC, archived_days[0], of_row=True) == 52
    assert {"status", "close_time", "data"} <= set(
        read(root, "markets", SECMASTER_CDC, archived_days[0]).column_names
    )


def test_wide_rows_in_many_ranges_are_sorted_as_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every ticker a range of its own, and every minute of what has none."""
    root = tmp_path / "archive"
    root.mkdir()
    made_archive.archive(root)
    source = Archive(root, SECMASTER_CDC)
    day = source.days()[0]
    compact(source, day)
    names = [table.name for table in (*tables(SECMASTER_CDC).values(), OTHERS)]
    whole = {name: read(root, name, SECMASTER_CDC, day) for name in names}
    monkeypatch.setattr(wide, "RANGE_BYTES", 1)
    compact(source, day, again=True)
    assert whole == {name: read(root, name, SECMASTER_CDC, day) for name in names}
    groups = pq.ParquetFile(record.folder_of(root, "SECMASTER_CDC", day) / "markets.parquet")
    assert groups.num_row_groups > 1
    for name, table in tables(SECMASTER_CDC).items():
        keys = [
            (
                "\U0010ffff" if row["ticker"] is None else row["ticker"],
                row["_stored_at"],
                row["_seq"],
            )
            for row in whole[name].to_pylist()
        ]
        assert keys == sorted(keys), table.name


def test_a_second_run_changes_nothing_and_again_makes_the_same(root: Path) -> None:
    source = Archive(root, MARKET_DATA)
    compact(source, NAME)
    before = digest(root / "parquet")
    inodes = {path: path.stat().st_ino for path in (root / "parquet").rglob("*.parquet")}
    assert not compact(source, NAME).is_new
    assert {path: path.stat().st_ino for path in inodes} == inodes
    assert compact(source, NAME, again=True).is_new
    assert digest(root / "parquet") == before


class Killed(BaseException):
    pass


class KilledDisk(Disk):
    """Its process ends at the n-th change."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed

    def sync(self, file: int) -> None:
        self._step()
        super().sync(file)

    def rename(self, old: Path, new: Path) -> None:
        self._step()
        super().rename(old, new)

    def make_directory(self, path: Path) -> None:
        self._step()
        super().make_directory(path)


@pytest.mark.parametrize("again", [False, True], ids=["new", "made again"])
def test_a_run_that_is_killed_leaves_the_day_as_it_was(
    root: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """While it begins and at each of its last steps, among which are the renames."""
    source = Archive(root, MARKET_DATA)
    place = record.folder_of(root, "MARKET_DATA", NAME)
    disk = KilledDisk(1000)
    compact(source, NAME, disk=disk)
    whole, calls = digest(place), 1000 - disk.left
    for left in (1, *range(calls - 4, calls)):
        if not again:
            shutil.rmtree(root / "parquet")
        with monkeypatch.context() as patch, pytest.raises(Killed):
            # What a killed process does not do.
            patch.setattr(compaction.shutil, "rmtree", lambda *_, **__: None)
            compact(source, NAME, again=True, disk=KilledDisk(left))
        there = digest(place) if place.exists() else {}
        # For the time between two renames the day is aside, and the next run puts it back.
        assert there in ({}, whole)
        found = compact(source, NAME)
        # What was there before is put back.
        assert not (again and found.is_new)
        assert digest(place) == whole
        assert not [*place.parent.glob(".*")]


def test_a_day_that_is_not_over_is_refused_or_marked(root: Path) -> None:
    source = Archive(root, MARKET_DATA)
    with pytest.raises(NotArchived, match="is not over"):
        compact(source, "2026-02-04")
    found = compact(source, "2026-02-04", partial=True)
    assert not found.record.is_over
    # Once it is over, it is made anew.
    late = stored([Maker("s2").record("count", at=at(30, NEXT))], first=89)
    archive(root, late)
    assert compact(source, "2026-02-04").record.is_over
    with pytest.raises(NotArchived, match="no message"):
        compact(source, "2026-02-02")


def test_what_is_not_as_it_was_sealed_is_refused(root: Path) -> None:
    [file] = (root / "MARKET_DATA" / NAME / "trade").glob("0400-*")
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArchiveDamaged, match="other bytes"):
        compact(Archive(root, MARKET_DATA), NAME)
    assert not record.folder_of(root, "MARKET_DATA", NAME).exists()


def test_a_file_that_changes_after_it_was_verified_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [file] = (root / "MARKET_DATA" / NAME / "trade").glob("0400-*")
    other = next((root / "MARKET_DATA" / NAME / "trade").glob("0100-*"))

    def changed(*_: Any, **__: Any) -> Report:
        shutil.copy(other, file)
        return Report()

    monkeypatch.setattr(compaction, "verify", changed)
    with pytest.raises(ArchiveDamaged, match="was changed while it was read"):
        compact(Archive(root, MARKET_DATA), NAME)
    assert not [*(root / "parquet").rglob("*.parquet")]


def test_a_day_of_another_chain_is_refused(root: Path, tmp_path: Path) -> None:
    """Whole days, each right in itself, that do not follow one another."""
    archive(tmp_path / "other", stored([Maker("x").record("count", at=at(5)) for _ in range(87)]))
    (root / "MARKET_DATA" / NAME).rename(tmp_path / "aside")
    shutil.copytree(tmp_path / "other" / "MARKET_DATA" / NAME, root / "MARKET_DATA" / NAME)
    with pytest.raises(ArchiveDamaged, match="does not follow"):
        compact(Archive(root, MARKET_DATA), NAME)


def test_one_at_a_time(root: Path) -> None:
    with compaction._held(root, Disk()), pytest.raises(ArchiveLocked):
        compact(Archive(root, MARKET_DATA), NAME)


def test_sources_are_needed_until_parquet_has_all_of_them(root: Path) -> None:
    source = Archive(root, MARKET_DATA)
    assert "is not compacted" in (record.why_not_compacted(source, NAME) or "")
    made = compact(source, NAME).record
    assert record.why_not_compacted(source, NAME) is None
    day = record.day_of(list(source.lines()), NAME)
    other = msgspec.structs.replace(made.sources[0], sha256="0" * 64)
    for wrong in (
        msgspec.structs.replace(made, sources=[other, *made.sources[1:]]),
        msgspec.structs.replace(made, lost=[]),
        msgspec.structs.replace(made, is_over=False),
    ):
        assert not record.is_of(root, wrong, day)
    trades = record.folder_of(root, "MARKET_DATA", NAME) / "trade.parquet"
    content = bytearray(trades.read_bytes())
    content[50] ^= 1
    trades.write_bytes(content)
    assert "trade.parquet" in (record.why_not_compacted(source, NAME) or "")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=None), st.integers(0, 9))
def test_a_price_is_exact_or_rejected(price: Decimal, digits: int) -> None:
    text = format(price, f".{digits}f") if abs(price) < 10**15 else str(price)
    line = json.dumps(
        {
            "_seq": 1, "_stored_at": lines.timestamp(nanoseconds(DAY)), "v": 1, "channel": "trade",
            "connector": "0", "session": "s", "frame": 1,
            "received_at": (DAY + timedelta(microseconds=digits)).isoformat(), "source": "ws",
            "ticker": "A", "msg": {}, "trade_id": "t", "price": text, "count": "1.00",
        }
    )  # fmt: skip
    found = Reader(tables(MARKET_DATA)["trade"]).read(Block(1, line.encode() + b"\n"))
    rows = list(_rows(found.batches))
    assert len(rows) + len(found.rejected) == 1
    if rows:
        assert rows[0]["price"] == Decimal(text)
    if abs(Decimal(text)) < 10**11 and digits <= 6 and "E" not in text:
        assert rows


def _rows(batches: list[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        yield from batch.to_pylist()
