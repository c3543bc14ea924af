"""The picture of what flows: one row per part of the system."""

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ssmd_stack.flow import MemberFlow

_WORDS = ("part", "state")


def picture(
    flows: Sequence[MemberFlow], title: str, happened: Sequence[str] = ()
) -> RenderableType:
    """For a terminal: a row for each part, then what there is to say of it, then what happened."""
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    for name in ("part", "state", "per s", "done", "behind", "memory", "restarts"):
        table.add_column(name, no_wrap=True, justify="left" if name in _WORDS else "right")
    for flow in flows:
        colour = "green" if flow.ready else ("red" if flow.state == "down" else "yellow")
        table.add_row(
            flow.name,
            Text(flow.state, style=colour),
            _number(flow.rate),
            _number(flow.work),
            _seconds(flow.lag_seconds),
            f"{flow.memory_bytes / 1e6:.0f} MB" if flow.memory_bytes else "",
            Text(str(flow.restarts), style="red") if flow.restarts else "",
        )
    notes = [
        Text(f"{flow.name}: {flow.note}", style="dim" if flow.ready else "yellow")
        for flow in flows
        if flow.note
    ]
    lines = [Text(text, style="dim") for text in happened]
    return Group(table, *notes, *lines)


def line(flows: Sequence[MemberFlow]) -> str:
    """The same in one line, for a log."""
    parts = []
    for flow in flows:
        if flow.work is None and flow.ready:
            continue
        figures = [flow.state]
        if flow.rate is not None:
            figures.append(f"{_number(flow.rate)}/s")
        if flow.lag_seconds is not None:
            figures.append(f"{_seconds(flow.lag_seconds)} behind")
        if flow.note and not flow.ready:
            figures.append(flow.note)
        parts.append(f"{flow.name} {', '.join(figures)}")
    return " · ".join(parts)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"
