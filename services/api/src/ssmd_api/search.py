"""The SQL of the search over series, events and markets. Runs none of it.

Candidates come from the trigram indexes on ticker and title; of a text that fits more than
`_CANDIDATES` rows of a kind, some that fit are ranked. Rank: the very ticker, then tickers that
begin with the text, then likeness; what is open stands before what is over, and a series before its
events and these before their markets.
"""

from collections.abc import Sequence
from typing import Any, Final, LiteralString

from psycopg import sql

from ssmd_api.kinds import SINGLE
from ssmd_api.lists import Statement
from ssmd_api.where import escape

KINDS: Final = ("series", "event", "market")
COLUMNS: Final = ("kind", "ticker", "title", "status", "series_ticker", "event_ticker", "rank")

_CANDIDATES: Final = 2000
_LIKENED: Final = ("series", "event")

# What a kind gives: table, ticker, status, series, event, how it ranks among equals.
_TABLES: Final[dict[str, tuple[LiteralString, ...]]] = {
    "series": (
        "series",
        "ticker",
        "CASE WHEN active THEN 'open' ELSE 'closed' END",
        "ticker",
        "NULL::text",
        "true",
        "0.02",
    ),
    "event": (
        "events",
        "event_ticker",
        "status",
        "series_ticker",
        "event_ticker",
        "deleted_at IS NULL",
        "0.01",
    ),
    "market": (
        "markets",
        "ticker",
        "status",
        "series_ticker",
        "event_ticker",
        "deleted_at IS NULL",
        "0",
    ),
}


def search(words: Sequence[str], kinds: Sequence[str], limit: int, *, fuzzy: bool) -> Statement:
    """Rows have the columns of `COLUMNS`, the best first.

    With `fuzzy`, what is like the text is found, markets only if they are asked for: their titles
    repeat their event's, and likeness to each of them takes seconds. Else what has each word in
    its ticker or title.
    """
    text = " ".join(words)
    parameters: dict[str, Any] = {
        "text": text,
        "exact": text.upper(),
        "begins": f"{escape(text.upper())}%",
        "limit": limit,
        **{f"word{n}": f"%{escape(word)}%" for n, word in enumerate(words)},
    }
    searched = kinds or (_LIKENED if fuzzy else KINDS)
    parts = [_part(kind, len(words), fuzzy=fuzzy) for kind in searched]
    query = sql.SQL(
        "SELECT kind, ticker, title, status, series_ticker, event_ticker,"
        " round(rank::numeric, 4)::float8 AS rank FROM ({}) found"
        " ORDER BY rank DESC, ticker, kind LIMIT %(limit)s"
    ).format(sql.SQL(" UNION ALL ").join(parts))
    return Statement(query, parameters)


def _part(kind: str, words: int, *, fuzzy: bool) -> sql.Composed:
    table, ticker, status, series, event, present, weight = map(sql.SQL, _TABLES[kind])
    searched = sql.SQL("(t.{ticker} || ' ' || coalesce(t.title, ''))").format(ticker=ticker)
    if fuzzy:
        fits: sql.Composable = sql.SQL("{} %%> %(text)s").format(searched)
    else:
        fits = sql.SQL(" AND ").join(
            sql.SQL("{} ILIKE {}").format(searched, sql.Placeholder(f"word{n}"))
            for n in range(words)
        )
    row = sql.SQL(
        "SELECT {ticker} AS ticker, t.title, {status} AS status, {series} AS series_ticker,"
        " {event} AS event_ticker FROM {table} t WHERE {present}"
    ).format(ticker=ticker, status=status, series=series, event=event, table=table, present=present)
    return sql.SQL(
        "SELECT {kind} AS kind, ticker, title, status, series_ticker, event_ticker,"
        " CASE WHEN ticker = %(exact)s THEN 2 WHEN ticker LIKE %(begins)s THEN 1 ELSE 0 END"
        " + word_similarity(%(text)s, ticker || ' ' || coalesce(title, ''))"
        " + CASE WHEN status IN ('open', 'active') THEN 0.1 ELSE 0 END + {weight} AS rank"
        # The very ticker is there whatever the limit leaves out, and multivariate or not. Titles of
        # multivariate markets repeat those of others: they are found by no words.
        " FROM ({row} AND t.{name} = %(exact)s UNION ALL"
        " ({row} AND {fits} AND {single} AND t.{name} <> %(exact)s LIMIT {candidates})) candidates"
    ).format(
        kind=sql.Literal(kind),
        weight=weight,
        row=row,
        name=ticker,
        fits=fits,
        single=sql.SQL("true" if table == sql.SQL("series") else "t." + SINGLE),
        candidates=sql.Literal(_CANDIDATES),
    )
