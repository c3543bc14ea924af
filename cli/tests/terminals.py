"""A real terminal for a command: its screen as a person sees it."""

import asyncio
import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte

PATIENCE_SECONDS = 180


def _control_terminal() -> None:
    """Have the terminal control the new session, as a shell needs it for its jobs."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """Runs `ssmd`, or another program, in a terminal of some size; keys go in, the screen comes
    out."""

    def __init__(
        self,
        *words: str,
        cwd: Path,
        columns: int = 100,
        lines: int = 30,
        program: Sequence[str] = (sys.executable, "-m", "ssmd_cli"),
        **variables: str,
    ) -> None:
        self._words = (*program, *words)
        self._cwd = cwd
        self._size = (lines, columns)
        self._environment = {"PATH": os.environ["PATH"], "TERM": "xterm", **variables}
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""

    async def __aenter__(self) -> Self:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *self._size, 0, 0))
        self.process = await asyncio.create_subprocess_exec(
            *self._words, cwd=self._cwd, env=self._environment,
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=_control_terminal,
        )  # fmt: skip
        os.close(slave)
        os.set_blocking(self._master, False)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        os.close(self._master)

    @property
    def lines(self) -> list[str]:
        """What stands on the screen now, without empty lines."""
        try:
            while chunk := os.read(self._master, 1 << 16):
                self.raw += chunk
                self._stream.feed(chunk)
        except OSError:
            # Nothing is there, or the command has ended.
            pass
        return [line.rstrip() for line in self._screen.display if line.strip()]

    async def shows(self, *texts: str) -> list[str]:
        """Wait until all of them stand on the screen."""
        return await self._until(
            lambda lines: all(any(text in line for line in lines) for text in texts)
        )

    async def is_just(self, *wanted: str) -> None:
        """Wait until these lines are all that stands on the screen."""
        await self._until(lambda lines: lines == list(wanted))

    async def _until(self, holds: Callable[[list[str]], bool]) -> list[str]:
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not holds(lines := self.lines):
            assert self.process.returncode is None, "\n".join(lines)
            assert asyncio.get_running_loop().time() < deadline, "\n".join(lines)
            await asyncio.sleep(0.05)
        return lines

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    async def end(self) -> int:
        """Wait for the command's end; its exit code."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.process.returncode is None:
                _ = self.lines
                await asyncio.sleep(0.02)
        _ = self.lines
        return self.process.returncode
