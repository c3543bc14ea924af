"""What was sent to whom, a JSON line per frame: the oracle of tests.

`{"connection": 1, "fate": "sent", "frame": {…}}`. A frame that was `lost` or came `late` stands
where its number belongs; `doubled` frames have a second line. When a connection is gone,
`{"connection": 1, "unsent": 17}` says how many of its last frames never left.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

Fate = Literal["sent", "lost", "late", "doubled"]
Witness = Callable[[int, Fate, bytes], None]


class SentLog:
    """Appends to a file; lines are whole whenever it is flushed."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=1 << 20)

    def note(self, connection: int, fate: Fate, frame: bytes) -> None:
        """A frame, and what became of it."""
        self._file.write(b'{"connection":%d,"fate":"%b","frame":%b}\n' % (
            connection, fate.encode(), frame))  # fmt: skip

    def gone(self, connection: int, unsent: int) -> None:
        """A connection ended."""
        self._file.write(b'{"connection":%d,"unsent":%d}\n' % (connection, unsent))
        self.flush()

    def flush(self) -> None:
        """Let readers see what was noted."""
        self._file.flush()

    def close(self) -> None:
        """The simulator ends."""
        self._file.close()
