"""How current and how complete the whole is, in one sentence: "current as of T, complete since S".

Pure. The way from the exchange to a reader has four legs, and each tells of its own moment:

- exchange: lifecycle listens, so up to its last word nothing that the exchange said was missed; a
  lifecycle that does not listen vouches only for the last message, and sync for its last run.
- commit: what was heard is committed. PostgreSQL answers, so this is now, less what lifecycle lags.
- stream: cdc has the acknowledgement of the stream for all that was committed up to then.
- redis: cache has applied the stream up to then.

T is the earliest of the four: whatever happened at the exchange before T is where readers look.

S is since when there has been no hole: the first full sync had succeeded, and no gap of lifecycle
has been open. While one is open, or lifecycle does not work, the whole is incomplete since then.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from ssmd_common.parts import Known, Part, Process, parts_of

_OF_A_PROCESS: Final = (
    "instance",
    "state",
    "ready",
    "version",
    "started_at",
    "age_seconds",
    "memory_bytes",
)


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """`as_of` is None where the service does not know; `why` then says so. `position` is what it
    has reached, by names of its own."""

    as_of: datetime | None
    why: str | None = None
    position: dict[str, Any] = {}


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """`ready`: every service works. `problems` are sentences about what does not, or is degraded.

    Exactly one of `complete_since` and `incomplete_why` is set; `incomplete_since` may be unknown.
    """

    ready: bool
    sentence: str
    current_as_of: datetime | None
    complete_since: datetime | None
    incomplete_since: datetime | None
    incomplete_why: str | None
    legs: dict[str, Leg]
    problems: list[str]


def whole_of(known: Known, parts: Sequence[Part]) -> Whole:
    """What holds for all of them together."""
    by_name = {part.name: part for part in parts}
    lifecycle = by_name["lifecycle"]
    legs = {
        "exchange": _exchange(known, lifecycle),
        "commit": _commit(known, lifecycle),
        "stream": _follows(by_name["cdc"]),
        "redis": _follows(by_name["cache"]),
    }
    moments = [leg.as_of for leg in legs.values()]
    as_of = None if None in moments else min(at for at in moments if at is not None)
    complete_since, incomplete_since, incomplete_why = _completeness(known, lifecycle)
    if as_of is None:
        unknown = ", ".join(f"{name} ({leg.why})" for name, leg in legs.items() if not leg.as_of)
        current = f"how current it is, is not known: {unknown}"
    else:
        current = f"current as of {_time(as_of)}"
    if complete_since is not None:
        complete = f"complete since {_time(complete_since)}"
    else:
        since = f" since {_time(incomplete_since)}" if incomplete_since else ""
        complete = f"incomplete{since}: {incomplete_why}"
    return Whole(
        ready=all(part.ready for part in parts),
        sentence=f"{current}, {complete}",
        current_as_of=as_of,
        complete_since=complete_since,
        incomplete_since=incomplete_since,
        incomplete_why=incomplete_why,
        legs=legs,
        problems=[f"{part.name}: {part.note}" for part in parts if part.note],
    )


def document(known: Known) -> dict[str, Any]:
    """All of it for programs, as `GET /v1/status` and `ssmd status --json` show it."""
    parts = parts_of(known)
    whole = whole_of(known, parts)
    return {
        "now": known.now,
        **msgspec.structs.asdict(whole),
        "services": {part.name: _part(part) for part in parts},
    }


def _part(part: Part) -> dict[str, Any]:
    speaker = None if part.speaker is None else msgspec.structs.asdict(part.speaker)
    return {
        **dict.fromkeys(Process.__struct_fields__),
        **(speaker or {"reasons": {}, "degraded": {}, "position": {}}),
        "service": part.name,
        # Of the service, whoever speaks for it.
        "state": part.state,
        "ready": part.ready,
        "note": part.note,
        "starts_last_hour": part.starts_last_hour,
        "processes": [
            {name: getattr(row, name) for name in _OF_A_PROCESS} for row in part.processes
        ],
    }


def _exchange(known: Known, lifecycle: Part) -> Leg:
    position: dict[str, Any] = {
        "last_message_at": known.last_message_at,
        "last_sync_at": known.last_sync_at,
    }
    speaker = lifecycle.speaker
    if lifecycle.ready and speaker is not None and speaker.position.get("listening"):
        return Leg(as_of=speaker.updated_at, position=position)
    seen = [at for at in (known.last_message_at, known.last_sync_at) if at is not None]
    if not seen:
        return Leg(as_of=None, why="nothing was heard or read yet", position=position)
    return Leg(as_of=max(seen), why="lifecycle does not listen", position=position)


def _commit(known: Known, lifecycle: Part) -> Leg:
    speaker = lifecycle.speaker
    lag = (speaker.lag_seconds or 0.0) if speaker is not None and lifecycle.ready else 0.0
    # Readings of this database: what is committed is what was just read.
    return Leg(as_of=known.now - timedelta(seconds=lag))


def _follows(part: Part) -> Leg:
    speaker = part.speaker
    if speaker is None:
        return Leg(as_of=None, why=part.note)
    position = speaker.position
    # Once it is not ready for another reason than its lag, what it last said of the lag is old.
    if speaker.lag_seconds is not None and (speaker.works or set(speaker.reasons) == {"lag"}):
        as_of = speaker.updated_at - timedelta(seconds=speaker.lag_seconds)
        return Leg(as_of=as_of, why=part.note, position=position)
    committed = _moment(position.get("commit_time"))
    silent = None if committed else f"{part.name} has not said how far it is"
    return Leg(as_of=committed, why=part.note or silent, position=position)


def _completeness(
    known: Known, lifecycle: Part
) -> tuple[datetime | None, datetime | None, str | None]:
    """Complete since, or incomplete since and why."""
    if known.full_sync_at is None:
        return None, None, "no full sync has succeeded yet"
    if known.gaps:
        first = known.gaps[0]
        return None, first.began_at, f"a gap ({first.reason}) is not repaired yet"
    if not lifecycle.ready:
        speaker = lifecycle.speaker
        since = known.last_message_at
        if speaker is not None and speaker.works and not speaker.alive:
            # It listened up to its last word.
            since = max(filter(None, (since, speaker.updated_at)))
        return None, since, f"lifecycle is not ready ({lifecycle.note})"
    return max(filter(None, (known.full_sync_at, known.repaired_at))), None, None


def _moment(value: object) -> datetime | None:
    """A time of a position: RFC 3339 text, or seconds since 1970."""
    try:
        match value:
            case str():
                found = datetime.fromisoformat(value)
                return found if found.tzinfo else found.replace(tzinfo=UTC)
            case int() | float():
                return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
