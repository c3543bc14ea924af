"""How lifecycle stands, from its tables, for `ssmd lifecycle status`."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg.rows import class_row
from pydantic import SecretStr

from ssmd_cli import facts
from ssmd_cli.lifecycle_tail import queries
from ssmd_common.connections import postgres
from ssmd_common.leader import lock_key
from ssmd_lifecycle.settings import LOCK


class Gap(msgspec.Struct, frozen=True):
    """An interval in which messages may have been missed; `changed` is what its repair wrote."""

    reason: str
    began_at: datetime
    ended_at: datetime | None
    repaired_at: datetime | None
    changed: int | None


class Status(msgspec.Struct, frozen=True):
    """`problems` are sentences; empty if all is well."""

    has_leader: bool
    last_message_at: datetime | None
    last_turn_at: datetime | None
    next_due_at: datetime | None
    overdue: int
    unrepaired_gaps: int
    last_hour: dict[str, int]
    gaps: list[Gap]
    problems: list[str]


async def look(url: SecretStr) -> Status:
    """Read it; UpstreamUnavailable where PostgreSQL does not answer."""
    space, key = lock_key(LOCK)
    connection = await postgres.connect(url, "ssmd-lifecycle-status", budget_seconds=5)
    async with connection:
        cursor = await connection.execute(
            queries.summary, {"space": space & 0xFFFFFFFF, "key": key & 0xFFFFFFFF}
        )
        row: Any = await cursor.fetchone()
        message_at, turn_at, due_at, overdue, unrepaired, has_leader = row
        counts = await (await connection.execute(queries.last_hour)).fetchall()
        async with connection.cursor(row_factory=class_row(Gap)) as reader:
            gaps = await (await reader.execute(queries.last_gaps)).fetchall()
    problems = []
    if not has_leader:
        problems.append("no replica of lifecycle leads: start the service")
    if overdue:
        problems.append(f"{overdue} markets are past their close_time and not closed")
    if unrepaired:
        problems.append(f"{unrepaired} gaps are not repaired yet: is REST reachable?")
    return Status(
        has_leader=has_leader,
        last_message_at=message_at,
        last_turn_at=turn_at,
        next_due_at=due_at,
        overdue=overdue,
        unrepaired_gaps=unrepaired,
        last_hour=dict(counts),
        gaps=gaps,
        problems=problems,
    )


def show(found: Status) -> None:
    """A line for each fact on stdout, what is wrong on stderr."""
    shown = []
    shown.append(("leader", "yes" if found.has_leader else "none"))
    shown.append(("last message", _ago(found.last_message_at)))
    shown.append(("last turn of the clock", _ago(found.last_turn_at)))
    shown.append(("next due", "nothing" if found.next_due_at is None else _time(found.next_due_at)))
    hour = ", ".join(f"{kind} {count:,}" for kind, count in found.last_hour.items())
    shown.append(("last hour", hour or "nothing"))
    for gap in found.gaps:
        state = "not repaired" if gap.repaired_at is None else f"repaired, {gap.changed} changed"
        end = "now" if gap.ended_at is None else f"{gap.ended_at.astimezone(UTC):%H:%M:%S}"
        shown.append(("gap", f"{_time(gap.began_at)} to {end}, {gap.reason}: {state}"))
    facts.show(shown, found.problems)


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _ago(at: datetime | None) -> str:
    if at is None:
        return "none yet"
    seconds = (datetime.now(UTC) - at).total_seconds()
    return f"{_time(at)}, {seconds:,.0f} s ago"
