"""The picture of what flows: one row per part of the system."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ssmd_cli.flow import Line, ago
from ssmd_common.currency import Whole
from ssmd_common.parts import Known

_WORDS = ("part", "state")
_COLUMNS: Final = ("part", "state", "per s", "done", "behind", "memory", "restarts")
_IMPORTANT: Final = ("part", "state", "behind", "per s", "restarts", "done", "memory")
# What the box puts between two columns, and at both ends.
_GAP: Final = 3
_EDGES: Final = 2


def picture(
    flows: Sequence[Line],
    title: str,
    happened: Sequence[str] = (),
    sentence: str = "",
    *,
    width: int,
) -> RenderableType:
    """For a terminal of that width: a row for each part, then what there is to say of it, then what
    happened. Figures are never cut: the less important ones are left out where not all fit.

    `sentence` is what holds for the whole.
    """
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    rows = [_row(flow) for flow in flows]
    shown = _fitting(rows, width)
    for name in shown:
        table.add_column(name, no_wrap=True, justify="left" if name in _WORDS else "right")
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    notes = [
        Text(f"{flow.name}: {flow.note}", style="dim" if flow.ready else "yellow")
        for flow in flows
        if flow.note
    ]
    lines = [Text(text, style="dim") for text in happened]
    return Group(table, *([Text(sentence)] if sentence else []), *notes, *lines)


def _row(flow: Line) -> dict[str, Text]:
    colour = "green" if flow.ready else ("red" if flow.state == "down" else "yellow")
    return {
        "part": Text(flow.name),
        "state": Text(flow.state, style=colour),
        "per s": Text(_number(flow.rate)),
        "done": Text(_number(flow.work)),
        "behind": Text(_seconds(flow.lag_seconds)),
        "memory": Text(f"{flow.memory_bytes / 1e6:.0f} MB" if flow.memory_bytes else ""),
        "restarts": Text(str(flow.restarts) if flow.restarts else "", style="red"),
    }


def _fitting(rows: Sequence[Mapping[str, Text]], width: int) -> list[str]:
    """The columns in their order, without those that do not fit."""
    found: list[str] = []
    used = _EDGES
    for name in _IMPORTANT:
        wide = max([len(name), *(row[name].cell_len for row in rows)]) + _GAP
        if used + wide <= width or not found:
            found.append(name)
            used += wide
    return [name for name in _COLUMNS if name in found]


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
