"""A market's row as cells of a table, by the kinds of its columns.

A list has thousands of cells: a template's macro for each takes twice as long as the query.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from ssmd_api.ui.columns import Shown
from ssmd_api.ui.texts import NOTHING, Unit, count, price, when
from ssmd_common.status import NOT_YET_CLOSED

To = Callable[[str, str], str]
"""The address of a page, by its kind and a ticker."""

_LINKED = {"ticker": "market", "event_ticker": "event", "series_ticker": "series"}


@dataclass(frozen=True, slots=True)
class Cells:
    """`past`: whether the page is of a moment, from which no time runs on."""

    columns: Sequence[Shown]
    unit: Unit
    to: To
    past: bool

    def of(self, row: Mapping[str, Any]) -> Markup:
        """The cells of a row, which has what `columns.NEEDED` names."""
        return Markup("").join([self._cell(column, row) for column in self.columns])

    def _cell(self, column: Shown, row: Mapping[str, Any]) -> Markup:
        value = column.of(row)
        match column.kind:
            case "title":
                return self._name(row)
            case "ticker" if value is not None:
                return self._ticker(column.name, value)
            case "status":
                word = escape(value)
                return Markup(  # noqa: S704 - escaped
                    f'<td><span class="status" data-status="{word}">{word}</span></td>'
                )
            case "price":
                return _number(price(value, self.unit))
            case "count":
                return _number(count(value))
            case "time":
                runs = column.name == "close_time" and row["status"] in NOT_YET_CLOSED
                return _number(when(value, "until" if runs and not self.past else "short"))
            case "number":
                return _number(_text(value))
        return Markup(f"<td>{_text(value)}</td>")  # noqa: S704 - escaped

    def _name(self, row: Mapping[str, Any]) -> Markup:
        title, outcome = row["title"] or row["ticker"], row["yes_sub_title"]
        beside = ""
        if outcome and outcome not in title:
            beside = f' <span class="sub">{escape(outcome)}</span>'
        link = self._link("market", row["ticker"], escape(title) + Markup(beside))  # noqa: S704
        return Markup(f'<td class="name">{link}</td>')  # noqa: S704 - escaped

    def _ticker(self, name: str, ticker: str) -> Markup:
        kind = _LINKED.get(name)
        shown = escape(ticker)
        inside = self._link(kind, ticker, shown) if kind else shown
        return Markup(f'<td class="mono">{inside}</td>')  # noqa: S704 - escaped

    def _link(self, kind: str, ticker: str, inside: Markup) -> Markup:
        address = escape(self.to(kind, ticker))
        return Markup(f'<a href="{address}">{inside}</a>')  # noqa: S704 - escaped


def _number(inside: Markup) -> Markup:
    return Markup(f'<td class="num">{inside}</td>')  # noqa: S704 - it is markup


def _text(value: Any) -> Markup:
    return NOTHING if value is None else escape(value)
