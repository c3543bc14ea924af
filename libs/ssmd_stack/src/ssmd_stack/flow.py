"""What flows: for each part of a running system its state, rate, lag and last error."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

_HTTP = aiohttp.ClientTimeout(total=3)


@dataclass(frozen=True, slots=True)
class MemberFlow:
    """One part. None where it has no such figure; `rate` is per second since the last look."""

    name: str
    state: str
    ready: bool
    pid: int | None = None
    restarts: int = 0
    work: float | None = None
    rate: float | None = None
    lag_seconds: float | None = None
    errors: float | None = None
    memory_bytes: int | None = None
    note: str | None = None
    """Why it is not ready, else its last survived error and how long ago that was."""


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


class Observer:
    """Looks at members again and again; rates need two looks."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, float]] = {}
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=_HTTP)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    async def look(self, members: Sequence[dict[str, Any]]) -> list[MemberFlow]:
        """Each member as it is now; one that does not answer is down, and nothing is raised."""
        return [await self._member(member) for member in members]

    async def _member(self, member: dict[str, Any]) -> MemberFlow:
        name, pid = member["name"], member["pid"]
        alive, memory = _process(pid)
        if not alive and pid is not None:
            return MemberFlow(name, "down", ready=False, restarts=member["restarts"])
        if member["ready_url"] is None:
            return MemberFlow(name, "up", True, pid, member["restarts"], memory_bytes=memory)
        document = await self._get_json(member["ready_url"])
        if document is None:
            return MemberFlow(
                name, "no answer", False, pid, member["restarts"], memory_bytes=memory
            )
        figures = await self._figures(member["metrics_url"])
        work = figures.get("ssmd_work_total")
        reasons = document.get("reasons") or {}
        ready = bool(document.get("ready", True))
        return MemberFlow(
            name,
            state=str(document.get("state") or ("ready" if ready else "not ready")),
            ready=ready,
            pid=pid,
            restarts=member["restarts"],
            work=work,
            rate=self._rate(name, work),
            lag_seconds=figures.get("ssmd_lag_seconds"),
            errors=figures.get("ssmd_errors_total"),
            memory_bytes=memory,
            note="; ".join(f"{key}: {why}" for key, why in reasons.items()) or _survived(document),
        )

    def _rate(self, name: str, work: float | None) -> float | None:
        if work is None:
            return None
        now = time.monotonic()
        before = self._before.get(name)
        self._before[name] = (now, work)
        if before is None or now <= before[0]:
            return None
        # A restarted process counts from zero again.
        return max(0.0, work - before[1]) / (now - before[0])

    async def _get_json(self, url: str) -> dict[str, Any] | None:
        assert self._http is not None
        try:
            async with self._http.get(url) as response:
                found = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
        return found if isinstance(found, dict) else {}

    async def _figures(self, url: str | None) -> dict[str, float]:
        """Every metric by name, summed over its labels; one that has no value now is left out."""
        assert self._http is not None
        if url is None:
            return {}
        try:
            async with self._http.get(url) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError):
            return {}
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if not math.isnan(sample.value):
                    sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        return sums


def _survived(document: dict[str, Any]) -> str | None:
    error, when = document.get("last_error"), document.get("last_error_at")
    if not error:
        return None
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(str(when))).total_seconds()
    except ValueError:
        return str(error)
    ago = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"{ago} ago: {error}"


def _process(pid: int | None) -> tuple[bool, int | None]:
    if pid is None:
        return False, None
    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive, process.memory_info().rss
    except psutil.NoSuchProcess:
        return False, None
    except psutil.AccessDenied:
        return True, None
