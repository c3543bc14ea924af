"""Lines of CSV for spreadsheets: no cell is taken for a formula.

The API's own export is for programs, and leaves every text as it is.
"""

import csv
import io
from collections.abc import Iterable
from typing import Any

from ssmd_api import rows
from ssmd_api.tabular import neutral


def line(values: Iterable[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow([cell(value) for value in values])
    return text.getvalue().encode()


def cell(value: Any) -> str:
    """A text that a spreadsheet would run has an apostrophe before it, which shows it as it is."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else rows.encode(value).decode()
    return neutral(text)
