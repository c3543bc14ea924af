"""One child process: it dies with its parent, and a next run can find it by its pid file."""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from ssmd_stack.errors import ServerFailed

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.01
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Account:
    """The user a child runs as, with no supplementary groups."""

    uid: int
    gid: int


class Process:
    """A child process with its output in a log file.

    On Linux the kernel sends `death_signal` to the child when the parent ends, however it ends.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        account: Account | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
        pid_file: Path | None = None,
    ) -> None:
        self.argv = [str(arg) for arg in argv]
        self.log = log
        self.pid_file = pid_file
        with log.open("ab") as output:
            self._popen = _spawn(self.argv, output, cwd, env, account, death_signal)
        if pid_file is not None:
            write_pid_file(pid_file, self._popen.pid)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._popen.poll()

    async def wait(self) -> int:
        """Wait until it ended and return its exit code."""
        while (code := self._popen.poll()) is None:
            await self._until_it_may_have_ended()
        if self.pid_file is not None:
            self.pid_file.unlink(missing_ok=True)
        return code

    async def stop(self, *steps: tuple[signal.Signals, float]) -> int:
        """Send each signal in turn and give it that many seconds; SIGKILL is the last step."""
        for number, patience_seconds in steps:
            self.send(number)
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(self.wait(), patience_seconds)
        self.send(signal.SIGKILL)
        return await self.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if the process has ended."""
        self._popen.send_signal(number)

    def descendants(self) -> list[psutil.Process]:
        """Its children and theirs, now."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def tail(self, lines: int = 12) -> str:
        """The end of its log."""
        return tail(self.log, lines)

    async def _until_it_may_have_ended(self) -> None:
        if sys.platform != "linux":
            await asyncio.sleep(0.05)
            return
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(handle, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a file, empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _spawn(
    argv: list[str],
    output: IO[bytes],
    cwd: Path | None,
    env: Mapping[str, str] | None,
    account: Account | None,
    death_signal: signal.Signals,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=dict(os.environ if env is None else env),
        # Ctrl-C on the terminal must reach the parent only, which then stops all in order.
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        preexec_fn=_die_with_parent(death_signal),  # noqa: PLW1509 - one system call, no locks
    )


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """Runs in the child after it took on its account: changing the account clears the setting."""
    if _libc is None:
        return None
    libc, parent = _libc, os.getpid()

    def ask_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:
            os._exit(1)

    return ask_kernel


def write_pid_file(path: Path, pid: int) -> None:
    """Remember a process by its pid and start time, so that a reused pid is not mistaken for it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        path.write_text(f"{pid} {psutil.Process(pid).create_time():.2f}\n")


def read_pid_file(path: Path) -> psutil.Process | None:
    """The process a pid file tells of, if it still runs."""
    try:
        pid, started = path.read_text().split()
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(started)) < 1.0
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None
    return process if same and is_alive(process) else None


def end_leftover(
    path: Path, *, first: signal.Signals = signal.SIGTERM, patience_seconds: float = 5.0
) -> bool:
    """End the process that an earlier run left behind, if there is one; True if there was."""
    process = read_pid_file(path)
    path.unlink(missing_ok=True)
    if process is None:
        return False
    family = [process, *process.children(recursive=True)]
    process.send_signal(first)
    if wait_for_end(family, patience_seconds):
        return True
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    wait_for_end(family, patience_seconds)
    return True


def end_all_in(directory: Path, *, patience_seconds: float = 5.0) -> None:
    """Kill every process whose working directory it is, and wait until they have ended."""
    place = str(directory.resolve())
    family = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == place:
                process.kill()
                family.append(process)
    if not wait_for_end(family, patience_seconds):
        raise ServerFailed(
            f"processes {', '.join(str(process.pid) for process in family)} of an earlier run in"
            f" {directory} do not end: stop them"
        )


def wait_for_end(family: Sequence[psutil.Process], patience_seconds: float) -> bool:
    """Wait until none of them runs; one that only waits to be reaped by its parent has ended."""
    give_up = time.monotonic() + patience_seconds
    while any(is_alive(member) for member in family):
        if time.monotonic() > give_up:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def is_alive(process: psutil.Process) -> bool:
    """Whether it still executes."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
