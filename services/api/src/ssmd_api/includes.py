"""The SQL of what `include=` brings beside a row, in the query of its page.

Each brings a join that looks up an index for each row of the page, and no rows of its own: what are
several rows there is one text here. The page's rows are `s` of series, `e` of events, `m` of
markets; their parents have these names, too.
"""

from collections.abc import Sequence
from typing import Final, LiteralString

from psycopg import sql

from ssmd_api.pages import Bounds
from ssmd_api.rendering import Nested, Rendering
from ssmd_api.shapes import Shape
from ssmd_common import tables
from ssmd_common.columns import Table

MOST_MARKETS: Final = 1000
"""Of the events of one page together: the event with which they are so many is its last."""
LAST_STEPS: Final = 20
"""Of a market's lifecycle events, those that come along."""

FEES_AT: Final = "fees_at"
"""The parameter that says when fees are to be in force."""

# As `ssmd_api.feeschedule` does: the schedule's step; where there is none at all, what the series
# says of itself; and what the event overrides, each for itself.
_FEES: Final[LiteralString] = (
    "LEFT JOIN LATERAL (SELECT {fee_type} AS fee_type, {fee_multiplier} AS fee_multiplier,"
    " {by} AS by, step.effective_from, step.effective_to"
    " FROM (VALUES (1)) one LEFT JOIN LATERAL ("
    "SELECT f.fee_type, f.fee_multiplier, f.effective_from, f.effective_to FROM series_fees f"
    " WHERE f.series_ticker = s.ticker AND f.effective_from <= {at}"
    " AND (f.effective_to IS NULL OR f.effective_to > {at})"
    " UNION ALL SELECT s.fee_type, s.fee_multiplier, NULL, NULL WHERE s.fee_type IS NOT NULL"
    " AND NOT EXISTS (SELECT FROM series_fees f WHERE f.series_ticker = s.ticker)"
    " LIMIT 1) step ON true) f ON f.fee_type IS NOT NULL AND f.fee_multiplier IS NOT NULL"
)
_OF_SERIES: Final[dict[str, LiteralString]] = {
    "fee_type": "step.fee_type",
    "fee_multiplier": "step.fee_multiplier",
    "by": "'schedule'::text",
}
_OF_EVENT: Final[dict[str, LiteralString]] = {
    "fee_type": "coalesce(nullif(e.fee_type_override, ''), step.fee_type)",
    "fee_multiplier": "coalesce(e.fee_multiplier_override, step.fee_multiplier)",
    "by": "CASE WHEN nullif(e.fee_type_override, '') IS NULL AND e.fee_multiplier_override IS NULL"
    " THEN 'schedule' ELSE 'event' END",
}
_LIFECYCLE: Final[LiteralString] = (
    "LEFT JOIN LATERAL (SELECT string_agg({text}, ',' ORDER BY l.id) AS text, bool_or({far}) AS far"
    " FROM (SELECT * FROM market_lifecycle_events l WHERE l.market_ticker = m.ticker"
    " ORDER BY l.id DESC LIMIT {most}) l) steps ON true"
)
_MARKETS: Final[LiteralString] = (
    "LEFT JOIN LATERAL (SELECT string_agg({text}, ',' ORDER BY m.ticker) AS text,"
    " bool_or({far}) AS far FROM markets m"
    " WHERE m.event_ticker = e.event_ticker AND m.deleted_at IS NULL AND {shown}) within ON true"
)
_AGES: Final[LiteralString] = (
    "LEFT JOIN LATERAL (SELECT string_agg(to_json(g)::text, ',') AS text FROM ("
    "SELECT {columns}, min(m.observed_at) AS observed_at FROM markets m"
    " WHERE m.event_ticker = e.event_ticker AND m.deleted_at IS NULL AND e.is_shown"
    " GROUP BY {keys}, m.observed_at >= '0001-01-01' AND m.observed_at < '10000-01-01') g"
    ") of_ages ON true"
)
_IS_SHOWN: Final = sql.SQL("e.is_shown")
# Counting looks up the index that the markets are then read by.
_BOUNDED: Final[LiteralString] = (
    "(SELECT *, row_number() OVER w <= {limit} AND"
    " coalesce(sum(of_event) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) < {most}"
    " AS is_shown FROM (SELECT e.*, n.of_event FROM {cut} CROSS JOIN LATERAL ("
    "SELECT count(*) AS of_event FROM markets m"
    " WHERE m.event_ticker = e.event_ticker AND m.deleted_at IS NULL) n) e"
    " WINDOW w AS (ORDER BY {order})) e"
)


def of(
    shape: Shape, *, of_event: bool, bounded: bool = False
) -> tuple[sql.Composable, dict[str, Nested]]:
    """The joins of what a shape includes, and these members."""
    found = {}
    for member, table in shape.members.items():
        if table is None:
            continue
        if member == "fees":
            found[member] = fees(table, of_event=of_event)
        elif member == "lifecycle":
            found[member] = lifecycle(table)
        elif member == "markets":
            found[member] = markets(table, bounded=bounded)
    joins = sql.SQL(sql.SQL(" ").join([join for join, _ in found.values()]).as_string())
    return joins, {member: nested for member, (_, nested) in found.items()}


def fees(table: Table, *, of_event: bool) -> tuple[sql.Composable, Nested]:
    """What is in force of the series `s`, for markets of the event `e`: the join, and the member
    with these columns."""
    parts: dict[str, sql.Composable] = {
        name: sql.SQL(text) for name, text in (_OF_EVENT if of_event else _OF_SERIES).items()
    }
    rendering = Rendering(Shape(table), {"": "f"})
    text = sql.SQL("CASE WHEN f.fee_type IS NULL THEN 'null' ELSE {} END").format(rendering.text)
    at = sql.SQL("{}::timestamptz").format(sql.Placeholder(FEES_AT))
    return sql.SQL(_FEES).format(at=at, **parts), Nested(text, rendering.far)


def lifecycle(table: Table) -> tuple[sql.Composable, Nested]:
    """The last lifecycle events of the market `m`, the oldest of them first."""
    rendering = Rendering(Shape(table), {"": "l"})
    join = sql.SQL(_LIFECYCLE).format(
        text=rendering.text, far=rendering.far, most=sql.Literal(LAST_STEPS)
    )
    return join, _list("steps")


def markets(table: Table, *, bounded: bool) -> tuple[sql.Composable, Nested]:
    """All markets of the event `e`, by ticker; where a page is `bounded`, of what it shows."""
    rendering = Rendering(Shape(table), {"": "m"})
    join = sql.SQL(_MARKETS).format(
        text=rendering.text, far=rendering.far, shown=_IS_SHOWN if bounded else sql.SQL("true")
    )
    return join, _list("within")


def ages(aged: Sequence[Table]) -> sql.Composable:
    """The join of what the ages of the markets that a bounded page shows need: of those that differ
    in nothing but their last observation, one. `aged` as of a list of markets."""
    shown: list[sql.Composable] = [sql.SQL("1 AS one")]
    keys: list[sql.Composable] = [sql.SQL("one")]
    for table in aged:
        of_series = table.name == tables.SERIES.name
        for name in table.names:
            if name == "observed_at":
                continue
            key = sql.Identifier("s" if of_series else "m", name)
            keys.append(key)
            named = sql.Identifier(f"series.{name}" if of_series else name)
            shown.append(sql.SQL("{} AS {}").format(key, named))
    comma = sql.SQL(", ")
    return sql.SQL(_AGES).format(columns=comma.join(shown), keys=comma.join(keys))


def bounds(aged: Sequence[Table]) -> Bounds:
    """Which rows of such a page are shown, and what their ages need."""
    return Bounds(_IS_SHOWN, sql.SQL("of_ages.text" if aged else "NULL"))


def within_bounds(cut: sql.Composable, order: sql.Composable, limit: int) -> sql.Composed:
    """The cut of a page of events whose markets come along: `is_shown` says of each whether the
    page has it, `of_event` how many markets it has."""
    return sql.SQL(_BOUNDED).format(
        cut=cut, order=order, limit=sql.Literal(limit), most=sql.Literal(MOST_MARKETS)
    )


def _list(alias: LiteralString) -> Nested:
    text = sql.SQL("'[' || coalesce({}, '') || ']'").format(sql.Identifier(alias, "text"))
    return Nested(text, sql.Identifier(alias, "far"))
