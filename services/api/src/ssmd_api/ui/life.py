"""A market's life as a line of steps: what was told of it, and what is still to come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ssmd_api.rows import Row, nearest
from ssmd_common.times import is_time

_WORDS: Final = {
    "created": "created",
    "opened": "opened",
    "activated": "goes on",
    "deactivated": "paused",
    "close_date_updated": "closing time moved",
    "closed": "closed",
    "determined": "determined",
    "settled": "settled",
    "metadata_updated": "description changed",
    "price_level_structure_updated": "ticks changed",
    "event_lifecycle": "created",
    "event_fee_update": "fee changed",
}
_TO_COME: Final = (
    ("open_time", "opens"),
    ("close_time", "closes"),
    ("expected_expiration_time", "is expected to be determined"),
    ("latest_expiration_time", "is determined at the latest"),
)
_BY_ITS_TIMES: Final = (
    ("open_time", "opened"),
    ("close_time", "closed"),
    ("settled_time", "settled"),
)

_MOMENT: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Step:
    at: str
    words: str
    source: str
    """ws, clock or rest; "times" where only the market's own times say so; empty where nobody has
    to."""
    kind: str = ""
    detail: str = ""
    is_seen: bool = False
    """`at` is when it was seen, which is later than when it was."""


def steps(market: Row, log: Sequence[Row], now: datetime) -> tuple[list[Step], list[Step]]:
    """What has been, in order, and what is to come."""
    told = [_told(row) for row in log]
    kinds = {step.kind for step in told}
    if "created" not in kinds:
        made = (market["extra"] or {}).get("created_time")
        if isinstance(made, str) and is_time(made):
            told.append(Step(made, "created", "times", "created"))
        else:
            told.append(Step(market["created_at"], "first seen here", "", "created"))
    for column, kind in _BY_ITS_TIMES:
        at = market[column]
        if kind not in kinds and at is not None and nearest(at) <= now and not _over(market, kind):
            told.append(Step(at, kind, "times", kind))
    told = _in_order(told)
    if market["status"] == "settled":
        return told, []
    coming = [
        Step(market[column], words, "")
        for column, words in _TO_COME
        if market[column] is not None and nearest(market[column]) > now
    ]
    return told, sorted(coming, key=lambda step: nearest(step.at))


def steps_of_event(event: Row, log: Sequence[Row]) -> list[Step]:
    """What was told of the event itself, in order; without a word of its creation, when it was
    first seen."""
    told = [_told(row) for row in log]
    if not any(step.kind == "event_lifecycle" for step in told):
        told.append(Step(event["created_at"], "first seen here", "", "created"))
    return sorted(told, key=lambda step: nearest(step.at))


def _in_order(told: list[Step]) -> list[Step]:
    """By time; but REST says that a market is determined, not since when, and may do so after it
    was settled."""
    settled = min((nearest(step.at) for step in told if step.kind == "settled"), default=None)

    def key(step: Step) -> datetime:
        at = nearest(step.at)
        return at if settled is None or not step.is_seen else min(at, settled - _MOMENT)

    return sorted(told, key=key)


def _over(market: Row, kind: str) -> bool:
    """Whether a time has passed and yet did not come true."""
    return kind == "closed" and market["status"] in ("open", "active")


def _told(row: Row) -> Step:
    metadata = row["metadata"] if isinstance(row["metadata"], Mapping) else {}
    message = metadata.get("msg")
    said = message.get("at") if isinstance(message, Mapping) else None
    at = said if isinstance(said, str) and is_time(said) else row["sent_at"]
    kind = row["event_type"]
    return Step(
        at or row["received_at"],
        _WORDS.get(kind, kind.replace("_", " ")),
        str(metadata.get("source") or "ws"),
        kind,
        row["result"] or "",
        is_seen=at is None,
    )
