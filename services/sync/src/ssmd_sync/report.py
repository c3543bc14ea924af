"""What a run did: its counts, what it set aside, how it ended."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec

from ssmd_common.exitcodes import ExitCode
from ssmd_kalshi.pages import SetAside
from ssmd_sync.scope import Scope
from ssmd_sync.written import Count, Written

KEPT = 1000
"""Rows set aside that `sync_runs` keeps with their reason; all are counted."""

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
    set_aside: list[SetAside] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Why a sweep was refused, one sentence each."""
    incomplete: list[str] = field(default_factory=list)
    """Why absence proves nothing this time."""
    idle: list[str] = field(default_factory=list)
    """Words of the scope that select nothing, one sentence each."""
    error: str | None = None
    upstream: bool = False
    """Whether the error is the exchange's or the database's and may pass."""
    finished_at: datetime | None = None

    def read(self, table: str, rows: int) -> None:
        self.fetched[table] = self.fetched.get(table, 0) + rows

    def wrote(self, table: str, result: Written) -> None:
        self.written.setdefault(table, Written()).add(result)
        self.set_aside += result.set_aside

    def total(self, what: Count) -> int:
        return sum(getattr(result, what) for result in self.written.values())

    @property
    def outcome(self) -> Outcome:
        if self.error is not None:
            return "failed"
        if self.refused:
            return "refused"
        return "partial" if self.set_aside or self.incomplete else "ok"

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

    def set_aside_json(self) -> str:
        kept = [{"ticker": row.ticker, "reason": row.reason} for row in self.set_aside[:KEPT]]
        if len(self.set_aside) > KEPT:
            kept.append({"ticker": None, "reason": f"and {len(self.set_aside) - KEPT} more"})
        return msgspec.json.encode(kept).decode()
