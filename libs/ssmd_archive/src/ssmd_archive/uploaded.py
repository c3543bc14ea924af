"""What of a day is in the bucket, as this archive remembers it: a file for each day.

    <root>/.bucket/<stream>/<day>.json

It is written when the bucket has given back all that it says. The truth is in the bucket: its own
manifest of the day lists nothing that is not there.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from ssmd_archive.disk import Disk

UPLOADED: Final = ".bucket"


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """The day's manifest in the bucket has so many `lines`, of which the last one has the SHA-256
    `head`. Where `is_local` is false, files of the day may be missing here on purpose; `is_fetched`
    ones stay.
    """

    v: int = 1
    bucket: str
    lines: int
    head: str
    is_local: bool = True
    is_fetched: bool = False


_decode: Final = msgspec.json.Decoder(Uploaded).decode


def read(root: Path, stream: str, day: str) -> Uploaded | None:
    """What is known of a day; None where nothing is, or it cannot be read."""
    try:
        return _decode(_path(root, stream, day).read_bytes())
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def write(root: Path, stream: str, day: str, known: Uploaded, disk: Disk | None = None) -> None:
    """Remember it; on the disk when it returns."""
    disk = disk or Disk()
    path = _path(root, stream, day)
    disk.make_directory(path.parent)
    part = path.with_suffix(".part")
    file = disk.open(part)
    try:
        disk.truncate(file, 0)
        disk.write(file, msgspec.json.encode(known) + b"\n", 0)
        disk.sync(file)
    finally:
        os.close(file)
    disk.rename(part, path)
    disk.sync_directory(path.parent)


def forget(root: Path, stream: str, day: str) -> None:
    """The day is gone."""
    _path(root, stream, day).unlink(missing_ok=True)


def is_away(root: Path, stream: str, day: str) -> bool:
    """Whether files of a day may be in the bucket only."""
    known = read(root, stream, day)
    return known is not None and not known.is_local


def _path(root: Path, stream: str, day: str) -> Path:
    return root / UPLOADED / stream / f"{day}.json"
