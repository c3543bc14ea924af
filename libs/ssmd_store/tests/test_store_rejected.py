"""Rows with unreadable fields: the store keeps what it has there, and writes the rest."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import psycopg
import pytest
from store_rows import FIXED, distinct, moving

from ssmd_common.models import Event, Market, ReadRow, RejectedField, Series
from ssmd_store import pages as store_module
from ssmd_store.observed import seen
from ssmd_store.pages import Store

T0 = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LATER = T0 + timedelta(days=9000)
"""Of an observation of an event: after whatever the clock says has been written."""

MAY_BE_UNREADABLE: Final[dict[type[ReadRow], list[str]]] = {
    row: [
        f.name for f in msgspec.structs.fields(row) if f.default is None and f.name in row.columns()
    ]
    for row in (Series, Event, Market)
}


def rejected(*columns: str) -> RejectedField:
    return RejectedField(field=columns[0], columns=columns, reason="is no such thing", raw="?")


async def rows(store: Store, query: str, *parameters: Any) -> list[dict[str, Any]]:
    cursor = store.connection.cursor(row_factory=psycopg.rows.dict_row)
    return await (await cursor.execute(query, parameters)).fetchall()


async def tuples(store: Store) -> int:
    await store.connection.execute("SELECT pg_stat_force_next_flush()")
    [row] = await rows(
        store,
        "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::int AS n FROM pg_stat_user_tables"
        " WHERE schemaname = 'public'",
    )
    return int(row["n"])


Write = Callable[[ReadRow], Awaitable[Any]]


@pytest.fixture
def write(store: Store) -> Write:
    async def do(row: Any) -> Any:
        if isinstance(row, Series):
            return await store.write_series([row])
        if isinstance(row, Event):
            return await store.write_events(seen([row], LATER))
        return await store.write_markets([row])

    return do


@pytest.mark.parametrize("row_type", [Series, Event, Market])
async def test_each_column_alone_keeps_its_value_and_all_others_are_written(
    store: Store, write: Write, row_type: type[ReadRow]
) -> None:
    """A new row has NULL there; the same bad row again writes nothing; a good one is written."""
    parent = Event(event_ticker="KXA-1", series_ticker="KXA", title="parent")
    if row_type is Market:
        await store.write_events(seen([parent], T0))
    key = row_type.columns()[0]
    table = row_type.__name__.lower().rstrip("s") + "s"

    async def stored(ticker: str) -> ReadRow:
        [found] = await rows(store, f"SELECT * FROM {table} WHERE {key} = %s", ticker)
        return row_type(**{name: found[name] for name in row_type.columns()})

    for name in MAY_BE_UNREADABLE[row_type]:
        if name == "mve_collection_ticker":
            # A row that says it has no quotes, so that this is not all that changes.
            continue
        ticker = f"KXA-1-{name}"
        fixed = {**FIXED[row_type], key: ticker}
        first, second = (distinct(row_type, turn, **fixed) for turn in (0, 1))
        field = rejected(name)
        bad_first, bad_second = (
            msgspec.structs.replace(row, **{name: None}, rejected=(field,))
            for row in (first, second)
        )
        absent = "open" if name == "status" else None
        differs = getattr(first, name) != getattr(second, name)

        assert (await write(bad_first)).inserted == 1, name
        assert await stored(ticker) == msgspec.structs.replace(first, **{name: absent})
        before = await tuples(store)
        result = await write(bad_first)
        assert (result.unchanged, result.updated) == (1, 0), name
        assert [(each.ticker, each.field) for each in result.rejected] == [(ticker, field)]
        assert await tuples(store) == before, name

        assert (await write(first)).updated == 1, name
        assert await stored(ticker) == first
        before = await tuples(store)
        assert (await write(bad_first)).unchanged == 1, name
        assert await tuples(store) == before, name
        assert (await write(bad_second)).updated == 1, name
        kept = {name: getattr(first, name)}
        assert await stored(ticker) == msgspec.structs.replace(second, **kept)
        assert (await write(second)).updated == differs, name
        assert await stored(ticker) == second


async def test_an_unreadable_status_leaves_both_words(
    store: Store, event: Any, market: Any
) -> None:
    await store.write_events(seen([event("KXA-1")], T0))
    await store.write_markets([market(status="closed", exchange_status="determined")])
    bad = market(
        status=None,
        exchange_status=None,
        title="Renamed",
        observed_at=T0 + 5 * MINUTE,
        rejected=(rejected("status", "exchange_status"),),
    )
    assert (await store.write_markets([bad])).updated == 1
    [found] = await rows(store, "SELECT * FROM markets")
    assert (found["status"], found["exchange_status"]) == ("closed", "determined")
    assert found["title"] == "Renamed"


async def test_an_unreadable_close_time_does_not_reopen_what_the_clock_closed(
    store: Store, event: Any, market: Any
) -> None:
    """The rules judge by what is kept, not by the hole in the row."""
    await store.write_events(seen([event("KXA-1")], T0))
    close_time = T0 + 2 * MINUTE
    await store.write_markets([market(close_time=close_time)])
    await store.connection.execute(
        "UPDATE markets SET status = 'closed', observed_via = 'clock', observed_at = %s",
        (close_time,),
    )
    late = market(
        close_time=None, yes_bid=1, observed_at=T0 + 3 * MINUTE, rejected=(rejected("close_time"),)
    )
    assert (await store.write_markets([late])).updated == 1
    [found] = await rows(store, "SELECT status, yes_bid, close_time FROM markets")
    assert found == {"status": "closed", "yes_bid": 1, "close_time": close_time}


async def test_a_market_with_an_unreadable_event_keeps_its_event_or_is_rejected(
    store: Store, event: Any, market: Any
) -> None:
    await store.write_events(seen([event("KXA-1")], T0))
    await store.write_markets([market("KXA-1-T1")])
    bad = [
        market(
            ticker,
            event_ticker="",
            title="Renamed",
            observed_at=T0 + 5 * MINUTE,
            rejected=(rejected("event_ticker"),),
        )
        for ticker in ("KXA-1-T1", "KXA-1-T2")
    ]
    result = await store.write_markets([*bad, market("KXA-1-T3")], moving(store, T0))
    assert (result.inserted, result.updated, result.orphans) == (1, 1, set())
    [homeless] = result.rejected_rows
    assert homeless.ticker == "KXA-1-T2"
    assert homeless.reason == "markets: its event_ticker is no such thing"
    found = await rows(store, "SELECT ticker, event_ticker, title FROM markets ORDER BY ticker")
    assert [(row["event_ticker"], row["title"]) for row in found] == [
        ("KXA-1", "Renamed"),
        ("KXA-1", "Market KXA-1-T3"),
    ]
    assert await rows(store, "SELECT watermark FROM sync_watermarks") == [{"watermark": T0}]


async def test_an_event_with_an_unreadable_series_keeps_its_series_or_is_rejected(
    store: Store, event: Any
) -> None:
    await store.write_events(seen([event("KXA-1")], T0))
    bad = [
        event(ticker, series_ticker="", title="Renamed", rejected=(rejected("series_ticker"),))
        for ticker in ("KXA-1", "KXA-2")
    ]
    result = await store.write_events(seen(bad, LATER))
    assert (result.updated, [row.ticker for row in result.rejected_rows]) == (1, ["KXA-2"])
    found = await rows(store, "SELECT event_ticker, series_ticker, title FROM events")
    assert found == [{"event_ticker": "KXA-1", "series_ticker": "KXA", "title": "Renamed"}]
    # No stub of a series without a name.
    assert [row["ticker"] for row in await rows(store, "SELECT ticker FROM series")] == ["KXA"]


async def test_new_rows_with_unreadable_fields_beside_the_shortcut(
    store: Store, event: Any, market: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are copied straight in; these are judged, and the watermark comes last."""
    await store.write_events(seen([event("KXA-1")], T0))
    monkeypatch.setattr(store_module, "WORTH_A_LOOK", 2)
    made = [market(f"KXA-1-T{i}", series_ticker="KXA") for i in range(20)]
    made[3] = msgspec.structs.replace(made[3], title=None, rejected=(rejected("title"),))
    made[4] = msgspec.structs.replace(made[4], title=None, rejected=(rejected("title"),))
    assert (await store.write_markets(made, moving(store, T0))).inserted == 20
    found = await rows(store, "SELECT ticker FROM markets WHERE title IS NULL ORDER BY ticker")
    assert [row["ticker"] for row in found] == ["KXA-1-T3", "KXA-1-T4"]
    assert await rows(store, "SELECT watermark FROM sync_watermarks") == [{"watermark": T0}]
