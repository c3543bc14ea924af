"""Rows of `market_lifecycle_events` for transitions that no message announced. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from ssmd_store.states import LifecycleRow


def row(
    source: Literal["clock", "rest"],
    event_type: str,
    market_ticker: str,
    event_ticker: str,
    at: datetime | None,
    *,
    now: datetime,
    dedupe_key: str,
    of: str | None = None,
    result: str | None = None,
    body: Mapping[str, Any] | None = None,
    beside: Mapping[str, Any] | None = None,
) -> LifecycleRow:
    """A transition `at` a time, as `source` found it.

    `of` is the transition whose time it is, if another. `metadata` looks like a message's, with
    the source, and more in the `body` and `beside` it.
    """
    message = {
        "event_type": event_type,
        "market_ticker": market_ticker,
        "event_ticker": event_ticker,
        "at": at,
        **({"result": result} if result is not None else {}),
        **(body or {}),
    }
    document = {"source": source, "msg": message, **(beside or {})}
    of = of or event_type
    return LifecycleRow(
        market_ticker=market_ticker,
        event_ticker=event_ticker,
        event_type=event_type,
        open_ts=at if of == "opened" else None,
        close_ts=at if of == "closed" else None,
        settled_ts=at if of == "settled" else None,
        result=result,
        metadata=msgspec.Raw(msgspec.json.encode(document)),
        received_at=now,
        dedupe_key=dedupe_key,
    )
