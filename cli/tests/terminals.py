"""A real terminal for a command: its screen as a person sees it."""

import asyncio
import fcntl
import os
import pty
import struct
import sys
import termios
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte

PATIENCE_SECONDS = 60


class Terminal:
    """Runs `ssmd` in a terminal of some size; keys go in, the screen comes out."""

    def __init__(
        self, *words: str, cwd: Path, columns: int = 100, lines: int = 30, **variables: str
    ) -> None:
        self._words = words
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
            sys.executable, "-m", "ssmd_cli", *self._words, cwd=self._cwd, env=self._environment,
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
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
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not all(any(text in line for line in self.lines) for text in texts):
                assert self.process.returncode is None, "\n".join(self.lines)
                await asyncio.sleep(0.05)
        return self.lines

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
