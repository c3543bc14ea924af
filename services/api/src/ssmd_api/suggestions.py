"""What is said of a name that is unknown: the nearest that is known, and all."""

import difflib
from collections.abc import Iterable

from ssmd_api.forms import MAX_TEXT


def unknown(name: str, known: Iterable[str]) -> str:
    """Why the name is refused; ranges of one column stand together: `volume.{gt|gte}`."""
    names = sorted(known)
    if not names:
        return "is unknown here (known: none)"
    near = difflib.get_close_matches(name[:MAX_TEXT].lower(), names, 1, 0.0)
    operators: dict[str, list[str]] = {}
    for each in names:
        column, _, operator = each.partition(".")
        operators.setdefault(column, []).append(operator)
    listed = ", ".join(
        column if of_column == [""] else f"{column}.{{{'|'.join(of_column)}}}"
        for column, of_column in operators.items()
    )
    return f"is unknown here; the nearest is {near[0]} (known: {listed})"
