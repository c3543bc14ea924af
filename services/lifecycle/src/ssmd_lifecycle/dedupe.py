"""When two messages are one (docs/contracts.md § 1, dedupe_key). Pure.

A message that bears `sending_ts_ms` is its canonical type, body and that time: one that is sent
again, over another connection or to another replica, is the same. Without the time, the same words
may rightly come twice (a pause, then another), so such a message is a duplicate only of the last
one stored for its ticker.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

_sorted: Final = msgspec.json.Encoder(order="sorted")


def content_key(envelope_type: str, body: Mapping[str, Any]) -> str:
    """The same for every message with this type and body."""
    return _digest([envelope_type, body])


def dedupe_key(
    envelope_type: str,
    body: Mapping[str, Any],
    sending_ts_ms: float | None,
    received_at: datetime,
) -> str:
    """The unique key of a message's row; its time of arrival stands in for a time of sending."""
    if sending_ts_ms is not None:
        return _digest([envelope_type, body, sending_ts_ms])
    return _digest([envelope_type, body, None, received_at.isoformat()])


def clock_key(ticker: str, kind: str, at: datetime) -> str:
    """The key of a transition that the clock made: once for a market and a time."""
    return _digest(["clock", {"event_type": kind, "market_ticker": ticker, "at": at.isoformat()}])


def rest_key(ticker: str, kind: str, at: datetime | None) -> str:
    """The key of a transition that only REST reported."""
    moment = at and at.isoformat()
    return _digest(["rest", {"event_type": kind, "market_ticker": ticker, "at": moment}])


def _digest(value: object) -> str:
    return hashlib.sha256(_sorted.encode(value)).hexdigest()
