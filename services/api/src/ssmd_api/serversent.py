"""Messages of the stream as server-sent events, as they go over the wire."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ssmd_api import rows

if TYPE_CHECKING:
    from ssmd_api.sparse import Columns
    from ssmd_api.unreadable import Unreadable
    from ssmd_stream.delivery import Delivery

_RETRY_MILLISECONDS: Final = (1000, 3000)
_KIND = re.compile(r"[a-z_]{1,64}", re.ASCII)
_IDENTITY = re.compile(r"[0-9A-Za-z:/_.-]{1,64}", re.ASCII)
_NO_IDENTITY: Final = "-"
EVENT_ID: Final = re.compile(rf"[0-9]{{1,19}}@{_IDENTITY.pattern}", re.ASCII)

_MULTIVARIATE = re.compile(rb'"mve_collection_ticker": ?"')
"""No text holds this, since quotes in it are escaped."""
_DOTS_OF_ROWS: Final = 3
_DATA: Final = b"\ndata: "
GONE: Final = b"event: gone\ndata: {}\n\n"


@dataclass(frozen=True, slots=True)
class EventId:
    """The id of a server-sent event: a stream sequence, and the identity of the message there."""

    sequence: int
    position: str

    def __str__(self) -> str:
        return f"{self.sequence}@{self.position}"

    @classmethod
    def parse(cls, text: str) -> EventId:
        """ValueError if it is none."""
        if not EVENT_ID.fullmatch(text):
            raise ValueError("is not the id of an event of this stream")
        sequence, _, position = text.partition("@")
        return cls(int(sequence), position)

    @classmethod
    def of(cls, headers: Mapping[str, str], sequence: int) -> EventId:
        """The id of a message; one that was not published by us may have no identity."""
        identity = headers.get("Nats-Msg-Id", "")
        return cls(sequence, identity if _IDENTITY.fullmatch(identity) else _NO_IDENTITY)


BEGINNING: Final = EventId(0, _NO_IDENTITY)
"""Before the first message that there ever was."""


@dataclass(frozen=True, slots=True)
class Event:
    """One message as its readers get it.

    `kind` is its type, by which readers filter; None where it cannot be read: whoever could have
    wanted it is told.
    """

    id: EventId
    subject: str
    kind: str | None
    data: bytes
    multivariate: bool = False
    """Whether the row is a multivariate one."""

    @classmethod
    def of(cls, message: Delivery, unreadable: Unreadable) -> Event:
        number = EventId.of(message.headers, message.sequence)
        if (reason := unreadable.why(message)) is not None:
            document = {
                "sequence": message.sequence,
                "subject": message.subject,
                "reason": reason,
            }
            data = _lines(number, "unreadable", rows.encode(document))
            return cls(number, message.subject, None, data)
        kind = message.headers.get("Ssmd-Type", "change")
        name = kind if _KIND.fullmatch(kind) else "change"
        data = _lines(number, name, message.payload)
        return cls(
            number, message.subject, kind, data, _MULTIVARIATE.search(message.payload) is not None
        )

    @property
    def of_whole_table(self) -> bool:
        """Such as the end of an announcement: its subject has no tokens."""
        return self.subject.count(".") < _DOTS_OF_ROWS

    def sparse(self, columns: Columns) -> bytes:
        """The event with these columns only; what cannot be read stays as it is."""
        if self.kind is None:
            return self.data
        head, mark, payload = self.data.partition(_DATA)
        return head + mark + columns.of_change(payload) + b"\n\n"


def beginning(reached: EventId | None) -> bytes:
    """What comes first: how long to wait before coming again, and with which id.

    Of many readers that are cut off at once, not all come again at once.
    """
    retry = b"retry: %d\n\n" % random.randint(*_RETRY_MILLISECONDS)  # noqa: S311
    return retry + (b"" if reached is None else _only_id(reached))


def keep_alive(reached: EventId | None) -> bytes:
    """A sign of life; who was told nothing for long comes again after what it was not to get."""
    return b": keep-alive\n\n" + (b"" if reached is None else _only_id(reached))


def _only_id(number: EventId) -> bytes:
    # An event without data is none: a client remembers its id only.
    return b"id: %b\n\n" % str(number).encode()


def _lines(number: EventId, kind: str, data: bytes) -> bytes:
    """One server-sent event: its id resumes, its name is the change's type."""
    # A line's end in JSON is white space; in an event it would end the data.
    data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (str(number).encode(), kind.encode(), data)
