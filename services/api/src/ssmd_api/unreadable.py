"""Messages of the change stream that cannot be read: judged once, counted, named in the log.

Anyone who may publish can put one there, and PostgreSQL holds values that no reader's JSON does. A
subscriber is told of such a message and gets what comes after it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import structlog

from ssmd_api.metrics import UNREADABLE
from ssmd_stream import change
from ssmd_stream.errors import UnreadableMessage

if TYPE_CHECKING:
    from ssmd_stream.delivery import Delivery

log = structlog.get_logger(__name__)

_REMEMBERED: Final = 10_000

# A sequence alone would be taken for the same one of a stream that was made anew.
_Place = tuple[int, float]


class Unreadable:
    """Judges messages for all readers: each is decoded, and told of, once."""

    def __init__(self) -> None:
        self._judged: OrderedDict[_Place, str | None] = OrderedDict()
        self._last: tuple[int, str] | None = None

    def why(self, message: Delivery) -> str | None:
        """Why a message cannot be read, for its readers; None if it can."""
        place = message.sequence, message.stored_at
        if place in self._judged:
            return self._judged[place]
        reason = _fault(message.payload)
        self._judged[place] = reason
        while len(self._judged) > _REMEMBERED:
            self._judged.popitem(last=False)
        if reason is not None:
            UNREADABLE.inc()
            self._last = place[0], message.subject
            log.warning(
                "message of the stream passed over",
                sequence=place[0],
                subject=message.subject,
                reason=reason,
            )
        return reason

    def degraded(self, first_sequence: int) -> str | None:
        """What an operator should look at while the stream, which begins there, still has one."""
        if self._last is None or self._last[0] < first_sequence:
            return None
        sequence, subject = self._last
        return f"message {sequence} of the stream ({subject}) cannot be read and was passed over"


def _fault(data: bytes) -> str | None:
    try:
        change.decode(data)
    except UnreadableMessage as error:
        return str(error)
    return None
