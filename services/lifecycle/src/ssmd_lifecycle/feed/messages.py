"""Lifecycle messages as the service knows them. Pure.

Whatever arrives becomes a message: one whose type or shape is not known is kept as it came and
names no column. A message's `columns` are what it says of its market or event, by the table's
column.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from ssmd_common.models import RejectedField
from ssmd_common.tickers import is_multivariate

MARKET_CHANNEL: Final = "market_lifecycle_v2"
MULTIVARIATE_CHANNEL: Final = "multivariate_market_lifecycle"
MAX_TYPE_CHARACTERS: Final = 32


class Kind(StrEnum):
    """What a message says happened."""

    CREATED = "created"
    ACTIVATED = "activated"
    DEACTIVATED = "deactivated"
    CLOSE_DATE_UPDATED = "close_date_updated"
    DETERMINED = "determined"
    SETTLED = "settled"
    PRICE_LEVEL_STRUCTURE_UPDATED = "price_level_structure_updated"
    METADATA_UPDATED = "metadata_updated"
    EVENT_LIFECYCLE = "event_lifecycle"
    EVENT_FEE_UPDATE = "event_fee_update"
    UNKNOWN = "unknown"


EVENT_KINDS: Final = frozenset({Kind.EVENT_LIFECYCLE, Kind.EVENT_FEE_UPDATE})

# Where two messages of one market bear the same millisecond, its life goes in this order.
_COURSE: Final = {kind: place for place, kind in enumerate(Kind)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a message's body says, before it is joined with the envelope."""

    kind: Kind
    market_ticker: str | None = None
    event_ticker: str | None = None
    series_ticker: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    times: Mapping[str, datetime] = field(default_factory=dict)
    """The moments that the message names, by column of `market_lifecycle_events`."""
    rejected: tuple[RejectedField, ...] = ()
    """Fields that could not be read: they name no column, all others count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleMessage(Parsed):
    """One message as it is kept and applied.

    `kind` is UNKNOWN, and `fault` says why, where the message is only kept; `event_type` is the
    exchange's own even then. `applies` is false for what is kept and not applied: the
    multivariate channel, and the unknown.
    """

    event_type: str
    sent_at: datetime | None = None
    received_at: datetime
    seq: int | None = None
    whole: str
    """The whole message as JSON text."""
    dedupe_key: str
    content_key: str
    """Equal for messages with the same type and body, whenever they were sent."""
    applies: bool = True
    fault: str | None = None

    @property
    def heard_at(self) -> datetime:
        """When the exchange sent it; never later than it arrived."""
        return self.received_at if self.sent_at is None else min(self.sent_at, self.received_at)

    @property
    def order(self) -> tuple[datetime, int, int, str]:
        """Sorts the messages of one ticker as the exchange sent them."""
        return (self.heard_at, self.seq or 0, _COURSE[self.kind], self.dedupe_key)

    @property
    def is_multivariate(self) -> bool:
        """Whether it is about a multivariate market or event, whatever channel it came on."""
        return is_multivariate(self.ticker or "")

    @property
    def ticker(self) -> str | None:
        """Whom it is about."""
        return self.market_ticker or self.event_ticker


class MalformedMessage(ValueError):
    """A message of no known kind, or that does not say readably whom it is about."""
