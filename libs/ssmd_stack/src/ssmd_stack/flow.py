"""A running system from the outside: its record, and what its processes take of the machine.

How a service is, it says itself in the table `service_status`; nobody asks its port.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil


@dataclass(frozen=True, slots=True)
class MemberProcess:
    """One part's process; `alive` is True where it cannot be seen from here (a container)."""

    name: str
    alive: bool
    pid: int | None
    restarts: int
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class SystemRecord:
    """What the supervisor wrote down about itself (`system.json`)."""

    pid: int
    state: str
    exchange: str
    started_at: str
    api_url: str | None
    members: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """None if no system was started in the directory, or it was stopped."""
        try:
            return cls(**json.loads((directory / "system.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None


def processes(members: Sequence[dict[str, Any]]) -> list[MemberProcess]:
    """The process of each member of a record, as it is now."""
    return [_member(member) for member in members]


def _member(member: dict[str, Any]) -> MemberProcess:
    alive, memory = _process(member["pid"])
    return MemberProcess(member["name"], alive, member["pid"], member["restarts"], memory)


def _process(pid: int | None) -> tuple[bool, int | None]:
    if pid is None:
        return True, None
    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive, process.memory_info().rss
    except psutil.NoSuchProcess:
        return False, None
    except psutil.AccessDenied:
        return True, None
