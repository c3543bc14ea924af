"""The store against a real PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
import pytest
from store_rows import FIXED, distinct, moving

from ssmd_common.models import Event, Market, Row, Series, SeriesFee
from ssmd_store import pages as store_module
from ssmd_store import statements
from ssmd_store.observed import newest, seen
from ssmd_store.pages import Store

T0 = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def rows(store: Store, query: str, *parameters: Any) -> list[dict[str, Any]]:
    cursor = store.connection.cursor(row_factory=psycopg.rows.dict_row)
    return await (await cursor.execute(query, parameters)).fetchall()


async def one(store: Store, ticker: str) -> dict[str, Any]:
    return (await rows(store, "SELECT * FROM markets WHERE ticker = %s", ticker))[0]


async def event_status(store: Store, ticker: str) -> str:
    found = await rows(store, "SELECT status FROM events WHERE event_ticker = %s", ticker)
    return str(found[0]["status"])


async def filled(store: Store, event: Any, *markets: Market) -> None:
    tickers = sorted({m.event_ticker for m in markets})
    await store.write_events(seen([event(t) for t in tickers], T0))
    result = await store.write_markets(markets)
    assert not result.orphans
    assert not result.rejected_rows


@pytest.mark.parametrize(
    ("row_type", "table"), [(Series, "series"), (Event, "events"), (Market, "markets")]
)
async def test_every_column_is_written_and_each_difference_alone_propagates(
    store: Store, series: Any, event: Any, row_type: type[Row], table: str
) -> None:
    """A column that staging, comparison or update forgot fails here by its name."""

    async def write(row: Any) -> Any:
        if row_type is Series:
            return await store.write_series([row])
        if row_type is Event:
            return await store.write_events(seen([row], T0 + timedelta(days=9000)))
        return await store.write_markets([row])

    if row_type is not Series:
        await store.write_series([series("KXA"), series("KXB")])
    if row_type is Market:
        await store.write_events(seen([event("KXA-1"), event("KXA-2")], T0))

    async def stored() -> Any:
        [found] = await rows(store, f"SELECT * FROM {table}")
        return row_type(**{name: found[name] for name in row_type.columns()})

    first = distinct(row_type, 0, **FIXED[row_type])
    assert (await write(first)).inserted == 1
    assert await stored() == first
    assert (await write(first)).unchanged == 1

    second = distinct(row_type, 1, **FIXED[row_type])
    followers = {"observed_at", "observed_via"}
    current = first
    for name in row_type.columns():
        if name in {"ticker", *followers, *FIXED[row_type]}:
            continue
        current = msgspec.structs.replace(current, **{name: getattr(second, name)})
        result = await write(current)
        assert (name, result.updated) == (name, 1)
        assert getattr(await stored(), name) == getattr(current, name), name
    assert await stored() == current


async def test_an_unchanged_batch_writes_no_tuple(store: Store, event: Any, market: Any) -> None:
    markets = [market(f"KXA-{i % 7}-T{i}") for i in range(300)]
    await filled(store, event, *markets)

    async def touched() -> Any:
        await store.connection.execute("SELECT pg_stat_force_next_flush()")
        return await rows(
            store,
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) AS n FROM pg_stat_user_tables"
            " WHERE schemaname = 'public'",
        )

    before = await touched()
    later = [msgspec.structs.replace(m, observed_at=T0 + 9 * MINUTE) for m in markets]
    assert (await store.write_markets(later)).unchanged == 300
    await store.write_events(seen([event(f"KXA-{i}") for i in range(7)], T0 + 9 * MINUTE))
    assert await touched() == before
    assert (await one(store, "KXA-0-T0"))["observed_at"] == T0 + MINUTE


async def test_a_change_moves_the_observation_and_updated_at(
    store: Store, event: Any, market: Any
) -> None:
    await filled(store, event, market())
    before = await one(store, "KXA-1-T1")
    await store.write_markets([market(title="Renamed", observed_at=T0 + 9 * MINUTE)])
    after = await one(store, "KXA-1-T1")
    assert after["title"] == "Renamed"
    assert after["observed_at"] == T0 + 9 * MINUTE
    assert after["updated_at"] > before["updated_at"]
    assert after["created_at"] == before["created_at"]


async def test_the_newest_of_duplicates_wins(store: Store, event: Any, market: Any) -> None:
    older = market(title="older", exchange_updated_at=T0 - MINUTE, observed_at=T0 + 5 * MINUTE)
    await filled(store, event, market(title="newest"), older)
    assert (await one(store, "KXA-1-T1"))["title"] == "newest"


@pytest.mark.parametrize("via", ["ws", "clock"])
async def test_a_page_asked_for_before_another_writer_wrote_does_not_undo_it(
    store: Store, event: Any, market: Any, via: str
) -> None:
    await filled(store, event, market())
    await store.connection.execute(
        "UPDATE markets SET status = 'closed', observed_via = %s, observed_at = %s",
        (via, T0 + 5 * MINUTE),
    )
    for observed_at in (T0 + 4 * MINUTE, T0 + 5 * MINUTE):
        result = await store.write_markets([market(title="old", observed_at=observed_at)])
        assert result.updated == 0
    assert (await one(store, "KXA-1-T1"))["status"] == "closed"
    result = await store.write_markets([market(title="new", observed_at=T0 + 6 * MINUTE)])
    assert result.updated == 1
    assert (await one(store, "KXA-1-T1"))["title"] == "new"


async def test_an_older_copy_from_the_exchange_is_left_alone(
    store: Store, event: Any, market: Any
) -> None:
    await filled(store, event, market(title="new"))
    stale = market(title="old", exchange_updated_at=T0 - MINUTE, observed_at=T0 + 9 * MINUTE)
    assert (await store.write_markets([stale])).updated == 0
    assert (await one(store, "KXA-1-T1"))["title"] == "new"


async def test_settled_is_left_only_on_newer_information(
    store: Store, event: Any, market: Any
) -> None:
    settled = market(status="settled", exchange_status="finalized", settled_time=T0)
    await filled(store, event, settled)
    later = T0 + 9 * MINUTE
    assert (await store.write_markets([market(observed_at=later)])).updated == 0
    assert (await one(store, "KXA-1-T1"))["status"] == "settled"
    newer = market(
        status="closed", exchange_status="disputed", exchange_updated_at=later, observed_at=later
    )
    assert (await store.write_markets([newer])).updated == 1
    assert (await one(store, "KXA-1-T1"))["exchange_status"] == "disputed"


async def test_an_unknown_word_keeps_the_status(store: Store, event: Any, market: Any) -> None:
    word = {"status": None, "exchange_status": "teleported"}
    await filled(store, event, market(), market("KXA-1-T2", **word))
    assert (await one(store, "KXA-1-T2"))["status"] == "open"
    await store.write_markets([market(**word, observed_at=T0 + 9 * MINUTE)])
    found = await one(store, "KXA-1-T1")
    assert (found["status"], found["exchange_status"]) == ("active", "teleported")


async def test_a_page_does_not_reopen_what_the_clock_closed(
    store: Store, event: Any, market: Any
) -> None:
    """The exchange is a moment late; the close_time that has passed says who is right."""
    close_time = T0 + 2 * MINUTE
    await filled(store, event, market(close_time=close_time))
    await store.connection.execute(
        "UPDATE markets SET status = 'closed', observed_via = 'clock', observed_at = %s",
        (close_time,),
    )
    late = market(close_time=close_time, yes_bid=1, observed_at=T0 + 3 * MINUTE)
    assert (await store.write_markets([late])).updated == 1
    found = await one(store, "KXA-1-T1")
    assert (found["status"], found["yes_bid"]) == ("closed", 1)
    extended = market(close_time=T0 + timedelta(days=3), observed_at=T0 + 4 * MINUTE)
    await store.write_markets([extended])
    assert (await one(store, "KXA-1-T1"))["status"] == "active"


async def test_a_page_does_not_unopen_what_the_clock_opened(
    store: Store, event: Any, market: Any
) -> None:
    waiting = {"status": "open", "exchange_status": "initialized", "open_time": T0 + 2 * MINUTE}
    await filled(store, event, market(**waiting))
    await store.connection.execute(
        "UPDATE markets SET status = 'active', observed_via = 'clock', observed_at = %s",
        (T0 + 2 * MINUTE,),
    )
    await store.write_markets([market(**waiting, yes_bid=1, observed_at=T0 + 3 * MINUTE)])
    assert (await one(store, "KXA-1-T1"))["status"] == "active"
    paused = {**waiting, "exchange_status": "inactive", "observed_at": T0 + 4 * MINUTE}
    await store.write_markets([market(**paused)])
    assert (await one(store, "KXA-1-T1"))["status"] == "open"


async def test_an_events_status_follows_its_markets(store: Store, event: Any, market: Any) -> None:
    one_, two = market("KXA-1-T1"), market("KXA-1-T2")
    await filled(store, event, one_, two)
    assert await event_status(store, "KXA-1") == "open"

    async def becomes(status: str, *markets: Market) -> None:
        later = T0 + timedelta(hours=len(status))
        changed = [
            msgspec.structs.replace(m, status=status, exchange_updated_at=later, observed_at=later)
            for m in markets
        ]
        await store.write_markets(changed)

    await becomes("closed", one_)
    assert await event_status(store, "KXA-1") == "open"
    await becomes("closed", two)
    assert await event_status(store, "KXA-1") == "closed"
    await becomes("settled", one_, two)
    assert await event_status(store, "KXA-1") == "settled"


async def test_a_market_without_its_event_comes_back_as_an_orphan(
    store: Store, event: Any, market: Any
) -> None:
    await filled(store, event, market("KXA-1-T1"))
    result = await store.write_markets([market("KXA-1-T1"), market("KXB-9-T1")])
    assert result.orphans == {"KXB-9-T1"}
    assert result.unchanged == 1
    assert not result.rejected_rows


async def test_watermarks_wait_for_orphans(store: Store, event: Any, market: Any) -> None:
    await filled(store, event, market("KXA-1-T1"))
    result = await store.write_markets([market("KXB-9-T1")], moving(store, T0))
    assert result.orphans == {"KXB-9-T1"}
    assert await rows(store, "SELECT * FROM sync_watermarks") == []


async def test_a_batch_of_new_markets_is_as_if_it_had_been_judged(
    store: Store, event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shortcut writes every column, and the events' status follows."""
    await store.write_events(seen([event("KXA-1"), event("KXA-2")], T0))
    made = [distinct(Market, number, **FIXED[Market]) for number in range(2)]
    made = [
        msgspec.structs.replace(row, ticker=f"KXA-1-T{number}", status="settled")
        for number, row in enumerate(made)
    ]
    monkeypatch.setattr(store_module, "WORTH_A_LOOK", 2)
    # Without the statements that judge.
    monkeypatch.setattr(statements, "writing", None)
    assert (await store.write_markets(made)).inserted == 2
    found = await rows(store, "SELECT * FROM markets ORDER BY ticker")
    stored = [Market(**{name: row[name] for name in Market.columns()}) for row in found]
    assert stored == made
    assert await event_status(store, made[0].event_ticker) == "settled"


async def test_a_writer_that_is_faster_than_the_shortcut_is_judged_after_all(
    database: Any, store: Store, event: Any, market: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.write_events(seen([event("KXA-1")], T0))
    monkeypatch.setattr(store_module, "WORTH_A_LOOK", 10)
    look = store.fetched

    async def look_and_be_late(query: Any, parameters: Any = None) -> Any:
        found = await look(query, parameters)
        monkeypatch.setattr(store, "fetched", look)
        async with database.connect() as connection:
            await connection.execute(
                "INSERT INTO markets (ticker, event_ticker, series_ticker, title, observed_at,"
                " observed_via) VALUES ('KXA-1-T7', 'KXA-1', 'KXA', 'faster', %s, 'ws')",
                (T0 + 5 * MINUTE,),
            )
        return found

    monkeypatch.setattr(store, "fetched", look_and_be_late)
    made = [market(f"KXA-1-T{i}", series_ticker="KXA") for i in range(40)]
    result = await store.write_markets(made, moving(store, T0))
    assert (result.inserted, result.unchanged, result.rejected_rows) == (39, 1, [])
    assert (await one(store, "KXA-1-T7"))["title"] == "faster"
    assert await rows(store, "SELECT watermark FROM sync_watermarks") == [{"watermark": T0}]


async def test_the_shortcut_is_not_taken_where_a_parent_is_missing_or_another(
    store: Store, event: Any, market: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "WORTH_A_LOOK", 1)
    await store.write_events(seen([event("KXA-1", series_ticker="KXOTHER")], T0))
    made = [market("KXA-1-T1", series_ticker="KXA"), market("KXB-1-T1", series_ticker="KXB")]
    result = await store.write_markets(made)
    assert (result.inserted, result.orphans) == (1, {"KXB-1-T1"})
    assert (await one(store, "KXA-1-T1"))["series_ticker"] == "KXOTHER"
    unknown_word = market("KXA-1-T2", series_ticker="KXOTHER", status=None)
    assert (await store.write_markets([unknown_word])).inserted == 1
    assert (await one(store, "KXA-1-T2"))["status"] == "open"


async def test_an_unknown_series_becomes_a_stub_that_a_pass_completes(
    store: Store, event: Any, series: Any
) -> None:
    await store.write_events(seen([event("KXNBAGAME-1", series_ticker="KXNBAGAME")], T0))
    [stub] = await rows(store, "SELECT * FROM series")
    assert (stub["ticker"], stub["title"], stub["is_game"]) == ("KXNBAGAME", None, True)
    assert (await store.write_series([series("KXNBAGAME", is_game=True)])).updated == 1


async def test_the_series_of_a_market_is_its_events(store: Store, event: Any, market: Any) -> None:
    """Not what the batch believes, and not the ticker's text."""
    await store.write_events(seen([event("KXA-1", series_ticker="KXOTHER")], T0))
    await store.write_markets([market("KXA-1-T1", series_ticker="KXA")])
    assert (await one(store, "KXA-1-T1"))["series_ticker"] == "KXOTHER"
    later = datetime.now(UTC) + timedelta(hours=1)
    await store.write_events(seen([event("KXA-1", series_ticker="KXMOVED")], later))
    assert (await one(store, "KXA-1-T1"))["series_ticker"] == "KXMOVED"


async def test_of_what_the_database_refuses_the_field_is_rejected_or_else_the_row(
    store: Store, event: Any, market: Any
) -> None:
    """The reader rejects all that it can; what only the database notices costs no more."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    bad: dict[str, dict[str, Any]] = {
        "KXA-1-T40": {"title": "nul \0 byte"},
        "KXA-1-T42": {"custom_strike": {"a": "\0"}},
        "KXA-1-T43": {"volume": 2**63},
        "KXA-1-T44": {"price_ranges": deep},
        "KXA-1-T45": {"yes_bid_dollars": Decimal("12345.5")},
        "KXA-1-T46": {"rules_primary": "half a surrogate \ud800"},
        "KXA-1-T47": {"extra": {"a": "\0"}, "result": "\0"},
    }
    whole = {"KXA-1-T41": {"status": "sideways"}, "KXA-1-T48": {"event_ticker": "KXA-1\0"}}
    markets = [market(f"KXA-1-T{i}") for i in range(60)]
    markets = [msgspec.structs.replace(m, **{**bad, **whole}.get(m.ticker, {})) for m in markets]
    await store.write_events(seen([event("KXA-1")], T0))
    result = await store.write_markets(markets, moving(store, T0))
    assert result.inserted == 58
    rejected = {(each.ticker, each.field.field) for each in result.rejected}
    assert rejected == {(ticker, name) for ticker, fields in bad.items() for name in fields}
    assert all(each.field.reason for each in result.rejected)
    assert {row.ticker for row in result.rejected_rows} == set(whole)
    assert all(row.reason.startswith("markets: ") for row in result.rejected_rows)
    assert await rows(store, "SELECT watermark FROM sync_watermarks") == [{"watermark": T0}]
    found = await one(store, "KXA-1-T43")
    assert (found["title"], found["volume"]) == ("Market KXA-1-T43", None)
    again = await store.write_markets(markets)
    assert (again.inserted, again.updated, again.unchanged) == (0, 0, 58)


async def test_the_watermark_moves_with_its_data_or_not_at_all(
    store: Store, event: Any, market: Any
) -> None:
    await store.write_events(seen([event("KXA-1")], T0))
    move = moving(store, T0)

    async def move_and_die() -> None:
        await move()
        raise RuntimeError("the process dies here")

    with pytest.raises(RuntimeError):
        await store.write_markets([market()], move_and_die)
    assert await rows(store, "SELECT * FROM sync_watermarks") == []
    assert await rows(store, "SELECT * FROM markets") == []


def test_the_newest_of_each_key_is_kept_in_key_order(market: Any) -> None:
    rows = [
        market("KXB-1-T", title="only"),
        market(title="changed later", exchange_updated_at=T0 + MINUTE, observed_at=T0),
        market(title="observed later", exchange_updated_at=T0, observed_at=T0 + MINUTE),
        market("KXC-1-T", title="first", exchange_updated_at=None),
        market("KXC-1-T", title="last", exchange_updated_at=None),
    ]
    kept = newest(rows, "ticker")
    assert [row.ticker for row in kept] == ["KXA-1-T1", "KXB-1-T", "KXC-1-T"]
    assert [row.title for row in kept] == ["changed later", "only", "last"]


async def test_soft_deletion_and_return(store: Store, event: Any, market: Any) -> None:
    settled = market("KXA-1-T2", status="settled", settled_time=T0)
    await filled(store, event, market("KXA-1-T1"), settled)
    began_at = T0 + 2 * MINUTE
    result = await store.delete_markets(["KXA-1-T1", "KXA-1-T2", "KXA-1-T9"], began_at)
    assert result.deleted == 1
    assert (await one(store, "KXA-1-T1"))["deleted_at"] is not None
    assert (await one(store, "KXA-1-T2"))["deleted_at"] is None
    assert await event_status(store, "KXA-1") == "settled"
    returns_at = datetime.now(UTC) + MINUTE
    assert (await store.write_markets([market(observed_at=returns_at)])).updated == 1
    assert (await one(store, "KXA-1-T1"))["deleted_at"] is None
    assert await event_status(store, "KXA-1") == "open"


async def test_what_was_touched_since_the_scan_began_is_not_deleted(
    store: Store, event: Any, market: Any
) -> None:
    await filled(store, event, market(observed_at=T0 + 5 * MINUTE))
    assert (await store.delete_markets(["KXA-1-T1"], T0 + 2 * MINUTE)).deleted == 0


async def test_two_writers_that_settle_an_events_last_markets_leave_it_settled(
    database: Any, store: Store, event: Any, market: Any
) -> None:
    """Without the lock on the event each would see the other's market still open."""
    pairs = [(market(f"KXA-{i}-T1"), market(f"KXA-{i}-T2")) for i in range(20)]
    await filled(store, event, *(m for pair in pairs for m in pair))

    def settled(m: Market) -> Market:
        later = T0 + timedelta(hours=1)
        return msgspec.structs.replace(
            m, status="settled", exchange_updated_at=later, observed_at=later
        )

    async with database.connect() as connection:
        other = await Store.on(connection)
        await asyncio.gather(
            *(
                s.write_markets([settled(pair[side]) for pair in part])
                for side, s in enumerate((store, other))
                for part in [pairs]
            ),
        )
    assert await rows(store, "SELECT DISTINCT status FROM events") == [{"status": "settled"}]


async def test_series_are_retired_in_the_order_in_which_pages_lock_them(
    store: Store, series: Any, database: Any
) -> None:
    """In any other, a page and a sweep that each have one of two series wait for each other."""
    for ticker in ("KXB", "KXA"):
        await store.write_series([series(ticker, active=True)])
    async with database.connect() as page, database.connect() as other:
        async with page.transaction():
            await page.execute("SELECT FROM series WHERE ticker = 'KXA' FOR NO KEY UPDATE")
            retiring = asyncio.create_task(store.retire_series(["KXB", "KXA"]))
            waiting = "SELECT FROM pg_locks WHERE NOT granted AND pid = %s"
            pid = store.connection.info.backend_pid
            while not (await other.execute(waiting, [pid])).rowcount:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            free = "SELECT FROM series WHERE ticker = 'KXB' FOR NO KEY UPDATE NOWAIT"
            await other.execute(free)
        assert (await retiring).deleted == 2


async def test_a_fee_schedule_is_replaced_as_a_whole(store: Store, series: Any) -> None:
    await store.write_series([series("KXA"), series("KXB")])

    def step(day: int, until: int | None, multiplier: str = "1", ticker: str = "KXA") -> SeriesFee:
        return SeriesFee(
            series_ticker=ticker,
            fee_type="quadratic",
            fee_multiplier=Decimal(multiplier),
            effective_from=T0 + timedelta(days=day),
            effective_to=None if until is None else T0 + timedelta(days=until),
            source_id=f"change-{day}",
        )

    other = [step(0, None, ticker="KXB")]
    schedule = {"KXA": [step(0, 5), step(5, None)], "KXB": other}
    assert (await store.write_fees(schedule)).inserted == 3
    again = await store.write_fees(schedule)
    assert (again.inserted, again.updated, again.deleted, again.unchanged) == (0, 0, 0, 3)
    moved = [step(0, 3), step(3, 8, "0.5"), step(8, None)]
    result = await store.write_fees({"KXA": moved, "KXB": other})
    assert (result.inserted, result.updated, result.deleted) == (2, 1, 1)
    found = await rows(
        store, "SELECT * FROM series_fees WHERE series_ticker = 'KXA' ORDER BY effective_from"
    )
    assert [SeriesFee(**row) for row in found] == moved
