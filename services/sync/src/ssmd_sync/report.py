"""What a run did: its counts, what it rejected, what it covers, how it ended."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import msgspec

from ssmd_common.exitcodes import ExitCode
from ssmd_common.models import RejectedRow
from ssmd_common.times import spelled_moment
from ssmd_store.written import Count, RejectedIn, Written
from ssmd_sync import metrics
from ssmd_sync.scope import Scope

KEPT = 1000
"""Rows and fields rejected that `sync_runs` keeps with their reason; all are counted."""

Outcome = Literal["ok", "partial", "refused", "failed"]


@dataclass(slots=True)
class Report:
    """Grows while a run goes on; `progress` callers see it in between."""

    job: str
    scope: Scope
    started_at: datetime
    tracked: int = 0
    """Series in scope."""
    planned_requests: int = 0
    requests: int = 0
    tokens: int = 0
    fetched: dict[str, int] = field(default_factory=dict)
    written: dict[str, Written] = field(default_factory=dict)
    rejected_rows: list[RejectedRow] = field(default_factory=list)
    rejected: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """Table, ticker and name of fields that rows were written without: why; the first `KEPT`."""
    more_rejected: int = 0
    """Beyond those."""
    unread: set[str] = field(default_factory=set)
    """Markets, or events with all their markets, that the run was to read and did not."""
    covers: bool = False
    """Whether it read its whole scope, but for `unread`."""
    refused: list[str] = field(default_factory=list)
    """Why a sweep was refused, one sentence each."""
    incomplete: list[str] = field(default_factory=list)
    """Why absence proves nothing this time."""
    idle: list[str] = field(default_factory=list)
    """Words of the scope that select nothing, one sentence each."""
    error: str | None = None
    upstream: bool = False
    """Whether the error is the exchange's or the database's and may pass."""
    of_clock: bool = False
    """Whether it is that our clock and the database's differ."""
    recorded: bool = False
    """Whether `sync_runs` has what became of it; a database without room may not take it."""
    finished_at: datetime | None = None

    def read(self, table: str, rows: int) -> None:
        self.fetched[table] = self.fetched.get(table, 0) + rows

    def wrote(self, table: str, result: Written) -> None:
        metrics.rows(table, result)
        rejected, result.rejected = result.rejected, []
        for each in rejected:
            self.rejects(table, each)
        self.written.setdefault(table, Written()).add(result)
        self.rejected_rows += result.rejected_rows
        if table in ("markets", "events"):
            self.unread.update(row.ticker for row in result.rejected_rows if row.ticker)

    def rejects(self, table: str, rejected: RejectedIn) -> None:
        """A field of a row that was written without it, counted once for the run."""
        key = (table, rejected.ticker, rejected.field.field)
        if key in self.rejected:
            return
        if len(self.rejected) < KEPT:
            self.rejected[key] = rejected.field.reason
        else:
            self.more_rejected += 1

    @property
    def rejected_count(self) -> int:
        return len(self.rejected) + self.more_rejected

    def covered_but_for(self) -> list[str] | None:
        """What of its scope the run did not read; None where nothing can be said of the rest."""
        if not self.covers or self.error is not None or len(self.unread) > KEPT:
            return None
        return sorted(self.unread)

    def total(self, what: Count) -> int:
        return sum(getattr(result, what) for result in self.written.values())

    @property
    def outcome(self) -> Outcome:
        if self.error is not None:
            return "failed"
        if self.refused:
            return "refused"
        return "partial" if self.rejected_rows or self.incomplete else "ok"

    @property
    def exit_code(self) -> ExitCode:
        match self.outcome:
            case "ok":
                return ExitCode.OK
            case "partial" | "refused":
                return ExitCode.PARTIAL
            case "failed":
                return ExitCode.UPSTREAM if self.upstream else ExitCode.FAILED

    @property
    def sentence(self) -> str | None:
        """What an operator should know of it."""
        doubts = [f"{why}, so nothing is taken for deleted" for why in set(self.incomplete)]
        return self.error or "; ".join([*self.refused, *sorted(doubts)]) or None

    @property
    def seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else 0.0

    def summary(self) -> dict[str, Any]:
        """What whoever asked for the run is told."""
        counts: tuple[Count, ...] = ("inserted", "updated", "unchanged", "deleted")
        return {
            "job": self.job,
            "outcome": self.outcome,
            "message": self.sentence,
            "started_at": spelled_moment(self.started_at),
            "finished_at": self.finished_at and spelled_moment(self.finished_at),
            "requests": self.requests,
            "tokens": self.tokens,
            "fetched": sum(self.fetched.values()),
            **{count: self.total(count) for count in counts},
            "rejected_rows": len(self.rejected_rows),
            "rejected_fields": self.rejected_count,
        }

    def rejected_rows_json(self) -> str:
        kept = [{"ticker": row.ticker, "reason": row.reason} for row in self.rejected_rows[:KEPT]]
        if len(self.rejected_rows) > KEPT:
            kept.append({"ticker": None, "reason": f"and {len(self.rejected_rows) - KEPT} more"})
        return msgspec.json.encode(kept).decode()

    def rejected_fields(self) -> list[dict[str, str | None]]:
        """The rejected fields, and how many there are beside."""
        kept: list[dict[str, str | None]] = [
            {"table": table, "ticker": ticker, "field": name, "reason": reason}
            for (table, ticker, name), reason in self.rejected.items()
        ]
        if self.more_rejected:
            more = f"and {self.more_rejected} more"
            kept.append({"table": None, "ticker": None, "field": None, "reason": more})
        return kept

    def rejected_fields_json(self) -> str:
        return msgspec.json.encode(self.rejected_fields()).decode()
