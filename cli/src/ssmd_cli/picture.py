"""The picture of what flows: one row per part of the system."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ssmd_cli.flow import Line, ago
from ssmd_common.currency import Whole
from ssmd_common.parts import Known

_WORDS = ("part", "state")


def picture(
    flows: Sequence[Line], title: str, happened: Sequence[str] = (), sentence: str = ""
) -> RenderableType:
    """For a terminal: a row for each part, then what there is to say of it, then what happened.

    `sentence` is what holds for the whole.
    """
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
    return Group(table, *([Text(sentence)] if sentence else []), *notes, *lines)


def line(flows: Sequence[Line]) -> str:
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


def legs(whole: Whole, known: Known) -> RenderableType:
    """The way from the exchange to a reader, each leg with its own moment and place."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for name, leg in whole.legs.items():
        moment = "not known" if leg.as_of is None else f"as of {ago(leg.as_of, known.now)}"
        table.add_row(Text(name, style="dim"), moment, _place(leg.position, known))
    return table


def _place(position: Mapping[str, Any], known: Known) -> str:
    found = []
    for name, value in position.items():
        if isinstance(value, datetime):
            found.append(f"{name.removesuffix('_at').replace('_', ' ')} {ago(value, known.now)}")
        elif isinstance(value, str | int | float):
            found.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(found)
