"""A timeline of coverage as a drawing: a row for each kind of market, a colour for each state.

What is not complete is hatched or low, too, so that it is seen without colours.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final
from xml.sax.saxutils import escape

from ssmd_cli.coverage_picture import LOOKS, cells, clock
from ssmd_stream.market.coverage import State
from ssmd_stream.market.timeline import Interval, Span

_CELLS: Final = 360
"""Of a day four minutes each: nothing is drawn narrower, so that it is seen."""
_LEFT, _WIDTH, _ROW, _TOP, _RIGHT = 320, 1080, 22, 56, 48
_HEIGHTS: Final = {State.NOT_SUBSCRIBED: 2, State.UNKNOWN: 9}
_BAR: Final = 16
_HATCHES: Final = {
    State.REPAIRED: "M0,6 L6,0",
    State.GAP: "M0,0 L6,6 M0,6 L6,0",
    State.UNKNOWN: "M0,3 L6,3",
}
_HOURS: Final = 6


def svg(title: str, span: Span, rows: Sequence[tuple[str, list[Interval]]]) -> str:
    """A document that stands alone, of rows with their names."""
    height = _TOP + _ROW * len(rows) + 64
    width = _LEFT + _WIDTH + _RIGHT
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">',
            "<style>text {font-size: 12px} .title {font-size: 16px; font-weight: bold}</style>",
            f"<title>{escape(title)}</title>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            "<defs>",
            *_patterns(),
            "</defs>",
            f'<text class="title" x="16" y="24">{escape(title)}</text>',
            *_axis(span, len(rows)),
            *(
                part
                for number, (name, intervals) in enumerate(rows)
                for part in _row(name, intervals, span, _TOP + _ROW * number)
            ),
            *_legend(_TOP + _ROW * len(rows) + 36),
            "</svg>\n",
        ]
    )


def _name(state: State) -> str:
    return str(state).replace(" ", "-")


def _patterns() -> Iterator[str]:
    for state, path in _HATCHES.items():
        yield (
            f'<pattern id="{_name(state)}" width="6" height="6" patternUnits="userSpaceOnUse">'
            f'<rect width="6" height="6" fill="{LOOKS[state].colour}"/>'
            f'<path d="{path}" stroke="#ffffff" stroke-width="1"/></pattern>'
        )


def _fill(state: State) -> str:
    return f"url(#{_name(state)})" if state in _HATCHES else LOOKS[state].colour


def _axis(span: Span, rows: int) -> Iterator[str]:
    for part in range(_HOURS + 1):
        x = _LEFT + _WIDTH * part // _HOURS
        at = span.since + (span.until - span.since) * part // _HOURS
        yield f'<path d="M{x},{_TOP - 6} V{_TOP + _ROW * rows}" stroke="#eceff1"/>'
        yield f'<text x="{x}" y="{_TOP - 10}" text-anchor="middle">{clock(at)}</text>'


def _row(name: str, intervals: list[Interval], span: Span, y: int) -> Iterator[str]:
    yield f'<text x="16" y="{y + 13}">{escape(name)}</text>'
    at = 0
    for state, same in groupby(cells(intervals, span, _CELLS)):
        count = len(list(same))
        if state is not None:
            x, width = _LEFT + _WIDTH * at / _CELLS, _WIDTH * count / _CELLS
            yield _bar(state, x, y + 2, width)
        at += count


def _bar(state: State, x: float, y: int, width: float) -> str:
    height = _HEIGHTS.get(state, _BAR)
    return (
        f'<rect x="{x:.2f}" y="{y + _BAR - height}" width="{width:.2f}" height="{height}" '
        f'fill="{_fill(state)}"><title>{state}</title></rect>'
    )


def _legend(y: int) -> Iterator[str]:
    for number, state in enumerate(State):
        x = _LEFT + number * 160
        yield _bar(state, x, y - 13, 28)
        yield f'<text x="{x + 36}" y="{y}">{state}</text>'
