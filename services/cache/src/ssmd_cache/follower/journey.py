"""How long it takes from the exchange to a subscriber, as this subscriber of the stream sees it.

Measured with what passes by: each message about the market's lifecycle bears the exchange's own
time, `sent_at`. Rows of a re-announcement are no news, and messages without that time say nothing.
"""

import statistics
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from ssmd_cache.metrics import EXCHANGE_TO_SUBSCRIBER
from ssmd_common.health import Health
from ssmd_stream.delivery import Delivery

_KEPT: Final = 256
# What begins every message of that table; most others need not be decoded to be left out.
_OF_THE_TABLE: Final = b'"market_lifecycle_events"'


class _Data(msgspec.Struct):
    sent_at: datetime | None = None


class _News(msgspec.Struct):
    table: str
    op: str
    xid: int | None = None
    data: _Data | None = None


_decoder: Final = msgspec.json.Decoder(_News)


class Journey:
    """Observes deliveries as they come; the latest ones are told as the service's position."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._seconds: deque[float] = deque(maxlen=_KEPT)

    def saw(self, batch: Sequence[Delivery]) -> None:
        """A batch has just arrived."""
        now = datetime.now(UTC)
        measured = [
            max(0.0, (now - sent_at).total_seconds())
            for delivery in batch
            if (sent_at := _sent_at(delivery.payload)) is not None
        ]
        if not measured:
            return
        for seconds in measured:
            EXCHANGE_TO_SUBSCRIBER.observe(seconds)
        self._seconds.extend(measured)
        self._health.position["exchange_to_subscriber_seconds"] = {
            "median": round(statistics.median(self._seconds), 3),
            "longest": round(max(self._seconds), 3),
            "messages": len(self._seconds),
            "last_at": now,
        }


def _sent_at(payload: bytes) -> datetime | None:
    if _OF_THE_TABLE not in payload:
        return None
    try:
        news = _decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError):
        # What cannot be read is for those who apply it to tell of.
        return None
    if news.table != "market_lifecycle_events" or news.op != "insert" or news.xid is None:
        return None
    sent_at = news.data.sent_at if news.data is not None else None
    # Without a zone it would be no moment.
    return sent_at if sent_at is None or sent_at.tzinfo else None
