"""The rows of a snapshot as files of a day."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from ssmd_archive.disk import Disk
from ssmd_archive.layout import PART, STATE, Window, file_path, state_folder
from ssmd_archive.manifest import StateFile
from ssmd_archive.members import compress
from ssmd_common.tables import PRIMARY_KEY

TABLES: Final = tuple(PRIMARY_KEY)
"""Parents first. `market_lifecycle_events` is a log: its messages are what there is."""

_MEMBER_BYTES: Final = 1 << 20


class StateWriter:
    """Files of one state. They are nothing before a manifest lists them: after an error `discard`,
    and what a process leaves the next one removes.
    """

    def __init__(
        self, disk: Disk, stream: Path, window: Window, after_seq: int, chain: int
    ) -> None:
        self._disk = disk
        self.stream = stream
        self.window = window
        self.after_seq = after_seq
        self.chain = chain
        self._files: dict[str, _RowsFile] = {}

    @property
    def _day(self) -> Path:
        return self.stream / self.window.day

    def add(self, table: str, rows: Sequence[bytes]) -> None:
        """Rows of a table, each a JSON object on one line; none makes an empty file."""
        file = self._files.get(table)
        if file is None:
            path = file_path(state_folder(table), self.window, self.after_seq, self.chain)
            file = self._files[table] = _RowsFile(self._disk, self._day, table, path)
        file.add(rows)

    def finish(self) -> list[StateFile]:
        """Put them on the disk under their names."""
        found = [file.finish() for file in self._files.values()]
        for table in self._files:
            self._disk.sync_directory(self._day / state_folder(table))
        for directory in (self._day / STATE, self._day, self.stream, self.stream.parent):
            self._disk.sync_directory(directory)
        return found

    def discard(self) -> None:
        for file in self._files.values():
            file.discard()


class _RowsFile:
    def __init__(self, disk: Disk, day: Path, table: str, path: str) -> None:
        self._disk = disk
        self._table = table
        self._path = path
        self._target = day / path
        self._part = day / (path + PART)
        self._rows = self._size = self._raw_bytes = 0
        self._waiting = bytearray()
        self._hash = hashlib.sha256()
        if self._target.exists():
            # Of the same minute and sequence: a manifest has its hash.
            raise FileExistsError(f"there is a state at {self._target} already")
        disk.make_directory(self._part.parent)
        self._file = disk.open(self._part)
        disk.truncate(self._file, 0)

    def add(self, rows: Sequence[bytes]) -> None:
        for row in rows:
            self._waiting += row
            self._waiting += b"\n"
        self._rows += len(rows)
        if len(self._waiting) >= _MEMBER_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = compress(bytes(self._waiting))
        self._disk.write(self._file, data, self._size)
        self._hash.update(data)
        self._size += len(data)
        self._raw_bytes += len(self._waiting)
        self._waiting.clear()

    def finish(self) -> StateFile:
        # A member without a line, too, so that every file is a gzip file.
        if self._waiting or not self._size:
            self._flush()
        self._disk.sync(self._file)
        self._disk.rename(self._part, self._target)
        os.close(self._file)
        return StateFile(
            path=self._path,
            table=self._table,
            rows=self._rows,
            bytes=self._size,
            raw_bytes=self._raw_bytes,
            sha256=self._hash.hexdigest(),
        )

    def discard(self) -> None:
        with suppress(OSError):
            os.close(self._file)
        for path in (self._part, self._target):
            with suppress(OSError):
                self._disk.remove(path)
