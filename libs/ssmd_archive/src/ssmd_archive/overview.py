"""What an archive has, day by day, as its manifests say. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from ssmd_archive.catalog import Listed
from ssmd_archive.losses import losses
from ssmd_archive.manifest import File, Segment, State, StateFile


class Day(NamedTuple):
    """A day as its manifest says it is. `bytes` and `raw_bytes` are of messages and states."""

    day: str
    segments: int
    states: int
    files: int
    bytes: int
    raw_bytes: int
    messages: int
    lost: int
    first_time: str | None
    last_time: str | None


def days(listed: Iterable[Listed]) -> list[Day]:
    """The oldest first."""
    found: dict[str, list[Listed]] = {}
    for listing in listed:
        found.setdefault(listing.day, []).append(listing)
    return [_day(day, listings) for day, listings in found.items()]


def _day(day: str, listed: list[Listed]) -> Day:
    segments = [line for _, line in listed if isinstance(line, Segment)]
    states = [line for _, line in listed if isinstance(line, State)]
    files: list[File | StateFile] = [file for line in segments for file in line.files]
    files += [file for line in states for file in line.files]
    return Day(
        day,
        segments=len(segments),
        states=len(states),
        files=len(files),
        bytes=sum(file.bytes for file in files),
        raw_bytes=sum(file.raw_bytes for file in files),
        messages=sum(line.messages for line in segments),
        lost=sum(loss.size for loss in losses(listed)),
        first_time=segments[0].first_time if segments else None,
        last_time=segments[-1].last_time if segments else None,
    )
