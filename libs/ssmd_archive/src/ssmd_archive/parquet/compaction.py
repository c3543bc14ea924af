"""A day of a stream as Parquet: verified, sorted, and put in its place as a whole.

DuckDB sorts what does not fit into memory on the disk, and writes the files. A day appears by one
rename, so that a run that is killed leaves what was there before; what it had begun is removed by
the next one. The same sealed files give the same rows in the same order.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import duckdb
import msgspec
import pyarrow as pa

from ssmd_archive.away import here
from ssmd_archive.catalog import Archive
from ssmd_archive.disk import Disk
from ssmd_archive.errors import ArchiveDamaged, ArchiveLocked, NotArchived
from ssmd_archive.hashing import hash_file
from ssmd_archive.layout import MANIFEST, OTHER, repair_of
from ssmd_archive.members import members
from ssmd_archive.parquet import record
from ssmd_archive.parquet.reading import Block, Reader, Rejected, others, read_all
from ssmd_archive.parquet.record import Day, Made, Record
from ssmd_archive.parquet.schemas import OTHERS, ROW_GROUP, VERSION, Table, tables
from ssmd_archive.parquet.wide import write_sorted
from ssmd_archive.verify import verify
from ssmd_common.errors import SsmdError

_BLOCK_BYTES: Final = 2 << 20
_AT_ONCE: Final = 10_000
_THREADS: Final = 2
"""Each has groups of rows in memory: more need more than the limit."""
_MEMORY: Final = "192MiB"
"""Of DuckDB's sort; what is beyond goes to the disk. Beside it stand the libraries themselves and
blocks that are being read, 200 MB in sum."""
_MAKING, _OLD = ".making", ".old"
_LOCK: Final = ".lock"
_CARRIED: Final = "it cannot stand on a line of a table"


class CompactionFailed(SsmdError):
    """The libraries cannot write a day, most likely for want of room. Nothing has changed."""


class Compacted(NamedTuple):
    """`is_new` is false where the day was compacted before, of the same files."""

    record: Record
    is_new: bool


def compact(
    archive: Archive,
    day: str,
    *,
    partial: bool = False,
    again: bool = False,
    disk: Disk | None = None,
) -> Compacted:
    """Compact a day; with `again` also one that is compacted. Blocks.

    Raises:
        NotArchived: it has no message, or is not over and `partial` was not asked for.
        ArchiveDamaged: what is archived is not as it was written.
        ArchiveLocked: another process compacts.
        CompactionFailed: DuckDB cannot write it.
        OSError: it cannot be written. Nothing has changed.
    """
    listed = archive.readable()
    found = record.day_of(listed, day)
    stream = archive.layout.stream
    if not found.segments:
        _verify(archive, day)
        raise NotArchived(f"{stream} has no message of {day}")
    if not found.is_over and not partial:
        raise NotArchived(
            f"{day} of {stream} is not over: no later day has a line yet; --partial compacts what "
            "there is, and marks it so"
        )
    with _held(archive.root, disk or Disk()) as work:
        before = None if again else record.read_record(archive.root, stream, day)
        if before and before.schema == VERSION and record.is_of(archive.root, before, found):
            return Compacted(before, is_new=False)
        _verify(archive, day)
        return Compacted(_Making(archive, day, found, work).make(), is_new=True)


def _verify(archive: Archive, day: str) -> None:
    """What is wrong with other days costs these alone, but that the next one does not follow: what
    is missing then may be the end of this one."""
    following = next((one for one in archive.days() if one > day), None)
    after = f"{following}/{MANIFEST}", 1, "order"
    findings = [
        found
        for found in verify(archive, day=day).findings
        if found.path.startswith(f"{day}/") or (found.path, found.line, found.kind) == after
    ]
    if findings:
        first = findings[0]
        where = f"{archive.layout.stream}/{first.path}" + (f" line {first.line}" * bool(first.line))
        more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
        raise ArchiveDamaged(
            f"{where}: {first.what}{more}: `ssmd archive verify` says what is wrong, "
            f"{repair_of(archive.stream)} mends it"
        )


@contextmanager
def _held(root: Path, disk: Disk) -> Iterator[Disk]:
    """Alone, and with nothing left of a run that was killed."""
    folder = root / record.FOLDER
    disk.make_directory(folder)
    file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveLocked(folder, "another `ssmd archive compact`") from None
        for left in folder.glob(f"*/{_MAKING}*"):
            shutil.rmtree(left)
        for old in folder.glob(f"*/{_OLD}*"):
            place = old.with_name(old.name.removeprefix(_OLD).removeprefix("-"))
            if place.exists():
                shutil.rmtree(old)
            else:
                # It was killed between two renames.
                disk.rename(old, place)
        yield disk
    finally:
        os.close(file)


class _Making:
    """One day, beside its place until it is whole."""

    def __init__(self, archive: Archive, day: str, found: Day, disk: Disk) -> None:
        self._archive = archive
        self._day = day
        self._found = found
        self._disk = disk
        self._place = record.folder_of(archive.root, archive.layout.stream, day)
        self._scratch = self._place.with_name(f"{_MAKING}-{self._place.name}")
        self._failed: Exception | None = None

    def make(self) -> Record:
        """Write it, and put it in its place."""
        self._disk.make_directory(self._scratch)
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": _MEMORY,
            "temp_directory": str(self._scratch / "spill"),
            "threads": _THREADS,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        try:
            try:
                with duckdb.connect(config=settings) as self._database:
                    made = self._tables()
            except duckdb.Error as error:
                # It has the words alone of what was raised while it read.
                raise self._failed or CompactionFailed(
                    f"DuckDB cannot write {self._day} of {self._archive.layout.stream}: {error}"
                ) from error
            shutil.rmtree(self._scratch / "spill", ignore_errors=True)
            written = self._record(made)
            self._write(self._scratch / record.RECORD, msgspec.json.encode(written) + b"\n")
            self._disk.sync_directory(self._scratch)
            self._put()
        finally:
            if self._scratch.exists():
                shutil.rmtree(self._scratch)
        return written

    def _tables(self) -> list[Made]:
        kept = self._scratch / "rejected.arrows"
        with pa.OSFile(str(kept), "wb") as file, pa.ipc.new_stream(file, OTHERS.schema) as rejected:
            made = []
            for name, table in tables(self._archive.layout).items():

                def reject(chain: int, found: list[Rejected], folder: str = name) -> None:
                    rejected.write_batch(others(chain, folder, found))

                batches = read_all(Reader(table), self._blocks(name), reject)
                made.append(self._sorted(table, batches))
        made.append(self._sorted(OTHERS, self._others(kept)))
        kept.unlink()
        return made

    def _blocks(self, folder: str) -> Iterator[Block]:
        """All lines of a folder.

        Raises:
            ArchiveDamaged: a file was changed since it was verified.
        """
        for segment in self._found.segments:
            for file in segment.files:
                if file.table != folder:
                    continue
                path, size, lines, parts = self._path(file.path), 0, 0, []
                with path.open("rb") as opened:
                    for member in members(opened):
                        lines += member.raw.count(b"\n")
                        size += len(member.raw)
                        parts.append(member.raw)
                        if sum(map(len, parts)) >= _BLOCK_BYTES:
                            yield Block(segment.chain, b"".join(parts))
                            parts = []
                if (lines, size) != (file.messages, file.raw_bytes):
                    raise ArchiveDamaged(f"{path} was changed while it was read")
                if parts:
                    yield Block(segment.chain, b"".join(parts))

    def _path(self, path: str) -> Path:
        return here(self._archive.stream / self._day / path)

    def _others(self, rejected: Path) -> Iterator[pa.RecordBatch]:
        with pa.OSFile(str(rejected), "rb") as file, pa.ipc.open_stream(file) as reader:
            yield from reader
        for block in self._blocks(OTHER):
            whole = block.raw.splitlines()
            for start in range(0, len(whole), _AT_ONCE):
                some = [Rejected(text, _CARRIED) for text in whole[start : start + _AT_ONCE]]
                yield others(block.chain, OTHER, some)

    def _watched(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except Exception as error:
            self._failed = error
            raise

    def _sorted(self, table: Table, batches: Iterator[pa.RecordBatch]) -> Made:
        """Write a table's file."""
        path = self._scratch / f"{table.name}.parquet"
        if table.row_group == ROW_GROUP:
            rows = self._by_duckdb(table, batches, path)
        else:
            rows = write_sorted(table, batches, path, self._scratch)
        self._sync(path)
        size, digest = hash_file(path)
        return Made(path=path.name, table=table.name, rows=rows, bytes=size, sha256=digest)

    def _by_duckdb(self, table: Table, batches: Iterator[pa.RecordBatch], path: Path) -> int:
        source = pa.RecordBatchReader.from_batches(table.schema, self._watched(batches))
        self._database.register("source", source)
        order = ", ".join(f'"{name}"' for name in table.order)
        # Neither is anybody's input: a table's columns, and a path of ours.
        self._database.execute(
            f"COPY (FROM source ORDER BY {order}) TO $path (FORMAT parquet, "
            f"COMPRESSION zstd, ROW_GROUP_SIZE {table.row_group}, KV_METADATA "
            f"{{'ssmd.table': '{table.name}', 'ssmd.schema': '{VERSION}'}})",
            {"path": str(path)},
        )
        [(rows,)] = self._database.execute(
            "SELECT num_rows FROM parquet_file_metadata($path)", {"path": str(path)}
        ).fetchall()
        return int(rows)

    def _record(self, made: list[Made]) -> Record:
        segments = self._found.segments
        messages = sum(segment.messages for segment in segments)
        if (rows := sum(one.rows for one in made)) != messages:
            raise ArchiveDamaged(
                f"{messages} messages of {self._day} became {rows} rows: nothing was put in place"
            )
        return Record(
            schema=VERSION,
            stream=self._archive.layout.stream,
            day=self._day,
            is_over=self._found.is_over,
            messages=messages,
            first_time=segments[0].first_time,
            last_time=segments[-1].last_time,
            lost=self._found.lost,
            sources=self._found.sources,
            tables=made,
            made_by=f"duckdb {duckdb.__version__}",
        )

    def _put(self) -> None:
        stream = self._place.parent
        old = self._place.with_name(f"{_OLD}-{self._place.name}")
        if self._place.exists():
            self._disk.rename(self._place, old)
        self._disk.rename(self._scratch, self._place)
        self._disk.sync_directory(stream)
        self._disk.sync_directory(stream.parent)
        if old.exists():
            shutil.rmtree(old)

    def _write(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        self._sync(path)

    def _sync(self, path: Path) -> None:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._disk.sync(file)
        finally:
            os.close(file)
