"""A message of market data on its way to its stream."""

from __future__ import annotations

from datetime import UTC, datetime

from ssmd_stream.publish.outgoing import Outgoing

_NEVER = datetime.min.replace(tzinfo=UTC)


class MarketOutgoing(Outgoing, gc=False):
    """`trade_id` is "" where it is no trade, `moment` is a quote's market and exchange time."""

    received_at: datetime = _NEVER
    trade_id: str = ""
    at: datetime | None = None
    """A trade's: when it was traded, or else when it came."""
    moment: tuple[str, str] = ("", "")
