"""SQL statements for each table that is written, from `queries.sql` and the models' columns. Pure.

Column lists come from `ssmd_common.models`: a column that a model gains is staged, compared and
written without a change here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import sql

from ssmd_common.models import Event, Market, Row, Series, SeriesFee
from ssmd_common.sql import Queries
from ssmd_sync.batches import SeenEvent

QUERIES: Final = Queries("ssmd_sync")

JSON_COLUMNS: Final = frozenset({"settlement_sources", "custom_strike", "price_ranges", "extra"})

OBSERVATION: Final = frozenset({"observed_at", "observed_via"})
"""Columns that say when a row was seen: they follow a change and are none by themselves."""


@dataclass(frozen=True, slots=True)
class Table:
    """How one table is staged and written."""

    name: LiteralString
    key: LiteralString
    row: type[Row]
    staged: type[Row]
    """The row as it is staged: it may say more than what is stored."""
    expressions: Mapping[str, LiteralString]
    """Columns whose new value is not simply the staged one; `m` is what is stored."""
    also: Mapping[str, LiteralString]
    """Assignments of an update beyond the columns of the row."""

    @property
    def columns(self) -> tuple[str, ...]:
        return self.row.columns()

    @property
    def compared(self) -> tuple[str, ...]:
        """The columns of which a difference is a change."""
        return tuple(name for name in self.columns if name not in OBSERVATION)

    def judged(self, name: str) -> sql.Composable:
        """What a column becomes: `s` is what was staged, `m` what is stored."""
        if name in self.expressions:
            return sql.SQL("({})").format(sql.SQL(self.expressions[name]))
        return sql.Identifier("s", name)

    def fill(self, query: LiteralString) -> sql.Composed:
        """A query of this table: its name, key, columns, assignments, view and change list."""
        pairs = [
            *(sql.SQL("{} = j.{}").format(*[sql.Identifier(n)] * 2) for n in self.columns),
            *(
                sql.SQL("{} = {}").format(sql.Identifier(name), sql.SQL(value))
                for name, value in self.also.items()
            ),
        ]
        return sql.SQL(query).format(
            table=sql.Identifier(self.name),
            key=sql.Identifier(self.key),
            columns=_list(self.columns),
            judged=_list(self.columns, "j"),
            view=sql.Identifier(f"judged_{self.name}"),
            changed=sql.Identifier(f"changed_{self.name}"),
            assignments=sql.SQL(", ").join(pairs),
        )

    def stage(self) -> sql.Composed:
        """The COPY into the staging table."""
        return copy_into(f"staged_{self.name}", self.staged.columns())

    def append(self) -> sql.Composed:
        """The COPY into the table itself."""
        return copy_into(self.name, self.columns)


def copy_into(table: str, columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(QUERIES.copy_rows).format(table=sql.Identifier(table), columns=_list(columns))


SERIES: Final = Table(
    name="series",
    key="ticker",
    row=Series,
    staged=Series,
    # The exchange tells the volume only when asked for it.
    expressions={"volume": "coalesce(s.volume, m.volume)"},
    also={},
)
EVENTS: Final = Table(
    name="events",
    key="event_ticker",
    row=Event,
    staged=SeenEvent,
    expressions={},
    also={"deleted_at": "NULL"},
)
MARKETS: Final = Table(
    name="markets",
    key="ticker",
    row=Market,
    staged=Market,
    # A market's series is its event's, whatever the batch believes.
    expressions={"status": QUERIES.market_status, "series_ticker": "p.series_ticker"},
    also={"deleted_at": "NULL"},
)
FEE_COLUMNS: Final = SeriesFee.columns()


def session_setup() -> sql.Composed:
    """The temporary tables and views that all writing needs."""
    names: dict[str, sql.Composable] = {}
    for prefix, table in (("series", SERIES), ("event", EVENTS), ("market", MARKETS)):
        names |= {
            f"{prefix}_columns": _list(table.columns),
            f"{prefix}_judged": _join(
                sql.SQL("{} AS {}").format(table.judged(n), sql.Identifier(n))
                for n in table.columns
            ),
            f"{prefix}_compared": _join(table.judged(n) for n in table.compared),
            f"{prefix}_stored": _list(table.compared, "m"),
        }
    return sql.SQL(QUERIES.set_up_session).format(fee_columns=_list(FEE_COLUMNS), **names)


def with_fee_columns(query: LiteralString) -> sql.Composed:
    return sql.SQL(query).format(fee_columns=_list(FEE_COLUMNS))


def _list(names: tuple[str, ...], of: str | None = None) -> sql.Composed:
    return _join(sql.Identifier(of, n) if of else sql.Identifier(n) for n in names)


def _join(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
