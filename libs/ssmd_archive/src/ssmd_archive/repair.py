"""Mends an archive: from the stream what it still holds, and the rest is marked as lost.

All that is new is made beside the archive first. Then damaged files get a second name in the
root's `aside`, new ones take their places, and last the manifests, the oldest first. Whatever ends
it, the next run finds either what was there or what replaces it.
"""

import shutil
from typing import Final

from ssmd_archive.away import require_local
from ssmd_archive.catalog import Archive
from ssmd_archive.disk import Disk
from ssmd_archive.manifest import files_of
from ssmd_archive.mended import Mended
from ssmd_archive.places import Places
from ssmd_archive.plan import Plan
from ssmd_archive.stretch import Source
from ssmd_archive.uploaded import is_away

SCRATCH: Final = ".repair"


def repair(
    archive: Archive, source: Source | None, *, dry_run: bool = False, disk: Disk | None = None
) -> Mended:
    """Mend an archive whose lock is held. Without a `source` nothing is had from the stream.

    Raises:
        OSError: the disk is full, or something cannot be read or written; it may be tried again.
        InBucket: files were deleted here, since the bucket has them.
    """
    _require_all(archive)
    work = _Repair(archive, source, disk or Disk())
    try:
        work.plan()
        if dry_run:
            work.foresee()
        else:
            work.commit()
    finally:
        work.clean()
    return work.mended


def _require_all(archive: Archive) -> None:
    """What was deleted here would count as lost."""
    for day in archive.days():
        if is_away(archive.root, archive.layout.stream, day):
            for text in archive.texts(day)[0]:
                for file in files_of(text.line) if text.line is not None else ():
                    path = archive.stream / day / file.path
                    if not path.exists():
                        require_local(path)


class _Repair:
    def __init__(self, archive: Archive, source: Source | None, disk: Disk) -> None:
        self._scratch = archive.root / SCRATCH
        self.clean()
        self._place = Places(archive, disk, self._scratch)
        self._plan = Plan(archive, source, disk, self._place.new)
        self.mended = self._plan.mended

    def plan(self) -> None:
        self._plan.make()
        self.mended.files = self._place.made()

    def foresee(self) -> None:
        """What `commit` would take away."""
        self.mended.strays = self._place.strays(self._plan.listed())

    def commit(self) -> None:
        plan = self._plan
        listed = plan.listed()
        if self.mended.files or plan.manifests or plan.withdrawn:
            self._place.put(plan.manifests, plan.withdrawn)
        self.mended.strays += self._place.sweep(listed)
        self.mended.aside = self._place.aside_name()

    def clean(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
