"""The acknowledgement window: messages sent and not yet acknowledged, as a chain of sequences.

Each message is sent with the sequence that the stream must end with for it to be stored. So the
stream holds them in our order without a gap, or refuses. Each is answered, since one that is stored
does not prove that those before it are: as many foreign messages may stand in their place.
"""

import json
from collections import deque
from typing import Final, Generic, TypeVar

import msgspec

from ssmd_stream.errors import does_not_store
from ssmd_stream.publish.outgoing import Outgoing

M = TypeVar("M", bound=Outgoing)


class Refused(Exception):
    """The server did not store a message, or not where it belongs; the text is its reason."""


class Entry(msgspec.Struct, Generic[M], gc=False):
    """`sent_at` is the loop's time in seconds; `size` the payload's bytes."""

    message: M
    size: int
    sent_at: float


class Window(Generic[M]):
    """Bookkeeping only, no I/O. `number` counts messages from 0 and never starts again.

    `stream` is the name of the stream, which ends at `last_sequence`.
    """

    def __init__(self, stream: str, last_sequence: int, max_messages: int, max_bytes: int) -> None:
        self.entries: deque[Entry[M]] = deque()
        self.size = 0
        self.first = 0
        self.next_sequence = last_sequence + 1
        # How servers write an answer; one that is written otherwise is read as JSON.
        self._acks = [
            b'{"stream":"%b",%b"seq":%%d}' % (stream.encode(), space) for space in (b"", b" ")
        ]
        self._max_messages = max_messages
        self._max_bytes = max_bytes

    @property
    def full(self) -> bool:
        return len(self.entries) >= self._max_messages or self.size >= self._max_bytes

    @property
    def acknowledged_sequence(self) -> int:
        """The sequence of the last message of the contiguous acknowledged prefix."""
        return self.next_sequence - len(self.entries) - 1

    def add(self, message: M, now: float) -> int:
        """Its number."""
        size = len(message.payload)
        entries = self.entries
        number = self.first + len(entries)
        entries.append(Entry(message, size, now))
        self.size += size
        self.next_sequence += 1
        return number

    def replies(
        self, answers: list[tuple[int, bytes]], batches: dict[int, int]
    ) -> tuple[list[Entry[M]], str | None]:
        """Note answers, each to the message with that number, in the order that they came.

        `batches` says which of them stand for how many: the last message of an atomic batch is
        answered for all of it. Returns the entries that are now acknowledged, in order, and why
        the chain is broken if it is.
        """
        done, sequence, reason = 0, self.acknowledged_sequence, None
        ack = self._acks[bool(answers) and b" " in answers[0][1]]
        for number, payload in answers:
            count = batches.pop(number, 1) if batches else 1
            if number != self.first + done + count - 1 or done + count > len(self.entries):
                reason = _out_of_turn(number, payload)
                break
            if payload != ack % (sequence + count):
                try:
                    stored = stored_sequence(payload)
                except Refused as error:
                    reason = str(error)
                    break
                if stored != sequence + count:
                    reason = f"the stream stored a message as {stored}, not as {sequence + count}"
                    break
            done += count
            sequence += count
        return self._pop(done), reason

    def rechain(self, last_sequence: int, stored: int) -> list[Entry[M]]:
        """The first `stored` entries are in the stream, which ends at `last_sequence`.

        Returns those; all others are to be sent again, from number `first` on.
        """
        done = self._pop(stored)
        self.next_sequence = last_sequence + 1 + len(self.entries)
        return done

    def _pop(self, count: int) -> list[Entry[M]]:
        popleft = self.entries.popleft
        done = [popleft() for _ in range(count)]
        self.size -= sum([entry.size for entry in done])
        self.first += count
        return done


_NO_ROOM: Final = frozenset({10002, 10023, 10028, 10047, 10077})
"""Error codes of JetStream: resources or storage are used up, or the store failed."""


def _out_of_turn(number: int, payload: bytes) -> str:
    try:
        stored_sequence(payload)
    except Refused as error:
        # A full disk looks like this: the first has no answer, and those after it have no place.
        detail = f"it gave no answer to a message, and refused the next ({error})"
        return does_not_store(detail)
    return f"an answer came to message {number}, whose turn it is not"


def stored_sequence(payload: bytes) -> int:
    """The sequence that an acknowledgement names.

    Raises:
        Refused: it is none, or tells that the message was there already.
    """
    text = payload[:120].decode(errors="replace").strip()
    try:
        answer = json.loads(payload)
        if "error" in answer:
            error = answer["error"]
            description = str(error.get("description", error))
            code = error.get("err_code")
            if code in _NO_ROOM or error.get("code") == 503:
                description = does_not_store(f"{description} (error {code})")
            raise Refused(description)
        if answer.get("duplicate"):
            raise Refused("the message is in the stream already")
        return int(answer["seq"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refused(f"no acknowledgement, but {text or 'an empty answer'}") from None
