"""The services as `service_status` tells of them: who speaks for each, and what it says. Pure.

A process that is gone says nothing more: its row becomes old. A service may have several, replicas
and former ones; the one that does the work speaks for it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from ssmd_common.rights import RIGHTS
from ssmd_common.states import STANDBY

SERVICES: Final = tuple(RIGHTS)
"""In the order of the flow. Not of what is installed: an image has one service and knows of all."""
OLD_SECONDS: Final = 15.0
"""A row that is older is of a process that is dead, or cannot reach PostgreSQL."""
MANY_STARTS: Final = 4
"""So many starts within an hour, without those that somebody ended."""

_STOPPED: Final = "stopped"
_OVER: Final = (_STOPPED, "failed")
_HOUR: Final = timedelta(hours=1)


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `service_status`; all times and the age are by the database's clock."""

    service: str
    instance: str
    host: str
    pid: int
    state: str
    ready: bool
    reasons: dict[str, str]
    degraded: dict[str, str]
    position: dict[str, Any]
    lag_seconds: float | None
    work: float
    work_per_second: float | None
    errors: float
    memory_bytes: int | None
    last_error: str | None
    last_error_at: datetime | None
    version: str
    system_identifier: str | None
    timeline: int | None
    started_at: datetime
    updated_at: datetime
    age_seconds: float

    @property
    def works(self) -> bool:
        """It is ready and no standby, which is ready, too, when nothing ails it."""
        return self.ready and self.state != STANDBY

    @property
    def over(self) -> bool:
        """It said itself that it has ended."""
        return self.state in _OVER

    @property
    def alive(self) -> bool:
        return not self.over and self.age_seconds <= OLD_SECONDS


class Gap(msgspec.Struct, frozen=True):
    """An interval of lifecycle messages that may have been missed, and is not repaired."""

    reason: str
    began_at: datetime


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the query `status_overview` finds.

    `full_sync_at` is when the first full run that is still recorded had succeeded; `repaired_at`
    when the latest gap was repaired.
    """

    now: datetime
    rows: list[Process] = []
    last_message_at: datetime | None = None
    last_sync_at: datetime | None = None
    full_sync_at: datetime | None = None
    gaps: list[Gap] = []
    repaired_at: datetime | None = None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A service. `speaker` is the process that speaks for it, None if there never was one.

    It is `ready` while one of its processes works; `note` is why none does, else what is degraded;
    None when all is well.
    """

    name: str
    state: str
    ready: bool
    note: str | None
    speaker: Process | None
    processes: Sequence[Process]
    """Those that live; without any, the last that did."""
    starts_last_hour: int


def read(text: str | bytes) -> Known:
    """The text that `status_overview` returns."""
    return msgspec.json.decode(text, type=Known)


def parts_of(known: Known) -> list[Part]:
    """Every service of ours in the order of the flow, then whoever else writes its status."""
    others = sorted({row.service for row in known.rows}.difference(SERVICES))
    return [
        part_of(name, [row for row in known.rows if row.service == name], known.now)
        for name in (*SERVICES, *others)
    ]


def part_of(name: str, rows: Sequence[Process], now: datetime) -> Part:
    """One service from its rows."""
    started = [row for row in rows if now - row.started_at <= _HOUR]
    unasked = sum(row.state != _STOPPED for row in started)
    living = sorted((row for row in rows if row.alive), key=_does_the_work, reverse=True)
    last = max(rows, key=lambda row: row.updated_at, default=None)
    speaker = living[0] if living else last
    note: str | None
    if speaker is None:
        state, note = "unknown", "it has never said how it is: it was not started, or cannot write"
    elif not living and not speaker.over:
        state, note = "no word", f"no word for {duration(speaker.age_seconds)}"
    elif not living:
        state = speaker.state
        note = f"{_note(speaker)}, {duration(speaker.age_seconds)} ago"
    else:
        state, note = speaker.state, _note(speaker)
    if unasked >= MANY_STARTS and unasked > len(living):
        note = f"{note}; " if note else ""
        note += f"{unasked} starts within the last hour"
    return Part(
        name=name,
        state=state,
        ready=bool(living) and living[0].works,
        note=note,
        speaker=speaker,
        processes=living or ([last] if last else []),
        starts_last_hour=len(started),
    )


def _does_the_work(row: Process) -> tuple[bool, bool, datetime]:
    return row.works, row.state != STANDBY, row.updated_at


def _note(row: Process) -> str | None:
    if row.over:
        return row.reasons.get("running") or row.state
    if not row.works:
        told = "; ".join(f"{name}: {why}" for name, why in row.reasons.items())
        return told or "it has not said yet what it waits for"
    return "; ".join(f"{name}: {why}" for name, why in row.degraded.items()) or None


def duration(seconds: float) -> str:
    """For people: 43 s, 12 min, 5 h, 3 days."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172800 else f"{seconds / 86400:.0f} days"
