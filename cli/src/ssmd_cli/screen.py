"""A terminal that shows a picture until somebody has seen enough."""

import os
import select
import shutil
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_ENDS: Final = (b"q", b"Q", b"\x04", b"\x1b")


class Screen:
    """The terminal's other screen, without a cursor: what was there before comes back at the end.

    Keys are read where stdin is a terminal, too.
    """

    def __init__(self) -> None:
        self._kept: list[Any] | None = None

    def __enter__(self) -> Self:
        if sys.stdin.isatty():
            import termios
            import tty

            self._kept = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        sys.stdout.write(_ENTER)
        sys.stdout.flush()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        if self._kept is not None:
            import termios

            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._kept)
        # Ctrl-C is how one leaves.
        return kind is KeyboardInterrupt

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        found = shutil.get_terminal_size()
        return max(20, found.columns), max(4, found.lines)

    def show(self, lines: Sequence[str]) -> None:
        """Draw in place of what is there; lines that do not fit below are left out."""
        _, height = self.size
        drawn = [f"{line}\x1b[K" for line in lines[:height]]
        sys.stdout.write("\x1b[H" + "\r\n".join(drawn) + "\x1b[J")
        sys.stdout.flush()

    def waits(self, seconds: float) -> bool:
        """Wait so long; whether a key was pressed meanwhile that ends the picture."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._kept is None:
                time.sleep(left)
                continue
            ready, _, _ = select.select([sys.stdin], [], [], left)
            if ready and (os.read(sys.stdin.fileno(), 16)[:1] or b"\x04") in _ENDS:
                return True
        return False
