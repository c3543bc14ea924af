"""A market's row as cells of a table, by the kinds of its columns.

A list has thousands of cells: a template's macro for each takes twice as long as the query.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markupsafe import Markup

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
        # Of texts, which are escaped where they come in: to join markup takes twice as long.
        cells = "".join([self._cell(column, row) for column in self.columns])
        return Markup(cells)  # noqa: S704 - escaped

    def _cell(self, column: Shown, row: Mapping[str, Any]) -> str:
        value = column.of(row)
        match column.kind:
            case "title":
                return self._name(row)
            case "ticker" if value is not None:
                return self._ticker(column.name, value)
            case "status":
                word = _text(value)
                return f'<td><span class="status" data-status="{word}">{word}</span></td>'
            case "price":
                return f'<td class="num">{price(value, self.unit)}</td>'
            case "count":
                return f'<td class="num">{count(value)}</td>'
            case "time":
                runs = column.name == "close_time" and row["status"] in NOT_YET_CLOSED
                form = "until" if runs and not self.past else "short"
                return f'<td class="num">{when(value, form)}</td>'
            case "number":
                return f'<td class="num">{_text(value)}</td>'
        return f"<td>{_text(value)}</td>"

    def _name(self, row: Mapping[str, Any]) -> str:
        title, outcome = row["title"] or row["ticker"], row["yes_sub_title"]
        beside = ""
        if outcome and outcome not in title:
            beside = f' <span class="sub">{escape(outcome)}</span>'
        link = self._link("market", row["ticker"], f"{escape(title)}{beside}")
        return f'<td class="name">{link}</td>'

    def _ticker(self, name: str, ticker: str) -> str:
        kind = _LINKED.get(name)
        shown = escape(ticker)
        return f'<td class="mono">{self._link(kind, ticker, shown) if kind else shown}</td>'

    def _link(self, kind: str, ticker: str, inside: str) -> str:
        # Percent-encoded, it has nothing to escape.
        return f'<a href="{self.to(kind, ticker)}">{inside}</a>'


def _text(value: Any) -> str:
    return NOTHING if value is None else escape(str(value))
