"""Statements of each table that pages write, from `pages.sql`, `rules.sql` and the models.

Column lists come from `ssmd_common.models`: a column that a model gains is staged, compared and
written without a change here. `tests/statements.sql` has
what comes of it for reading.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, LiteralString

from psycopg import sql

from ssmd_common.columns import columns_of
from ssmd_common.models import Collection, Event, Market, Row, Series, SeriesFee
from ssmd_common.sql import Queries
from ssmd_store import rules
from ssmd_store.observed import SeenEvent

QUERIES: Final = Queries("ssmd_store", "pages.sql")
RULES: Final = Queries("ssmd_store", "rules.sql")

_LAGS: Final = {
    "rest_lag": sql.Literal(rules.REST_LAG),
    "stamp_lag": sql.Literal(rules.STAMP_LAG),
    "stamped_ahead": sql.Literal(rules.STAMPED_AHEAD),
}
_CHANGED: Final[dict[str, LiteralString]] = {
    "changed_at": "s.exchange_updated_at",
    "stored_changed_at": "m.exchange_updated_at",
}


@dataclass(frozen=True, slots=True)
class Table:
    """How one table is staged and written."""

    name: LiteralString
    key: LiteralString
    parent: LiteralString | None
    """The column that says where the row belongs: no row is stored without."""
    row: type[Row]
    staged: type[Row]
    """The row as it is staged: it may say more than what is stored."""
    older: LiteralString
    """When a staged row is older than what is stored."""
    times: Mapping[str, LiteralString]
    """The times that the rules compare, by their names there."""
    beside: LiteralString
    """What the view says of a row beside its columns."""
    join: LiteralString
    """Where that comes from, beyond what is stored."""
    became: LiteralString
    """Of an updated row the status that it had not before."""
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
        return tuple(c.name for c in columns_of(self.row) if not (c.derived or c.observation))

    def judged(self, name: str) -> sql.Composable:
        """What a column becomes: `s` is what was staged, `m` what is stored."""
        if name in self.expressions:
            return sql.SQL("({})").format(sql.SQL(self.expressions[name]))
        return sql.Identifier("s", name)

    def staging(self, *, keeping: bool) -> sql.Composable:
        """Where the rows of a batch stand; `keeping`: with what is stored where they keep it."""
        staged = sql.Identifier(f"staged_{self.name}")
        if not keeping:
            return staged
        may_keep = [name for name in self.columns if name != self.key]
        columns = [
            sql.SQL(QUERIES.effective_column).format(
                name=sql.Literal(name), column=sql.Identifier(name)
            )
            if name in may_keep
            else sql.Identifier("s", name)
            for name in self.staged.columns()
        ]
        return sql.SQL(QUERIES.effective).format(
            columns=_join(columns), staged=staged, **self._names()
        )

    def view(self, *, keeping: bool) -> sql.Composed:
        """What is staged beside what is stored, with a verdict on each row."""
        return sql.SQL(QUERIES.judged).format(
            staged=self.staging(keeping=keeping),
            judged=_join(_as(self.judged(name), name) for name in self.columns),
            beside=sql.SQL(self.beside),
            older=sql.SQL(self.older).format(**_LAGS),
            compared=_join(self.judged(name) for name in self.compared),
            stored=listed(self.compared, "m"),
            parent=sql.SQL(self.join),
            times=_join(
                _as(sql.SQL(_known(column)).format(time=sql.SQL(column), **_LAGS), name)
                for name, column in self.times.items()
            ),
            **self._names(),
        )

    def fill(self, query: LiteralString, *, keeping: bool = False) -> bytes:
        """A query of this table: its name, key, columns, assignments, view and change list."""
        pairs = [
            *(sql.SQL("{} = j.{}").format(*[sql.Identifier(n)] * 2) for n in self.columns),
            *(
                sql.SQL("{} = {}").format(sql.Identifier(name), sql.SQL(value))
                for name, value in self.also.items()
            ),
        ]
        filled = sql.SQL(query).format(
            columns=listed(self.columns),
            values=listed(self.columns, "j"),
            view=self.view(keeping=keeping),
            changed=sql.Identifier(f"changed_{self.name}"),
            assignments=_join(pairs),
            became=sql.SQL(self.became),
            **self._names(),
        )
        return filled.as_bytes(None)

    def stage(self, *, keeping: bool = False) -> sql.Composed:
        """The COPY into the staging table."""
        columns = self.staged.columns()
        return copy_into(f"staged_{self.name}", (*columns, "kept") if keeping else columns)

    def append(self) -> sql.Composed:
        """The COPY into the table itself."""
        return copy_into(self.name, self.columns)

    def _names(self) -> dict[str, sql.Composable]:
        return {"table": sql.Identifier(self.name), "key": sql.Identifier(self.key)}


@dataclass(frozen=True, slots=True)
class Statements:
    """What writes a batch of one table, filled in once."""

    stage: sql.Composed
    mark: bytes
    insert: bytes
    update: bytes


SERIES: Final = Table(
    name="series",
    key="ticker",
    parent=None,
    row=Series,
    staged=Series,
    older=RULES.older_series,
    times=_CHANGED,
    beside=QUERIES.beside_series,
    join="",
    became="NULL::text",
    # The exchange tells the volume only when asked for it.
    expressions={"volume": "coalesce(s.volume, m.volume)"},
    also={},
)
EVENTS: Final = Table(
    name="events",
    key="event_ticker",
    parent="series_ticker",
    row=Event,
    staged=SeenEvent,
    older=RULES.older_event,
    times={**_CHANGED, "written_at": "m.updated_at"},
    beside=QUERIES.beside_event,
    join="",
    became="NULL::text",
    # Pages of events do not tell it: markets do.
    expressions={
        "mve_collection_ticker": "coalesce(s.mve_collection_ticker, m.mve_collection_ticker)"
    },
    also={"deleted_at": "NULL"},
)
MARKETS: Final = Table(
    name="markets",
    key="ticker",
    parent="event_ticker",
    row=Market,
    staged=Market,
    older=RULES.older_market,
    times={
        **_CHANGED,
        "stored_observed_at": "m.observed_at",
        "deleted_at": "m.deleted_at",
        "settled_time": "m.settled_time",
        "open_time": "s.open_time",
        "close_time": "s.close_time",
    },
    beside=QUERIES.beside_market,
    join=QUERIES.parent_of_market,
    became="CASE WHEN m.status <> j.former_status THEN m.status END",
    # A market's series is its event's, whatever the batch believes.
    expressions={"status": RULES.market_status, "series_ticker": "p.series_ticker"},
    also={"deleted_at": "NULL"},
)
_FEE_COLUMNS: Final = SeriesFee.columns()
_OF_A_STEP: Final = [n for n in _FEE_COLUMNS if n not in ("series_ticker", "effective_from")]

_TABLES: Final = {table.name: table for table in (SERIES, EVENTS, MARKETS)}


@cache
def writing(name: str, *, keeping: bool) -> Statements:
    """What writes a batch into a table; `keeping`: its rows keep some of what is stored."""
    table = _TABLES[name]
    mark = QUERIES.mark_changed_markets if table is MARKETS else QUERIES.mark_changed
    return Statements(
        table.stage(keeping=keeping),
        table.fill(mark, keeping=keeping),
        table.fill(QUERIES.insert_rows, keeping=keeping),
        table.fill(QUERIES.update_rows, keeping=keeping),
    )


def session_setup() -> sql.Composed:
    """The temporary tables that all writing needs."""
    return sql.SQL(QUERIES.set_up_session).format(
        series_columns=listed(SERIES.columns),
        event_columns=listed(EVENTS.columns),
        market_columns=listed(MARKETS.columns),
    )


def copy_into(table: str, columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(QUERIES.copy_rows).format(table=sql.Identifier(table), columns=listed(columns))


def of_fees(query: LiteralString) -> sql.Composed:
    """A query of `series_fees`: its columns, and those of a step beside its key."""
    return sql.SQL(query).format(
        columns=listed(_FEE_COLUMNS),
        compared=listed(_OF_A_STEP),
        given=listed(_OF_A_STEP, "s"),
        stored=listed(_OF_A_STEP, "f"),
    )


def writing_collections() -> sql.Composed:
    """What writes collections, of which each row tells whether it is new."""
    columns = Collection.columns()
    compared = [name for name in columns if name != "collection_ticker"]
    # What a page leaves out, or what of it cannot be read, stays.
    values = [
        sql.SQL("coalesce({}, {})").format(sql.Identifier("s", name), sql.Identifier("m", name))
        for name in compared
    ]
    return sql.SQL(QUERIES.write_collections).format(
        columns=listed(columns),
        given=listed(columns, "s"),
        compared=listed(compared),
        values=_join(values),
        stored=listed(compared, "m"),
    )


def listed(names: Iterable[str], of: str | None = None) -> sql.Composed:
    """`a, b`, or `of.a, of.b`, quoted."""
    return _join(sql.Identifier(of, n) if of else sql.Identifier(n) for n in names)


def _join(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def _known(column: str) -> LiteralString:
    return RULES.known_stamp if column == "m.observed_at" else RULES.known_time


def _as(value: sql.Composable, name: str) -> sql.Composed:
    return sql.SQL("{} AS {}").format(value, sql.Identifier(name))
