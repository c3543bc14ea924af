"""Which changes a subscriber of /v1/changes gets, as subjects that NATS filters by. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ssmd_common.subjects import TOKEN_COLUMNS, token

TABLES: Final = tuple(TOKEN_COLUMNS)
_OF_WHOLE_TABLES: Final = ("truncate", "snapshot_begin", "snapshot_end")


class NothingFits(ValueError):
    """No table has all that is asked for in its subjects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFilter:
    """Empty asks for everything; `types` are those of the envelope, filtered by us."""

    tables: Sequence[str] = ()
    series: str | None = None
    event: str | None = None
    market: str | None = None
    types: Sequence[str] = ()

    def subjects(self) -> list[str]:
        """Subjects that do not overlap; what concerns a whole table is always among them.

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
            tokens = [_MEANING.get((table, column), column) for column in TOKEN_COLUMNS[table]]
            if not set(asked) <= set(tokens):
                continue
            if not asked:
                found.append(f"cdc.{table}.>")
                continue
            wanted = ".".join(token(asked[name]) if name in asked else "*" for name in tokens)
            found += [f"cdc.{table}.*.{wanted}"]
            found += [f"cdc.{table}.{op}" for op in _OF_WHOLE_TABLES]
        if not found:
            raise NothingFits(f"no table can be filtered by {' and '.join(asked)}")
        return found


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
