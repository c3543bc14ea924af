"""What PostgreSQL refuses of a row: the field alone where it can be named, else the row.

The reader rejects what is unreadable long before; this is for what only the database notices.
"""

import re
from typing import Any, Final, TypeVar

import msgspec
import psycopg
import structlog

from ssmd_common.columns import Column, Kind, columns_of
from ssmd_common.models import ReadRow, RejectedField, RejectedRow, Row
from ssmd_store.statements import Table

log = structlog.get_logger(__name__)

R = TypeVar("R", bound=Row)

REFUSED: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.StatementTooComplex,
    # What cannot even be sent: text that is no Unicode, values nested too deep.
    UnicodeEncodeError,
    RecursionError,
)
"""Errors that are a row's fault: its batch is halved until the row is found."""

MAX_RAW: Final = 2000
_COPIED_COLUMN = re.compile(r"^COPY \w+, line \d+, column (\w+)", re.MULTILINE)


def mended(table: Table, row: R, error: Exception) -> R | None:
    """The row without the one field that was refused, a stored row keeps its value there; None
    where no field can be named, or none that a row may lack."""
    if not isinstance(row, ReadRow):
        return None
    column = _refused_column(row, error)
    optional = {f.name for f in msgspec.structs.fields(table.row) if f.default is None}
    if column not in optional or column in row.kept:
        return None
    field = RejectedField(
        field=column,
        columns=(column,),
        reason=first_line(error),
        raw=_text(getattr(row, column)),
    )
    return msgspec.structs.replace(row, **{column: None}, rejected=(*row.rejected, field))


def rejected_whole(table: str, ticker: str, error: Exception, row: object) -> RejectedRow:
    """The record of a row that was not written."""
    reason = first_line(error)
    log.warning("row rejected", table=table, reason=reason)
    return RejectedRow(ticker, f"{table}: {reason}", _text(row))


def first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _refused_column(row: Row, error: Exception) -> str | None:
    if isinstance(error, psycopg.Error) and error.diag.context:
        found = _COPIED_COLUMN.search(error.diag.context)
        return found[1] if found else None
    # It did not reach the server: whatever cannot be sent is at fault.
    columns = columns_of(type(row))
    return next((column.name for column in columns if not _can_be_sent(row, column)), None)


def _can_be_sent(row: Row, column: Column) -> bool:
    value: Any = getattr(row, column.name)
    try:
        if column.kind is Kind.JSON:
            msgspec.json.encode(value)
            return True
        texts = value if isinstance(value, list) else [value]
        return not any(isinstance(text, str) and "\0" in text.encode().decode() for text in texts)
    except (RecursionError, UnicodeEncodeError):
        return False


def _text(value: object) -> str:
    try:
        return repr(value)[:MAX_RAW].replace("\0", "")
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deep"
