"""The SQL of what `include=` brings beside a row, in the query of its page.

Each brings a join that looks up an index for each row of the page, and no rows of its own: what are
several rows there is one text here. The page's rows are `s` of series, `e` of events, `m` of
markets; their parents have these names, too.
"""

from collections.abc import Sequence
from typing import Final, LiteralString

from psycopg import sql

from ssmd_api.pages import ages_of
from ssmd_api.rendering import Rendering
from ssmd_api.shapes import Shape
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
    "LEFT JOIN LATERAL (SELECT string_agg({text}, ',' ORDER BY l.id) AS text"
    " FROM (SELECT * FROM market_lifecycle_events l WHERE l.market_ticker = m.ticker"
    " ORDER BY l.id DESC LIMIT {most}) l {joins}) steps ON true"
)
_MARKETS: Final[LiteralString] = (
    "LEFT JOIN LATERAL (SELECT string_agg({text}, ',' ORDER BY m.ticker) AS text, {ages} AS ages"
    " FROM markets m {joins}"
    " WHERE m.event_ticker = e.event_ticker AND m.deleted_at IS NULL AND {shown}) within ON true"
)
SHOWN: Final = sql.SQL("e.is_shown")
"""Whether a page whose rows bring others along has the row (`within_bounds`)."""
AGES: Final = sql.SQL("within.ages")
"""What the ages of the markets of an event need (`ssmd_api.pages`)."""
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
    shape: Shape,
    *,
    of_event: bool,
    bounded: bool = False,
    aged: Sequence[tuple[LiteralString, Table]] = (),
) -> tuple[sql.Composable, dict[str, sql.Composable]]:
    """The joins of what a shape includes, and the texts of these members; `aged` is what ages of
    the markets of events need, as of a list of markets."""
    found = {}
    for member, table in shape.members.items():
        if table is None:
            continue
        if member == "fees":
            found[member] = fees(table, of_event=of_event)
        elif member == "lifecycle":
            found[member] = lifecycle(table)
        elif member == "markets":
            found[member] = markets(table, bounded=bounded, aged=aged)
    joins = sql.SQL(sql.SQL(" ").join([join for join, _ in found.values()]).as_string())
    return joins, {member: text for member, (_, text) in found.items()}


def fees(table: Table, *, of_event: bool) -> tuple[sql.Composable, sql.Composable]:
    """What is in force of the series `s`, for markets of the event `e`: the join, and the member
    with these columns."""
    parts: dict[str, sql.Composable] = {
        name: sql.SQL(text) for name, text in (_OF_EVENT if of_event else _OF_SERIES).items()
    }
    rendering = Rendering(Shape(table), {"": "f"})
    text = sql.SQL("CASE WHEN f.fee_type IS NULL THEN 'null' ELSE {} END").format(rendering.text)
    at = sql.SQL("{}::timestamptz").format(sql.Placeholder(FEES_AT))
    return sql.SQL(_FEES).format(at=at, **parts), text


def lifecycle(table: Table) -> tuple[sql.Composable, sql.Composable]:
    """The last lifecycle events of the market `m`, the oldest of them first."""
    rendering = Rendering(Shape(table), {"": "l"})
    join = sql.SQL(_LIFECYCLE).format(
        text=rendering.text, joins=rendering.joins, most=sql.Literal(LAST_STEPS)
    )
    return join, _list("steps")


def markets(
    table: Table, *, bounded: bool, aged: Sequence[tuple[LiteralString, Table]]
) -> tuple[sql.Composable, sql.Composable]:
    """All markets of the event `e`, by ticker; where a page is `bounded`, of what it shows."""
    rendering = Rendering(Shape(table), {"": "m"})
    join = sql.SQL(_MARKETS).format(
        text=rendering.text,
        joins=rendering.joins,
        ages=ages_of(aged),
        shown=SHOWN if bounded else sql.SQL("true"),
    )
    return join, _list("within")


def within_bounds(cut: sql.Composable, order: sql.Composable, limit: int) -> sql.Composed:
    """The cut of a page of events whose markets come along: `is_shown` says of each whether the
    page has it, `of_event` how many markets it has."""
    return sql.SQL(_BOUNDED).format(
        cut=cut, order=order, limit=sql.Literal(limit), most=sql.Literal(MOST_MARKETS)
    )


def _list(alias: LiteralString) -> sql.Composable:
    return sql.SQL("'[' || coalesce({}, '') || ']'").format(sql.Identifier(alias, "text"))
