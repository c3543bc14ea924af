"""A service or `ssmd` as a process of its own, without the imports that are most of its start.

A process that has imported all services and verbs is kept beside each worker of pytest, and every
start is a fork of it: 15 ms of processor time where `python -m` takes 700. What a start itself does
(its imports, its command line) is for tests that start a program.
"""

import asyncio
import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO, Any, Union

_PR_SET_PDEATHSIG = 1
# Of a process without threads: a fork of the worker might hold a lock that nobody lets go of.
_CONTEXT = multiprocessing.get_context("forkserver")
# Two threads that ask after one child at once would both read its exit code, and one get none.
_CHILDREN = threading.Lock()

Started = Union["Forked", asyncio.subprocess.Process]


async def start(
    module: str, *arguments: str, env: Mapping[str, str], stdout: IO[Any] | None = None,
    fork: bool = True,
) -> Started:  # fmt: skip
    """`python -m MODULE` with these variables and no others.

    Its output goes to `stdout`, errors included; to nowhere if that is None. Without `fork` it is a
    program that has imported nothing else: a fork shows the metrics of all services as its own.
    """
    if fork and env.get("LD_PRELOAD") == os.environ.get("LD_PRELOAD"):
        return await asyncio.to_thread(Forked, module, *arguments, env=env, stdout=stdout)
    # What is preloaded takes part in a start, and a fork has none.
    output = asyncio.subprocess.DEVNULL if stdout is None else stdout
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, env=env, stdout=output, stderr=output
    )


def run(
    module: str, *arguments: str, env: Mapping[str, str], cwd: Path | None = None,
    seconds: float = 100.0,
) -> CompletedProcess[str]:  # fmt: skip
    """`python -m MODULE` to its end; it is killed, and TimeoutError raised, after `seconds`."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = Forked(module, *arguments, env=env, cwd=cwd, stdout=out, stderr=err)
        try:
            code = process.ended(seconds)
        finally:
            process.kill()
        # Not `read`: the place in the file is the process's, and its children's.
        texts = [os.pread(file.fileno(), 1 << 26, 0).decode() for file in (out, err)]
    return CompletedProcess([module, *arguments], code, *texts)


class Forked:
    """What `start` gives, to be used as asyncio's `Process` is."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        env: Mapping[str, str],
        cwd: Path | None = None,
        stdout: IO[Any] | None = None,
        stderr: IO[Any] | None = None,
    ) -> None:
        """Errors go to where the output goes if `stderr` is None."""
        _CONTEXT.set_forkserver_preload(["ssmd_stack.imported", "ssmd_stack.forked"])
        # What can be sent to another process: it closes our copies, too.
        with _to(stdout) as out, _to(stderr or stdout) as err:
            self._process = _CONTEXT.Process(
                target=_become, args=(module, arguments, dict(env), cwd, out, err), daemon=True
            )
            with _CHILDREN:
                self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        with _CHILDREN:
            return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens if the process has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait until it ended and return its exit code."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        return self.ended()

    def ended(self, seconds: float | None = None) -> int:
        """Wait for its end without an event loop; TimeoutError if it takes longer than that."""
        if not wait([self._process.sentinel], seconds):
            raise TimeoutError(f"{self._process.name} has not ended after {seconds} s")
        code = self.returncode
        assert code is not None
        return code


def _to(file: IO[Any] | None) -> Connection:
    descriptor = os.open(os.devnull, os.O_WRONLY) if file is None else os.dup(file.fileno())
    return Connection(descriptor, readable=False)


def _become(
    module: str,
    arguments: tuple[str, ...],
    env: dict[str, str],
    cwd: Path | None,
    out: Connection,
    err: Connection,
) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    for descriptor, connection in ((1, out), (2, err)):
        os.dup2(connection.fileno(), descriptor)
        connection.close()
    if cwd is not None:
        os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [module, *arguments]
    importlib.import_module(f"{module}.__main__").main()
