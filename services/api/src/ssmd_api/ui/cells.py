"""Markets as rows of a table, by the kinds of its columns.

A list has thousands of cells: a template's macro for each takes twice as long as the query. So what
a column needs is looked up once, and what many rows have in common is spelled once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from markupsafe import Markup

from ssmd_api.ui.columns import Shown
from ssmd_api.ui.texts import NOTHING, Unit, count, price, when
from ssmd_common.status import NOT_YET_CLOSED

To = Callable[[str, str], str]
"""The address of a page, by its kind and a ticker."""

_Row = Mapping[str, Any]
_LINKED = {"ticker": "market", "event_ticker": "event", "series_ticker": "series"}


def table_rows(
    found: Iterable[_Row], columns: Sequence[Shown], unit: Unit, to: To, *, past: bool
) -> Markup:
    """A row of the table for each market, which has what `columns.NEEDED` names.

    `past`: whether the page is of a moment, from which no time runs on.
    """
    writers = [_writer(column, unit, to, past=past) for column in columns]
    lines = []
    for row in found:
        key = escape(row["ticker"])
        cells = "".join([write(row) for write in writers])
        lines.append(f'<tr id="m-{key}" data-key="{key}">{cells}</tr>\n')
    # Of texts, which are escaped where they come in: to join markup takes twice as long.
    return Markup("".join(lines))  # noqa: S704 - escaped


def _writer(column: Shown, unit: Unit, to: To, *, past: bool) -> Callable[[_Row], str]:
    """What writes the cells of a column."""
    of, plain = column.of, f'<td data-label="{escape(column.label)}">'
    number = plain.replace("<td", '<td class="num"')
    match column.kind:
        case "title":
            return lambda row: _name(row, to)
        case "ticker":
            return _tickers(column, to)
        case "status":
            return lambda row: _status(_text(of(row)))
        case "price":
            return lambda row: f"{number}{price(of(row), unit)}</td>"
        case "count":
            return lambda row: f"{number}{count(of(row))}</td>"
        case "time" if column.name == "close_time" and not past:
            return lambda row: f"{number}{when(of(row), _closing(row))}</td>"
        case "time":
            return lambda row: f"{number}{when(of(row))}</td>"
        case "number":
            return lambda row: f"{number}{_text(of(row))}</td>"
    return lambda row: f"{plain}{_text(of(row))}</td>"


def _name(row: _Row, to: To) -> str:
    title, outcome = row["title"] or row["ticker"], row["yes_sub_title"]
    beside = ""
    if outcome and outcome not in title:
        beside = f' <span class="sub">{escape(outcome)}</span>'
    # Percent-encoded, an address has nothing to escape.
    address = to("market", row["ticker"])
    return f'<td class="name"><a href="{address}">{escape(title)}{beside}</a></td>'


def _tickers(column: Shown, to: To) -> Callable[[_Row], str]:
    of, kind = column.of, _LINKED.get(column.name)

    def write(row: _Row) -> str:
        ticker = of(row)
        if ticker is None or kind is None:
            return f'<td class="mono">{_text(ticker)}</td>'
        return f'<td class="mono"><a href="{to(kind, ticker)}">{escape(ticker)}</a></td>'

    return write


def _status(word: str) -> str:
    return f'<td><span class="status" data-status="{word}">{word}</span></td>'


def _closing(row: _Row) -> str:
    """How a closing time is spelled: it runs until then."""
    return "until" if row["status"] in NOT_YET_CLOSED else "short"


def _text(value: Any) -> str:
    return NOTHING if value is None else escape(str(value))
