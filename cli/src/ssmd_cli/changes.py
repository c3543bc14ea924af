"""Changes for a person: which are wanted, and each on a line."""

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rich.text import Text

from ssmd_cli import output
from ssmd_common.errors import ConfigurationError
from ssmd_stream import subjects
from ssmd_stream.change import Change

_OF_SERIES: Final = {"series": "", "series_fees": "", "events": ".>", "markets": ".>"}


@dataclass(frozen=True, slots=True)
class Filter:
    series: str | None
    table: str | None
    type: str | None

    def subjects(self) -> list[str]:
        """What to ask the server for; it filters, so that nothing else travels.

        Raises:
            ConfigurationError: the table is none that has a series.
        """
        table = self.table and subjects.token(self.table)
        if self.series is None:
            return [f"cdc.{table}.>" if table else subjects.SUBJECTS]
        if self.table is not None and self.table not in _OF_SERIES:
            raise ConfigurationError(
                f"--series cannot be used with --table {self.table}: only "
                f"{', '.join(_OF_SERIES)} carry their series"
            )
        wanted = subjects.token(self.series)
        tables = [self.table] if self.table else list(_OF_SERIES)
        found = [f"cdc.{name}.*.{wanted}{_OF_SERIES[name]}" for name in tables]
        if wanted != subjects.token(None):
            # A row that could not be read may be one of this series.
            found += [subjects.unreadable_filter(name) for name in tables]
        return found

    def wants(self, change: Change) -> bool:
        """The same of a change that was read where no server filters."""
        if self.type is not None and change.type != self.type:
            return False
        if self.table is not None and change.table != self.table:
            return False
        if self.series is None:
            return True
        if change.table not in _OF_SERIES or change.key is None:
            return False
        row = change.data or change.before or change.key
        column = "ticker" if change.table == "series" else "series_ticker"
        # Without the column it is a marker of a row that could not be read: maybe of this series.
        return column not in row or row[column] == self.series


def clock(at: datetime) -> str:
    """The time of day in UTC; of a time whose UTC Python cannot hold, in its own zone."""
    with contextlib.suppress(OverflowError):
        at = at.astimezone(UTC)
    return f"{at:%H:%M:%S.%f}"[:12]


_STYLES: Final = {
    "insert": "green",
    "update": "cyan",
    "delete": "red",
    "truncate": "bold red",
    "snapshot_begin": "magenta",
    "snapshot_end": "magenta",
}


def line(change: Change) -> Text:
    """One change for a person: when, what, which, and what differs."""
    style = "yellow" if change.error else _STYLES[change.op]
    text = Text()
    text.append(clock(change.timestamp), style="dim")
    text.append(f"  {change.type:<18}", style=style)
    text.append(f" {change.ticker or change.table}", style="bold")
    if change.error:
        text.append(f"  {change.error}", style="yellow")
    for name, difference in (change.changes or {}).items():
        if name in ("updated_at", "observed_at"):
            continue
        text.append(f"  {name} ", style="dim")
        text.append(f"{_short(difference.old)}→{_short(difference.new)}")
    return text


def _short(value: object) -> str:
    if value is None:
        return "∅"
    try:
        text = value if isinstance(value, str) else output.encode(value)
    except RecursionError:
        text = "…"
    return text if len(text) <= 40 else f"{text[:39]}…"
