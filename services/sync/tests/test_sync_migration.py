"""Columns change their types while sync has its sessions open."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from ssmd_common.migrations import migration_files
from ssmd_stack.database import migrate
from ssmd_store.pages import Store

WIDER = """
DROP TRIGGER history_updated ON series;
DROP TRIGGER history_updated ON events;
DROP TRIGGER history_updated ON series_fees;
DROP TRIGGER history_updated ON markets;
DROP TRIGGER categorise ON series;
DROP TRIGGER categorise ON events;
ALTER TABLE series ALTER COLUMN category TYPE text;
ALTER TABLE events ALTER COLUMN title TYPE varchar(5000), ALTER COLUMN category TYPE text;
ALTER TABLE series_fees ALTER COLUMN fee_multiplier TYPE numeric(12,6);
DROP TRIGGER markets_due_updated ON markets;
ALTER TABLE markets ALTER COLUMN exchange_status TYPE varchar(40),
    ALTER COLUMN title TYPE varchar(5000), ALTER COLUMN yes_bid_dollars TYPE numeric(12,8);
SELECT history.watch(name) FROM history.watched;
"""


async def test_a_migration_changes_columns_between_passes_of_an_open_session(
    database: Any, sync: Any, exchange: Any, market: Any
) -> None:
    await sync()
    [row] = await sync.rows(
        "SELECT ticker, event_ticker FROM markets WHERE status = 'active' LIMIT 1"
    )
    made = market(row["ticker"], event_ticker=row["event_ticker"])
    async with database.connect() as connection:
        await connection.execute("SET lock_timeout = '10s'")
        await connection.execute(WIDER)
    # What had already begun goes on as it was,
    assert (await sync.store.write_markets([made])).rejected_rows == []
    # and the next pass knows the new types.
    report = await sync()
    assert (report.outcome, report.error) == ("ok", None)
    [found] = await sync.rows("SELECT max(observed_at) AS at FROM markets")
    wide = market(
        row["ticker"],
        event_ticker=row["event_ticker"],
        exchange_status="a-word-of-twenty-six-letters",
        yes_bid_dollars=Decimal("0.12345678"),
        exchange_updated_at=found["at"],
        observed_at=found["at"],
    )
    assert (await sync.store.write_markets([wide])).updated == 1
    [found] = await sync.rows("SELECT * FROM markets WHERE ticker = %s", row["ticker"])
    assert found["exchange_status"] == "a-word-of-twenty-six-letters"
    assert found["yes_bid_dollars"] == Decimal("0.12345678")


async def test_an_idle_session_leaves_nothing_that_depends_on_published_tables(
    store: Store, event: Any, market: Any
) -> None:
    query = (
        "SELECT count(*) FROM pg_depend d JOIN pg_class c ON c.oid = d.objid OR c.oid ="
        " (SELECT ev_class FROM pg_rewrite r WHERE r.oid = d.objid)"
        " WHERE c.relpersistence = 't' AND d.refobjid IN ('markets'::regclass,"
        " 'events'::regclass, 'series'::regclass, 'series_fees'::regclass)"
    )
    row = await (await store.connection.execute(query)).fetchone()
    assert row == (0,)


@pytest.fixture
def before_006() -> Any:
    return [file for file in migration_files() if file.name < "006"]


async def test_006_ends_sessions_of_an_older_sync_that_keep_views(
    empty_database: Any, before_006: Any
) -> None:
    """Their next session is made after the change, with views of its own."""
    await migrate(empty_database.url, before_006)
    [file] = [file for file in migration_files() if file.name.startswith("006")]
    views = (
        "CREATE OR REPLACE TEMP VIEW judged_markets AS SELECT ticker, exchange_status FROM markets"
    )
    others = []
    for application in ("ssmd-sync", "ssmd-sync-everything", "ssmd-cli-sync", "somebody"):
        connection = await psycopg.AsyncConnection.connect(
            empty_database.url, autocommit=True, application_name=application
        )
        others.append(connection)
        if application != "somebody":
            await connection.execute(views)  # type: ignore[arg-type]
    try:
        await migrate(empty_database.url, [file])
        for connection in others[:3]:
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("SELECT 1")
        await others[3].execute("SELECT 1")
        async with empty_database.connect() as again:
            await again.execute(views)  # type: ignore[arg-type]
            row = await (
                await again.execute(
                    "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
                    " WHERE attrelid = 'markets'::regclass AND attname = 'exchange_status'"
                )
            ).fetchone()
            assert row == ("text",)
            row = await (
                await again.execute(
                    "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'markets_due_%'"
                )
            ).fetchone()
            assert row == (2,)
    finally:
        for connection in others:
            await connection.close()


async def test_series_and_events_gain_extra_beside_a_writer_that_holds_them(
    empty_database: Any,
) -> None:
    """It meets them in its own order, and what it wrote before the columns has NULL there."""
    older = [file for file in migration_files() if file.name < "007"]
    gain = [file for file in migration_files() if file.name[:3] in ("007", "008")]
    await migrate(empty_database.url, older)
    add_event = "INSERT INTO events (event_ticker, series_ticker) VALUES (%s, 'A')"
    async with empty_database.connect() as writer, empty_database.connect() as looker:
        await writer.execute("INSERT INTO series (ticker) VALUES ('A')")
        await writer.execute(add_event, ["E"])
        async with writer.transaction():
            await writer.execute("UPDATE events SET title = 't'")
            migration = asyncio.create_task(migrate(empty_database.url, gain))
            waiting = (
                "SELECT count(*) FROM pg_locks WHERE relation = 'events'::regclass AND NOT granted"
            )
            async with asyncio.timeout(180):
                while await (await looker.execute(waiting)).fetchone() == (0,):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            # Its series is looked for: of a migration that held both tables each would wait.
            await writer.execute(add_event, ["F"])
        await migration
        for table in ("series", "events"):
            row = await (await looker.execute(f"SELECT count(extra) FROM {table}")).fetchone()
            assert row == (0,)


async def test_runs_of_an_older_sync_can_still_be_recorded(database: Any) -> None:
    """It knows nothing of the new columns."""
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO sync_runs (job, scope, finished_at, outcome)"
            " VALUES ('j', '{}', now(), 'ok')"
        )
        row = await (
            await connection.execute("SELECT rejected_fields, unread FROM sync_runs")
        ).fetchone()
    assert row == ([], None)


async def test_rows_that_a_run_rejected_have_both_names_for_one_version(database: Any) -> None:
    """An older sync writes the old name, and what reads it is right with a newer one."""
    reason = [{"ticker": "A", "reason": "why"}]
    async with database.connect() as connection:
        for written in ("set_aside", "rejected_rows"):
            for begun in ("[]", json.dumps(reason)):
                row = await (
                    await connection.execute(
                        f"INSERT INTO sync_runs (job, scope, {written}) VALUES ('j', '{{}}', %s)"
                        " RETURNING id, set_aside, rejected_rows",
                        (begun,),
                    )
                ).fetchone()
                assert row[1:] == (json.loads(begun),) * 2
                for now in (json.dumps(reason * 2), "[]"):
                    ended = await (
                        await connection.execute(
                            f"UPDATE sync_runs SET {written} = %s WHERE id = %s"
                            " RETURNING set_aside, rejected_rows",
                            (now, row[0]),
                        )
                    ).fetchone()
                    assert ended == (json.loads(now),) * 2
