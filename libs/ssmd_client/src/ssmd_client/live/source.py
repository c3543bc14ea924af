"""Where a live view gets its rows and changes from: what both ways have in common."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, Protocol

from ssmd_client.live.messages import Message
from ssmd_stream.visibility import Snapshot


class Start(NamedTuple):
    """Where a snapshot joins the stream: changes after `sequence` that `snapshot` does not see."""

    snapshot: Snapshot
    sequence: int


class RawRow(NamedTuple):
    table: str
    row: Any
    """Bytes of JSON, or a text of them."""


class Batch(NamedTuple):
    """Messages in order, none missing between; `is_current`: the stream held no more then."""

    messages: Sequence[Message]
    reached: int
    is_current: bool


class Gone(Exception):
    """The stream does not hold what comes next, or is another one: a new snapshot is due."""


class Interrupted(Exception):
    """Nothing more comes now; trying again may help, after `wait_seconds` if the server says so."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class Source(Protocol):
    """Fatal errors are those of `ssmd_client.errors`; they end the view."""

    def snapshot(self) -> AsyncIterator[Start | list[RawRow]]:
        """First the start, then all rows; Interrupted where it cannot be read to its end."""
        ...

    def follow(self) -> AsyncIterator[Batch]:
        """What comes after the snapshot, and after an interruption what comes next.

        Raises:
            Gone, Interrupted: as above.
        """
        ...

    async def row(self, table: str, key: dict[str, Any], *, whole: bool = False) -> bytes | None:
        """A row as JSON as it is now, None where there is none; `whole` with every column."""
        ...

    async def close(self) -> None: ...
