"""Rows of which no two columns say the same, and something to do in their transaction."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec

from ssmd_common.models import Event, Market, Row, Series
from ssmd_store.pages import Store, Then

T0 = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def distinct(row_type: type[Row], turn: int, **fixed: Any) -> Any:
    """A row in which every column has a value of its own; another `turn`, other values."""
    values: dict[str, Any] = {}
    fields = [field for field in msgspec.structs.fields(row_type) if field.name != "rejected"]
    for number, field in enumerate(fields):
        kind = str(field.type)
        n = number + 100 * turn
        if field.name in fixed:
            values[field.name] = fixed[field.name]
        elif "datetime" in kind:
            values[field.name] = T0 + timedelta(seconds=n)
        elif "Decimal" in kind:
            values[field.name] = Decimal(n) / 100
        elif "bool" in kind:
            values[field.name] = turn % 2 == 0
        elif "list[str]" in kind:
            values[field.name] = [f"{field.name}{turn}", "it's {quoted}, \\ and NULL"]
        elif "list" in kind:
            values[field.name] = [{"name": f"{field.name}{turn}"}]
        elif "dict" in kind:
            values[field.name] = {"key": f"{field.name}{turn}", "nested": [1, None, "ü\t\n"]}
        elif "int" in kind:
            values[field.name] = n
        else:
            values[field.name] = f"{field.name} {turn}"
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
    },
}


def moving(store: Store, at: datetime) -> Then:
    """Moves a resume point, as sync does."""
    query = "INSERT INTO sync_watermarks (name, watermark) VALUES ('w', %s)"
    return partial(store.connection.execute, query, (at,))
