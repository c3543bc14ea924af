"""A disk that loses what was not synced, in any order that a file system may."""

import contextlib
import os
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

from ssmd_archive.disk import Disk


class PowerLoss(BaseException):
    """The machine is gone: nothing after this reaches the disk."""


class CrashingDisk(Disk):
    """Works on a real directory, and remembers what of it may be lost.

    It ends with `PowerLoss` at its `ends_at`-th call, with a part of a write done.
    """

    def __init__(self, root: Path, ends_at: int, chance: random.Random) -> None:
        self._root = root
        self._left = ends_at
        self._chance = chance
        self._paths: dict[int, int] = {}
        self._durable: dict[int, bytes] = {}
        self._pending: dict[int, list[tuple[str, int, bytes]]] = defaultdict(list)
        self._names: dict[Path, dict[str, int | None]] = defaultdict(dict)
        self._renames: dict[Path, list[tuple[str, Any, Any]]] = defaultdict(list)
        self._inodes = 0
        self._of: dict[Path, int] = {}
        self._load(root)

    def _load(self, directory: Path) -> None:
        for entry in directory.iterdir():
            if entry.is_dir():
                self._names[directory][entry.name] = None
                self._load(entry)
            else:
                self._inodes += 1
                self._of[entry] = self._names[directory][entry.name] = self._inodes
                self._durable[self._inodes] = entry.read_bytes()

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise PowerLoss

    def make_directory(self, path: Path) -> None:
        for missing in reversed([path, *path.parents]):
            if not missing.exists():
                self._step()
                missing.mkdir()
                self._renames[missing.parent].append(("make", missing.name, None))

    def open(self, path: Path) -> int:
        if not path.exists():
            self._step()
            self._inodes += 1
            self._of[path], self._durable[self._inodes] = self._inodes, b""
            self._renames[path.parent].append(("make", path.name, self._inodes))
        file = super().open(path)
        self._paths[file] = self._of[path]
        return file

    def write(self, file: int, data: bytes, offset: int) -> None:
        part = data
        try:
            self._step()
        except PowerLoss:
            part = data[: self._chance.randrange(len(data) + 1)]
            raise
        finally:
            super().write(file, part, offset)
            self._pending[self._paths[file]].append(("write", offset, part))

    def truncate(self, file: int, size: int) -> None:
        self._step()
        super().truncate(file, size)
        self._pending[self._paths[file]].append(("truncate", size, b""))

    def sync(self, file: int) -> None:
        self._step()
        inode = self._paths[file]
        self._durable[inode] = self._applied(inode, lambda _: True)
        self._pending[inode].clear()

    def sync_directory(self, path: Path) -> None:
        self._step()
        self._apply_names(path, len(self._renames[path]))

    def rename(self, old: Path, new: Path) -> None:
        self._step()
        super().rename(old, new)
        self._of[new] = self._of.pop(old)
        self._renames[old.parent].append(("rename", old.name, new.name))

    def remove(self, path: Path) -> None:
        self._step()
        if path.exists():
            super().remove(path)
            self._renames[path.parent].append(("remove", path.name, None))

    def _applied(self, inode: int, kept: Any) -> bytes:
        content = bytearray(self._durable[inode])
        for what, offset, data in self._pending[inode]:
            if not kept(what):
                continue
            if what == "truncate":
                del content[offset:]
                content.extend(bytes(offset - len(content)))
            else:
                part = data if kept("whole") else data[: self._chance.randrange(len(data) + 1)]
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + len(part)] = part
        return bytes(content)

    def _apply_names(self, directory: Path, count: int) -> None:
        names = self._names[directory]
        for what, name, more in self._renames[directory][:count]:
            if what == "make":
                names[name] = more
            elif what == "rename":
                names[more] = names.pop(name)
            else:
                names.pop(name, None)
        del self._renames[directory][:count]

    def lose_power(self, target: Path) -> None:
        """Write to `target` what a machine could find after it."""

        def kept(_: str) -> bool:
            return self._chance.random() < 0.7

        for directory in list(self._renames):
            self._apply_names(directory, self._chance.randrange(len(self._renames[directory]) + 1))
        self._write(self._root, target, kept)

    def _write(self, directory: Path, target: Path, kept: Any) -> None:
        target.mkdir(exist_ok=True)
        for name, inode in self._names[directory].items():
            if inode is None:
                self._write(directory / name, target / name, kept)
            else:
                (target / name).write_bytes(self._applied(inode, kept))

    def close_files(self) -> None:
        """As the end of its process does."""
        for file in self._paths:
            with contextlib.suppress(OSError):
                os.close(file)
        self._paths.clear()
