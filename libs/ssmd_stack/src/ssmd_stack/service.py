"""One of our programs as a child process: a service, or the simulated exchange."""

import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from ssmd_common.states import STANDBY
from ssmd_stack.process import Process, end_leftover

#: A service drains for 25 s at most (ssmd_common.runtime).
_STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a service says of itself at /readyz; `ready` is that it works: no standby is."""

    ready: bool
    state: str
    reasons: dict[str, str] = field(default_factory=dict)
    last_error: str | None = None


class Service:
    """A Python module run with an environment; `ready_url` answers 200 once it works."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        ready_url: str,
        log: Path,
        pid_file: Path,
    ) -> None:
        self.name = name
        self.arguments = list(arguments)
        self.env = dict(env)
        self.ready_url = ready_url
        self.log = log
        self.pid_file = pid_file
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.exit_code is None

    async def start(self) -> None:
        """Start it; it becomes ready later (`readiness`)."""
        if self.running:
            return
        await asyncio.to_thread(end_leftover, self.pid_file)
        self._process = Process(
            # -P: what lies in the user's current folder is none of our modules.
            [sys.executable, "-P", *self.arguments],
            log=self.log,
            env=self.env,
            pid_file=self.pid_file,
        )

    async def wait(self) -> int:
        """Wait until it has ended, and return its exit code."""
        return await self._process.wait() if self._process else 0

    async def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        if self._process is not None:
            await self._process.stop((signal.SIGTERM, _STOP_SECONDS))
            self._process = None

    async def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            await self._process.stop()
            self._process = None

    async def readiness(self, http: aiohttp.ClientSession) -> Readiness:
        """What it says now; not ready if it does not answer."""
        if not self.running:
            return Readiness(ready=False, state="down")
        try:
            async with http.get(self.ready_url) as response:
                return _readiness(response.status, await response.read())
        except (aiohttp.ClientError, TimeoutError):
            return Readiness(ready=False, state="starting")

    def last_words(self) -> str:
        """The sentence it ended with: the last line of its log that reports an error."""
        if self._process is None:
            return ""
        lines = self._process.tail(40).splitlines()
        for line in reversed(lines):
            entry = _entry(line)
            if entry.get("level") in ("critical", "error"):
                return str(entry.get("error") or entry.get("event"))
        return lines[-1].strip() if lines else ""


def _readiness(status: int, body: bytes) -> Readiness:
    try:
        document: Any = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return Readiness(ready=status == 200, state="ready" if status == 200 else "starting")
    return Readiness(
        ready=status == 200 and document.get("state") != STANDBY,
        state=str(document.get("state") or ("ready" if status == 200 else "not ready")),
        reasons={str(k): str(v) for k, v in dict(document.get("reasons") or {}).items()},
        last_error=document.get("last_error"),
    )


def _entry(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
