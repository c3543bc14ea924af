"""What is published in the place of a message that is larger than NATS takes. Pure."""

from __future__ import annotations

from typing import Final

from ssmd_connector.outgoing import MarketOutgoing
from ssmd_stream.market.messages import UnreadableMessage, decoded, encoded

_HEAD: Final = 1024
"""Bytes that are left for what stands beside the frame's own."""


def cut(message: MarketOutgoing, limit: int, subject: str) -> MarketOutgoing:
    """An unreadable message with the beginning of what was to be published, on `subject`, of at
    most `limit` bytes; it counts as the one that it stands for."""
    was = decoded(message.payload)
    channel, raw = message.type, message.payload
    if isinstance(was, UnreadableMessage):
        channel, raw = was.of_channel or "", was.raw
    said = UnreadableMessage(
        v=was.v,
        connector=was.connector,
        session=was.session,
        frame=was.frame,
        received_at=was.received_at,
        reason=f"too large: {len(message.payload)} bytes, and NATS takes {limit} (max_payload); "
        "this is its beginning",
        of_channel=channel or None,
        sid=getattr(was, "sid", None),
        seq=getattr(was, "seq", None),
        # In base64 it is a third longer.
        raw=raw[: (limit - _HEAD) // 4 * 3],
    )
    return MarketOutgoing(
        message.id,
        subject,
        "unreadable",
        encoded(said),
        message.received_at,
        message.trade_id,
        message.at,
        message.moment,
    )
