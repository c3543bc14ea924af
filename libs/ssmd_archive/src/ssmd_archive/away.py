"""Reading files that may be in an archive's bucket only.

Readers ask `here` where a sealed file is. While somebody `brings` an archive's files
(`ssmd_archive.bringing`), that is a copy of what the bucket has.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ssmd_archive.errors import InBucket
from ssmd_archive.layout import is_day
from ssmd_archive.uploaded import is_away

_bringers: dict[Path, Callable[[Path], Path]] = {}
"""By the root of an archive."""


@contextmanager
def brought(root: Path, bring: Callable[[Path], Path]) -> Iterator[None]:
    """While inside, files that are not in `root` are had from `bring`, in all threads."""
    _bringers[root] = bring
    try:
        yield
    finally:
        del _bringers[root]


def here(path: Path) -> Path:
    """Where a sealed file can be read: in its place, or a copy, to be opened at once.

    A file that is nowhere is still in its place: whoever opens it is told.

    Raises:
        InBucket: it is in the bucket only, and nobody brings it.
        ArchiveDamaged: the bucket does not have what the manifest says.
        BucketRefused, BucketUnreachable: it cannot be brought, or not now.
    """
    if path.exists() or (root := _root_away(path)) is None:
        return path
    if (bring := _bringers.get(root)) is not None:
        return bring(path)
    require_local(path)
    return path


def require_local(path: Path) -> None:
    """For a file of a stream's day that is not there.

    Raises:
        InBucket: it is in the bucket.
    """
    if _root_away(path) is not None:
        day = next(folder.name for folder in path.parents if is_day(folder.name))
        raise InBucket(
            f"{path} is in the bucket only: with ARCHIVER_BUCKET and what begins so commands that "
            f"read have it from there, and `ssmd archive fetch --date {day}` brings its day back"
        )


def _root_away(path: Path) -> Path | None:
    """The archive's root, where a file of a day may be in the bucket only."""
    for folder in path.parents:
        if is_day(folder.name):
            stream = folder.parent
            return stream.parent if is_away(stream.parent, stream.name, folder.name) else None
    return None
