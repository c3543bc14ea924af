"""Names on NATS: the change stream, its subjects, the dead letters.

A subject is `cdc.<table>.<op>.<tokens>`, so that subscribers filter on the server:
`cdc.markets.*.KXBTCD.>` is everything about one series.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

STREAM: Final = "SECMASTER_CDC"
SUBJECTS: Final = "cdc.>"
DEAD_LETTER_STREAM: Final = "SECMASTER_DLQ"
DEAD_LETTER_SUBJECTS: Final = "dlq.cdc.>"

TOKEN_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "series": ("ticker",),
    "events": ("series_ticker", "event_ticker"),
    "markets": ("series_ticker", "event_ticker", "ticker"),
    "series_fees": ("series_ticker",),
    "fees": ("tier",),
    # An event-level message has no market ticker: its last token is the event's ticker.
    "market_lifecycle_events": ("event_type", "market_ticker|event_ticker"),
}
"""The columns that a table's subject carries; `a|b` is a where it is not null, else b."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def token(value: str | None) -> str:
    """One subject token: every character outside `[A-Za-z0-9_-]` percent-encoded as UTF-8.

    A null or empty value is `_`, since NATS has no empty tokens.
    """
    if not value:
        return "_"
    return _UNSAFE.sub(_percent, value)


@lru_cache(maxsize=1024)
def _encoded(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _percent(match: re.Match[str]) -> str:
    return _encoded(match[0])


def subject(table: str, op: str, row: Mapping[str, object]) -> str:
    """The subject of one change of `row`; a table not in `TOKEN_COLUMNS` has no tokens but `_`."""
    tokens = [token(_text(row, column)) for column in TOKEN_COLUMNS.get(table, ())]
    return ".".join(["cdc", token(table), op, *(tokens or ["_"])])


def table_subject(table: str, op: str) -> str:
    """The subject of what concerns a whole table: truncate, snapshot_begin, snapshot_end."""
    return f"cdc.{token(table)}.{op}"


def unreadable_filter(table: str) -> str:
    """The filter for markers of a table's rows that could not be read, so that whose they are is
    unknown: each token is `_`. Who filters by a token that is not `_` asks for these as well.
    """
    return ".".join(["cdc", token(table), "*", *("_" for _ in TOKEN_COLUMNS.get(table, ("",)))])


def _text(row: Mapping[str, object], columns: str) -> str | None:
    for column in columns.split("|"):
        value = row.get(column)
        if value is not None:
            return str(value)
    return None
