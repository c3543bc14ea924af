"""The life of a market as a line of steps: what happened when, and what is still to come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from ssmd_cli.table import shorten

_WORDS: Final = {
    "created": "created",
    "opened": "opened",
    "activated": "activated",
    "deactivated": "paused",
    "closed": "closed",
    "determined": "determined",
    "settled": "settled",
    "turned_back": "turned back",
}
# The column that says when a step is planned, the lifecycle's own word for it, and how it is said
# before and after.
_PLANNED: Final = (
    ("open_time", "opened", "opens", "opened"),
    ("close_time", "closed", "closes", "closed"),
    ("expected_expiration_time", "determined", "result expected", ""),
    ("latest_expiration_time", "determined", "expires", ""),
    ("settled_time", "settled", "settles", "settled"),
)
# A message and the column that plans it differ by the moments between the two.
_SAME: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Step:
    """`what` is a word or two in the past for what is `done`, else in the present."""

    at: datetime
    what: str
    done: bool
    detail: str = ""


def steps_of(market: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> list[Step]:
    """What the lifecycle's rows say, and what only the market's own times say, by time."""
    steps = [step for event in events if (step := _happened(event)) is not None]
    said = {str(event.get("event_type")): step for event, step in _paired(events)}
    is_over = market.get("status") == "settled" or "determined" in said
    for column, kind, before, after in _PLANNED:
        at = _moment(market.get(column))
        if at is None:
            continue
        told = said.get(kind)
        if told is not None and (not after or abs(told.at - at) < _SAME or column != "close_time"):
            continue
        done = bool(after) and _is_past(market, kind)
        if not done and is_over:
            continue
        detail = f"result {market['result']}" if kind == "settled" and market.get("result") else ""
        steps.append(Step(at, after if done else before, done, detail))
    return sorted(steps, key=lambda step: (step.at, not step.done))


def draw(steps: Sequence[Step], now: datetime, width: int | None) -> list[str]:
    """A line for each step: ● done, ○ to come; how long after the one before, or from now."""
    if not steps:
        return []
    wide = max(len(step.what) for step in steps)
    lines = []
    before: datetime | None = None
    for step in steps:
        parts = [step.detail] if step.detail else []
        if step.done:
            if before is not None and step.at > before:
                parts.insert(0, f"{duration(step.at - before)} later")
            before = step.at
        elif step.at > now:
            parts.insert(0, f"in {duration(step.at - now)}")
        else:
            parts.insert(0, f"{duration(now - step.at)} overdue")
        dot = "●" if step.done else "○"
        line = f"{dot} {step.at:%Y-%m-%d %H:%M:%S}  {step.what:<{wide}}  {', '.join(parts)}"
        lines.append(line.rstrip() if width is None else shorten(line.rstrip(), width))
    return [f"life (UTC, now {now:%H:%M:%S})", *lines]


def duration(time: timedelta) -> str:
    """In the two units that matter: 3 d 4 h, 5 min, 12 s."""
    seconds = int(time.total_seconds())
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for at, (name, size) in enumerate(units):
        if seconds < size:
            continue
        count, rest = divmod(seconds, size)
        smaller, by = units[at + 1] if at + 1 < len(units) else ("", 1)
        more = f" {rest // by} {smaller}" if smaller and rest // by and count < 10 else ""
        return f"{count} {name}{more}"
    return "0 s"


def _paired(events: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Step]]:
    found = [(event, _happened(event)) for event in events]
    return [(event, step) for event, step in found if step is not None]


def _happened(event: Mapping[str, Any]) -> Step | None:
    kind = str(event.get("event_type"))
    own = {"settled": "settled_ts", "determined": "determined_ts"}.get(kind, "sent_at")
    at = next(
        filter(None, (_moment(event.get(name)) for name in (own, "sent_at", "received_at"))), None
    )
    if at is None:
        return None
    details = [f"result {event['result']}"] if event.get("result") else []
    metadata = event.get("metadata")
    if isinstance(metadata, Mapping) and (source := metadata.get("source")) is not None:
        details.append("by the clock" if source == "clock" else "found over REST")
    return Step(at, _WORDS.get(kind, kind.replace("_", " ")), True, ", ".join(details))


def _is_past(market: Mapping[str, Any], kind: str) -> bool:
    status = market.get("status")
    match kind:
        case "opened":
            return status in ("active", "closed", "settled")
        case "closed":
            return status in ("closed", "settled")
        case "settled":
            return status == "settled"
        case _:
            return False


def _moment(spelling: Any) -> datetime | None:
    """None for what is no time that Python can hold."""
    if not isinstance(spelling, str):
        return None
    try:
        return datetime.fromisoformat(spelling)
    except ValueError:
        return None
