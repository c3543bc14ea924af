"""A service as a process of its own, without the imports that are most of its start.

A process that has imported all services is kept beside each worker of pytest, and every start is a
fork of it: a sixth of the processor time of `python -m`. What a start itself does (its imports,
its command line) is for tests that start a program.
"""

import asyncio
import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import IO, Any, Union

from ssmd_common.parts import SERVICES

_PR_SET_PDEATHSIG = 1
# Of a process without threads: a fork of the worker might hold a lock that nobody lets go of.
_CONTEXT = multiprocessing.get_context("forkserver")
_IMPORTED = [*(f"ssmd_{name}.__main__" for name in SERVICES), "ssmd_stack.forked"]

Started = Union["Forked", asyncio.subprocess.Process]


async def start(
    module: str, *arguments: str, env: Mapping[str, str], stdout: IO[Any] | None = None
) -> Started:
    """`python -m MODULE` with these variables and no others.

    Its output goes to `stdout`, errors included; to nowhere if that is None.
    """
    if env.get("LD_PRELOAD") == os.environ.get("LD_PRELOAD"):
        return await asyncio.to_thread(Forked, module, *arguments, env=env, stdout=stdout)
    # What is preloaded takes part in a start, and a fork has none.
    output = asyncio.subprocess.DEVNULL if stdout is None else stdout
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, env=env, stdout=output, stderr=output
    )


class Forked:
    """What `start` gives, to be used as asyncio's `Process` is."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        env: Mapping[str, str],
        stdout: IO[Any] | None = None,
    ) -> None:
        _CONTEXT.set_forkserver_preload(_IMPORTED)
        descriptor = os.open(os.devnull, os.O_WRONLY) if stdout is None else os.dup(stdout.fileno())
        # What can be sent to another process: it closes our copy, too.
        with Connection(descriptor, readable=False) as output:
            self._process = _CONTEXT.Process(
                target=_become, args=(module, arguments, dict(env), output), daemon=True
            )
            self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
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

    def ended(self) -> int:
        """Wait for its end without an event loop."""
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode


def _become(
    module: str, arguments: tuple[str, ...], env: dict[str, str], output: Connection
) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    output.close()
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [module, *arguments]
    importlib.import_module(f"{module}.__main__").main()
