"""Lines of CSV for spreadsheets: no cell is taken for a formula.

The API's own export is for programs, and leaves every text as it is.
"""

import csv
import io
import re
from collections.abc import Iterable
from typing import Any, Final

from ssmd_api import rows

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)


def line(values: Iterable[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow([cell(value) for value in values])
    return text.getvalue().encode()


def cell(value: Any) -> str:
    """A text that a spreadsheet would run has an apostrophe before it, which shows it as it is."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else rows.encode(value).decode()
    if text.lstrip(" ").startswith(_FORMULA) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text
