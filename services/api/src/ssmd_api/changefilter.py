"""Which changes a subscriber of /v1/changes gets, as subjects that NATS filters by. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ssmd_api.kinds import Multivariate
from ssmd_api.sparse import ALL, Columns
from ssmd_stream.subjects import TOKEN_COLUMNS, token, unreadable_filter

TABLES: Final = tuple(TOKEN_COLUMNS)
_OF_WHOLE_TABLES: Final = ("truncate", "snapshot_begin", "snapshot_end")


class NothingFits(ValueError):
    """No table has all that is asked for in its subjects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFilter:
    """Empty asks for everything; `types` are those of the envelope and `multivariate` kinds of
    rows, both filtered by us, and `columns` those that rows are sent with. "Everything" is without
    multivariate rows unless they are asked for."""

    tables: Sequence[str] = ()
    series: str | None = None
    event: str | None = None
    market: str | None = None
    types: Sequence[str] = ()
    multivariate: Multivariate = Multivariate.EXCLUDE
    columns: Columns = ALL

    def subjects(self) -> list[str]:
        """Subjects that do not overlap.

        What concerns a whole table is always among them, and so are markers of rows that could not
        be read.

        Raises:
            NothingFits: none of the tables has all these in its subjects.
        """
        asked = {
            column: value
            for column, value in (
                ("series", self.series),
                ("event", self.event),
                ("market", self.market),
            )
            if value is not None
        }
        found = []
        for table in self.tables or TABLES:
            names = filters(table)
            if not set(asked) <= names.keys():
                continue
            if not asked:
                found.append(f"cdc.{table}.>")
                continue
            wanted = ".".join(token(asked[name]) if name in asked else "*" for name in names)
            found += [f"cdc.{table}.*.{wanted}"]
            if any(token(value) != token(None) for value in asked.values()):
                # A row that could not be read may be one of those asked for.
                found += [unreadable_filter(table)]
            found += [f"cdc.{table}.{op}" for op in _OF_WHOLE_TABLES]
        if not found:
            raise NothingFits(f"no table can be filtered by {' and '.join(asked)}")
        return found


def filters(table: str) -> dict[str, tuple[str, ...]]:
    """What a table's changes, and its rows in a snapshot, can be asked for by: `series` and so on.

    Each with the columns that tell it, the first that is not null; in the order of the subject.
    """
    return {
        _MEANING.get((table, columns), columns): tuple(columns.split("|"))
        for columns in TOKEN_COLUMNS[table]
    }


# What a subject's token is of.
_MEANING: Final = {
    ("series", "ticker"): "series",
    ("series_fees", "series_ticker"): "series",
    ("events", "series_ticker"): "series",
    ("events", "event_ticker"): "event",
    ("markets", "series_ticker"): "series",
    ("markets", "event_ticker"): "event",
    ("markets", "ticker"): "market",
    ("market_lifecycle_events", "market_ticker|event_ticker"): "market",
}
