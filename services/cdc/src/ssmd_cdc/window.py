"""The acknowledgement window: messages sent and not yet acknowledged, as a chain of sequences.

Each message is sent with the sequence that the stream must end with for it to be stored. So the
stream holds them in our order without a gap, or refuses: once one is lost, all that follow are.
"""

import json
from collections import deque
from typing import Final

import msgspec

from ssmd_cdc.envelope import Outgoing
from ssmd_common import subjects

_ACK: Final = f'{{"stream":"{subjects.STREAM}","seq":'.encode()
_ACK_SPACED: Final = f'{{"stream":"{subjects.STREAM}", "seq":'.encode()


class Refused(Exception):
    """The server did not store a message, or not where it belongs; the text is its reason."""


class Entry(msgspec.Struct, gc=False):
    message: Outgoing
    size: int
    sent_at: float


class Window:
    """Bookkeeping only, no I/O. `number` counts messages from 0 and never starts again."""

    def __init__(self, last_sequence: int, max_messages: int, max_bytes: int) -> None:
        self.entries: deque[Entry] = deque()
        self.size = 0
        self.first = 0
        self.next_sequence = last_sequence + 1
        self._early: set[int] = set()
        self._max_messages = max_messages
        self._max_bytes = max_bytes

    @property
    def full(self) -> bool:
        return len(self.entries) >= self._max_messages or self.size >= self._max_bytes

    @property
    def acknowledged_sequence(self) -> int:
        """The sequence of the last message of the contiguous acknowledged prefix."""
        return self.next_sequence - len(self.entries) - 1

    def add(self, message: Outgoing, now: float) -> tuple[int, int]:
        """Its number, and the sequence that the stream must end with before it."""
        size = len(message.payload)
        self.entries.append(Entry(message, size, now))
        self.size += size
        expected = self.next_sequence - 1
        self.next_sequence += 1
        return self.first + len(self.entries) - 1, expected

    def reply(self, number: int, payload: bytes) -> list[Entry]:
        """Note the answer to one message; the entries that are now acknowledged, in order.

        Raises:
            Refused: it was not stored as the next of the chain.
        """
        if number == self.first and not self._early and self.entries:
            sequence = stored_sequence(payload)
            if sequence == self.next_sequence - len(self.entries):
                return [self._pop()]
        offset = number - self.first
        if not 0 <= offset < len(self.entries):
            raise Refused(f"an answer came to message {number}, which is not in flight")
        expected = self.acknowledged_sequence + 1 + offset
        sequence = stored_sequence(payload)
        if sequence != expected:
            raise Refused(f"the stream stored a message as {sequence}, not as {expected}")
        if offset:
            self._early.add(number)
            return []
        done = [self._pop()]
        while self._early and self.first in self._early:
            self._early.discard(self.first)
            done.append(self._pop())
        return done

    def reply_to_batch(self, number: int, count: int, payload: bytes) -> list[Entry]:
        """As `reply`, for the last of an atomic batch of `count`: it stands for all of it.

        Raises:
            Refused: the batch was not stored as the next of the chain, or answered out of turn.
        """
        if number - count + 1 != self.first or count > len(self.entries):
            raise Refused(f"an answer came to message {number}, whose turn it is not")
        expected = self.acknowledged_sequence + count
        sequence = stored_sequence(payload)
        if sequence != expected:
            raise Refused(f"the stream stored a batch up to {sequence}, not up to {expected}")
        return [self._pop() for _ in range(count)]

    def rechain(self, last_sequence: int, stored: int) -> list[Entry]:
        """The first `stored` entries are in the stream, which ends at `last_sequence`.

        Returns those; all others are to be sent again, from number `first` on.
        """
        self._early.clear()
        done = [self._pop() for _ in range(stored)]
        self.next_sequence = last_sequence + 1 + len(self.entries)
        return done

    def _pop(self) -> Entry:
        entry = self.entries.popleft()
        self.size -= entry.size
        self.first += 1
        return entry


def stored_sequence(payload: bytes) -> int:
    """The sequence that an acknowledgement names.

    Raises:
        Refused: it is none, or tells that the message was there already.
    """
    for prefix in (_ACK, _ACK_SPACED):
        if payload.startswith(prefix):
            number = payload[len(prefix) : -1]
            if number.isdigit():
                return int(number)
    text = payload[:120].decode(errors="replace").strip()
    try:
        answer = json.loads(payload)
        if "error" in answer:
            raise Refused(str(answer["error"].get("description", answer["error"])))
        if answer.get("duplicate"):
            raise Refused("the message is in the stream already")
        return int(answer["seq"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refused(f"no acknowledgement, but {text or 'an empty answer'}") from None
