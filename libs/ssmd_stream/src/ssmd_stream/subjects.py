"""Names on NATS: the change stream, its subjects, the dead letters.

A subject is `cdc.<table>.<op>.<tokens>`, so that subscribers filter on the server:
`cdc.markets.*.KXBTCD.>` is everything about one series.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from ssmd_common.streams import DEAD_LETTER_STREAM, DEAD_LETTER_SUBJECTS, STREAM, SUBJECTS

__all__ = [
    "DEAD_LETTER_STREAM",
    "DEAD_LETTER_SUBJECTS",
    "LONGEST_TOKEN",
    "NONE",
    "STREAM",
    "SUBJECTS",
    "TOKEN_COLUMNS",
    "subject",
    "subject_of",
    "table_subject",
    "token",
    "unreadable_filter",
    "unreadable_subject",
]

TOKEN_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "series": ("ticker",),
    "events": ("series_ticker", "event_ticker"),
    "markets": ("series_ticker", "event_ticker", "ticker"),
    "series_fees": ("series_ticker",),
    "fees": ("tier",),
    # An event-level message has no market ticker: its last token is the event's ticker.
    "market_lifecycle_events": ("event_type", "market_ticker|event_ticker"),
}
"""The columns that a table's subject carries; `a|b` is a where it is not null, else b.

Chosen by hand and not in the registry of columns: a subject is a contract with those who subscribe,
which no new column changes. A test holds each to be a column of its table.
"""

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_LAST_ESCAPE = re.compile(r"%[0-9A-F]?$")

NONE: Final = "_"
"""The token of a value that is null or empty, or could not be read."""

LONGEST_TOKEN: Final = 512
"""Characters. NATS takes control lines of 4 KiB, and a subject has up to three tokens."""

_HASH_CHARACTERS: Final = 64


def token(value: str | None) -> str:
    """One subject token: every character outside `[A-Za-z0-9_-]` percent-encoded as UTF-8.

    A null or empty value is `_`, since NATS has no empty tokens; a value that is itself `_` is
    `%5F`. One that is longer than `LONGEST_TOKEN` is cut between escapes and goes on with `~` and
    its SHA-256 in hexadecimal, so that different values never share a token.
    """
    if not value:
        return NONE
    if value == NONE:
        return "%5F"
    encoded = _UNSAFE.sub(_percent, value)
    if len(encoded) <= LONGEST_TOKEN:
        return encoded
    kept = _LAST_ESCAPE.sub("", encoded[: LONGEST_TOKEN - 1 - _HASH_CHARACTERS])
    return f"{kept}~{hashlib.sha256(_bytes(value)).hexdigest()}"


def _bytes(text: str) -> bytes:
    # No text of PostgreSQL has lone surrogates, but what a client asks for may.
    return text.encode(errors="surrogatepass")


@lru_cache(maxsize=1024)
def _encoded(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in _bytes(character))


def _percent(match: re.Match[str]) -> str:
    return _encoded(match[0])


def subject(table: str, op: str, row: Mapping[str, object]) -> str:
    """The subject of one change of `row`; a table not in `TOKEN_COLUMNS` has no tokens but `_`."""
    values = [_text(row, column) for column in TOKEN_COLUMNS.get(table, ())]
    return subject_of(table, op, values)


def subject_of(table: str, op: str, values: Sequence[str | None]) -> str:
    """The same from the values that the subject carries, in the order of `TOKEN_COLUMNS`."""
    return ".".join(["cdc", token(table), op, *(map(token, values) if values else [NONE])])


def unreadable_subject(table: str, op: str) -> str:
    """The subject of a change whose row, and so what it is about, cannot be read: each token `_`.

    Who filters by a series, an event or a ticker asks for these beside it.
    """
    return subject_of(table, op, [None] * len(TOKEN_COLUMNS.get(table, ())))


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
