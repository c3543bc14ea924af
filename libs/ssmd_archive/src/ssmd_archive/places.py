"""Putting what a repair made where it belongs. What it replaces has a name in `aside` before."""

import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ssmd_archive.catalog import Archive
from ssmd_archive.disk import Disk
from ssmd_archive.layout import MANIFEST
from ssmd_archive.unlisted import unlisted

ASIDE: Final = "aside"


class Places:
    """`new` mirrors the stream's directory, and has the files that were made."""

    def __init__(self, archive: Archive, disk: Disk, scratch: Path) -> None:
        self._archive = archive
        self._disk = disk
        self._scratch = scratch
        self.new = scratch / archive.layout.stream
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._aside = archive.root / ASIDE / stamp / archive.layout.stream

    def made(self) -> list[str]:
        """The paths of what was made."""
        return sorted(
            path.relative_to(self.new).as_posix() for path in self.new.rglob("*") if path.is_file()
        )

    def aside_name(self) -> str | None:
        """Where in the root what was replaced is; None where nothing was."""
        root = self._archive.root
        return self._aside.relative_to(root).as_posix() if self._aside.is_dir() else None

    def put(self, manifests: Mapping[str, bytes | None], withdrawn: list[str]) -> None:
        """Files first, manifests last, the oldest first; None is one that goes."""
        stream, made = self._archive.stream, self.made()
        for path in (*made, *withdrawn, *(f"{day}/{MANIFEST}" for day in manifests)):
            self._keep(path)
        self._disk.make_directory(self._scratch)
        for day, text in sorted(manifests.items()):
            if text is not None:
                self._write(self._scratch / f"{day}.{MANIFEST}", text)
        for path in made:
            target = stream / path
            if target.is_dir():
                self._move_aside(path)
            self._disk.make_directory(target.parent)
            self._disk.rename(self.new / path, target)
        for path in made:
            self._sync_up((stream / path).parent)
        for day, text in sorted(manifests.items()):
            target = stream / day / MANIFEST
            if text is None:
                self._disk.remove(target)
            else:
                self._disk.make_directory(target.parent)
                self._disk.rename(self._scratch / f"{day}.{MANIFEST}", target)
            self._sync_up(target.parent)
        for path in withdrawn:
            self._disk.remove(stream / path)

    def strays(self, listed: set[str]) -> list[str]:
        """What is no part of the archive."""
        return [path for path, kind, _ in unlisted(self._archive, listed) if kind == "extra"]

    def sweep(self, listed: set[str]) -> list[str]:
        """Take away what is no part of the archive; the paths of it."""
        found = self.strays(listed)
        for path in found:
            self._move_aside(path)
        return found

    def _keep(self, path: str) -> None:
        """A second name for what is there."""
        there, target = self._archive.stream / path, self._aside / path
        if there.is_file():
            self._disk.make_directory(target.parent)
            try:
                os.link(there, target)
            except OSError:
                # Not every file system has second names.
                shutil.copyfile(there, target)
            self._sync_up(target.parent)

    def _move_aside(self, path: str) -> None:
        target = self._aside / path
        self._disk.make_directory(target.parent)
        self._disk.rename(self._archive.stream / path, target)
        self._sync_up(target.parent)

    def _write(self, path: Path, content: bytes) -> None:
        file = self._disk.open(path)
        try:
            self._disk.truncate(file, 0)
            self._disk.write(file, content, 0)
            self._disk.sync(file)
        finally:
            os.close(file)

    def _sync_up(self, folder: Path) -> None:
        """The names of a folder, and of those that it is in, are on the disk."""
        while folder != self._archive.root.parent:
            self._disk.sync_directory(folder)
            folder = folder.parent
