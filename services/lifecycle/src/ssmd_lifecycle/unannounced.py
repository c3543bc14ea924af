"""Transitions that no message announced, and their rows of `market_lifecycle_events`. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

from ssmd_common.models import LifecycleRow

Source = Literal["clock", "rest"]


@dataclass(frozen=True, slots=True)
class Transition:
    """A step of one market's life, `at` a time if that is known."""

    kind: StrEnum
    ticker: str
    event_ticker: str
    at: datetime | None

    def _row(
        self,
        source: Source,
        now: datetime,
        dedupe_key: str,
        *,
        event_type: str | None = None,
        body: Mapping[str, Any] | None = None,
        **beside: Any,
    ) -> LifecycleRow:
        """As `source` found it. `metadata` looks like a message's: the source, more in the `body`,
        and more `beside` it."""
        event_type = event_type or self.kind.value
        message = {
            "event_type": event_type,
            "market_ticker": self.ticker,
            "event_ticker": self.event_ticker,
            "at": self.at,
            **(body or {}),
        }
        return LifecycleRow(
            market_ticker=self.ticker,
            event_ticker=self.event_ticker,
            event_type=event_type,
            open_ts=self.at if self.kind == "opened" else None,
            close_ts=self.at if self.kind == "closed" else None,
            settled_ts=self.at if self.kind == "settled" else None,
            result=message.get("result"),
            metadata=msgspec.Raw(msgspec.json.encode({"source": source, "msg": message, **beside})),
            received_at=now,
            dedupe_key=dedupe_key,
        )
