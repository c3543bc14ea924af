"""Sequence numbers of a subscription, acknowledgements that carry one included. Pure.

Third parties disagree about what an acknowledgement's number means: it is used up like a message's,
or it is the number of the last message, or that of the next. All three are followed, and what can
only be one of them is learnt (`AckNumbers`). Where a number after an acknowledgement would mean a
lost message in one reading and none in the other, and nothing was learnt yet, it counts as lost:
once in a process, a false alarm at worst.
"""

from __future__ import annotations

from dataclasses import dataclass

RESTART_DISTANCE = 1000
"""A number this far below the last one is a new count, not a late message."""


@dataclass(slots=True)
class AckNumbers:
    """Whether acknowledgements use their numbers up; one for all subscriptions of an exchange."""

    use_up: bool | None = None
    """None: not known yet."""


class Sequence:
    """The numbers of one subscription; the specification's least is the first, 1."""

    __slots__ = ("_ack", "_acks", "_heard", "last")

    def __init__(self, acks: AckNumbers | None = None) -> None:
        self.last = 0
        """The number of the last message."""
        self._acks = AckNumbers() if acks is None else acks
        self._ack = 0
        """The number of an acknowledgement since that message, if it was the following one."""
        self._heard = 0
        """The highest number of a message; `last` may be that of one that an acknowledgement
        showed to be missing."""

    def is_old(self, seq: int) -> bool:
        """Whether a message is late or comes once more, by its number; asked before `missing`."""
        return self._heard > 0 and 0 <= self._heard - seq < RESTART_DISTANCE

    def missing(self, seq: int | None) -> str:
        """What is missing before a message's number, in words; "" if nothing, a repetition, or
        late."""
        if seq is None:
            return ""
        if not self.is_old(seq):
            self._heard = seq
        last, ack = self.last, self._ack
        if seq == last + 1:
            if ack == seq:
                self._acks.use_up = False
            self.last, self._ack = seq, 0
            return ""
        if ack and seq == ack + 1:
            self.last, self._ack = seq, 0
            return self._after_acknowledgement(ack)
        if seq > last or last - seq >= RESTART_DISTANCE:
            self.last, self._ack = seq, 0
            return f"expected {last + 1}, got {seq}"
        return ""

    def acknowledged(self, seq: int | None) -> str:
        """What is missing before an acknowledgement's number, whatever its meaning is."""
        if seq is None:
            return ""
        last, ack = self.last, self._ack
        if ack and seq == ack:
            # Two cannot have used it up.
            self._acks.use_up = False
            return ""
        if ack and seq == ack + 1:
            self.last, self._ack = ack, seq
            return self._after_acknowledgement(ack)
        if seq == last and last:
            self._acks.use_up = False
            return ""
        if seq == last + 1:
            self._ack = seq
            return ""
        if seq > last or last - seq >= RESTART_DISTANCE:
            self.last, self._ack = seq - 1, seq
            return f"expected {last + 1}, got an acknowledgement with {seq}"
        return ""

    def _after_acknowledgement(self, ack: int) -> str:
        """The number of the acknowledgement is in use, or a message of that number is missing."""
        if self._acks.use_up:
            return ""
        detail = f"expected {ack}, which an acknowledgement had, got {ack + 1}"
        if self._acks.use_up is None:
            self._acks.use_up = True
            return f"{detail}; whether acknowledgements use numbers up was not known"
        return detail
