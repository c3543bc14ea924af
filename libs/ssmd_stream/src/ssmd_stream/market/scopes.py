"""Which markets a connector's scope left out, from the records of its sessions. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ssmd_common.tickers import is_multivariate
from ssmd_stream.market.messages import SessionRecord


@dataclass(slots=True)
class Scope:
    """What held from one record on; `until` is None while no other one follows in its session."""

    since: int
    said: tuple[list[dict[str, Any]] | None, bool]
    """Selectors, and whether multivariate markets are published."""
    left_out: set[str] = field(default_factory=set)
    until: int | None = None

    def leaves_out(self, ticker: str) -> bool:
        """Whether nothing of a market was published."""
        if is_multivariate(ticker) and not self.said[1]:
            return True
        return ticker in self.left_out


class Scopes:
    """Those of one session, one after the other; none where its connector does not tell."""

    def __init__(self) -> None:
        self._all: list[Scope] = []

    def take(self, record: SessionRecord, at: int) -> None:
        """A record `scope` or `left_out`."""
        if record.what == "scope":
            said = (record.selectors, bool(record.multivariate))
            last = self._all[-1] if self._all else None
            if last is not None and last.until is None and last.said == said:
                # It is told again: by whoever took over.
                last.since = min(last.since, at)
                return
            self.end(at)
            self._all.append(Scope(at, said))
        elif self._all:
            self._all[-1].left_out.update(record.tickers or ())

    def end(self, at: int) -> None:
        """The session ended, or another scope holds."""
        if self._all and self._all[-1].until is None:
            self._all[-1].until = at

    def at(self, moment: int) -> Scope | None:
        """The one that held then."""
        held = [s for s in self._all if s.since <= moment and (s.until is None or moment < s.until)]
        return held[-1] if held else None

    def without(self, ticker: str) -> list[Scope]:
        """Those that leave a market out."""
        return [scope for scope in self._all if scope.leaves_out(ticker)]
