"""Which trades the stream has, of the last minutes: so that a repair publishes what is missing."""

from __future__ import annotations

from datetime import datetime

import msgspec

from ssmd_stream.market.messages import decoded
from ssmd_stream.reader import reading
from ssmd_stream.stream import Stream

MOST = 500_000
"""Trades that are remembered, about 100 bytes each."""

_BATCH, _WAIT_SECONDS = 1000, 0.5


class Seen:
    """Ids of trades; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}
        self.last: datetime | None = None
        """When the last message of the stream came, before this process."""

    def __contains__(self, trade_id: str) -> bool:
        return trade_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, trade_id: str) -> None:
        """The stream has it, or will."""
        self._ids[trade_id] = None
        if len(self._ids) > MOST:
            del self._ids[next(iter(self._ids))]

    async def read(self, stream: Stream, since: datetime) -> None:
        """Take in what the stream holds from `since` on.

        Raises:
            As `ssmd_stream.reader.reading` and `Reader.batch`.
        """
        info = await stream.info()
        first = await stream.first_where(lambda message: message.stored_at >= since)
        if first > info.last_sequence:
            return
        async with reading(stream, first) as reader:
            while reader.next_sequence <= info.last_sequence:
                for delivery in await reader.batch(_BATCH, _WAIT_SECONDS):
                    self._note(delivery.payload)

    def _note(self, payload: bytes) -> None:
        try:
            message = decoded(payload)
        except (ValueError, msgspec.MsgspecError):
            return
        self.last = datetime.fromisoformat(message.received_at)
        trade_id = getattr(message, "trade_id", None)
        if trade_id:
            self.add(trade_id)
