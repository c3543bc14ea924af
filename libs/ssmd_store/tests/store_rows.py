"""Rows of which no two columns say the same, and something to do in their transaction."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from ssmd_common.columns import Kind, columns_of
from ssmd_common.models import Event, Market, Row, Series
from ssmd_store.pages import Store, Then

T0 = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def distinct(row_type: type[Row], turn: int, **fixed: Any) -> Any:
    """A row in which every column has a value of its own; another `turn`, other values."""
    values: dict[str, Any] = {}
    for number, column in enumerate(columns_of(row_type)):
        name, n = column.name, number + 100 * turn
        some: dict[Kind, Any] = {
            Kind.TEXT: f"{name} {turn}",
            Kind.INTEGER: n,
            Kind.NUMERIC: Decimal(n) / 100,
            Kind.TIME: T0 + timedelta(seconds=n),
            Kind.BOOLEAN: turn % 2 == 0,
            Kind.TEXTS: [f"{name}{turn}", "it's {quoted}, \\ and NULL"],
            Kind.JSON: [{"name": f"{name}{turn}", "nested": [1, None, "ü\t\n"]}],
        }
        if not column.derived:
            values[name] = fixed.get(name, some[column.kind])
    return row_type(**values)


FIXED: dict[type[Row], dict[str, Any]] = {
    Series: {"ticker": "KXA"},
    Event: {"event_ticker": "KXA-1", "series_ticker": "KXA"},
    Market: {
        "ticker": "KXA-1-T1",
        "event_ticker": "KXA-1",
        "series_ticker": "KXA",
        "status": "active",
        "exchange_status": "active",
        "observed_via": "rest",
        "close_time": T0 + timedelta(days=9),
        # A multivariate one has no quotes.
        "mve_collection_ticker": None,
    },
}


def moving(store: Store, at: datetime) -> Then:
    """Moves a resume point, as sync does."""
    query = "INSERT INTO sync_watermarks (name, watermark) VALUES ('w', %s)"
    return partial(store.connection.execute, query, (at,))
