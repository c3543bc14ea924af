"""Results as libpq has them: the same as a cursor's, and a connection that is left is of no use."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from ssmd_api import results
from ssmd_api.database import PLANNING, open_pool
from ssmd_api.database import Database as Lent
from ssmd_api.lists import Statement
from ssmd_api.results import fetched
from ssmd_api.settings import ApiSettings
from ssmd_stack.database import Database

MODE = Statement(sql.SQL("SELECT current_setting('plan_cache_mode')"), {})


@pytest_asyncio.fixture
async def connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with database.connect() as made:
        yield made


async def test_values_are_as_a_cursor_has_them(connection: Any) -> None:
    query = (
        "SELECT %(b)s::text, %(a)s::int8 + 1, %(at)s::timestamptz, %(all)s::text[], '5%%', %(b)s"
    )
    given: dict[str, Any] = {
        "a": 2**40, "b": "ü", "at": datetime(2026, 2, 3, tzinfo=UTC), "all": ["x", "y,z"],
    }  # fmt: skip
    for _ in range(2):
        found = await fetched(connection, query, given)
        row = [found.get_value(0, column) for column in range(found.nfields)]
        expected = await (await connection.execute(query, given)).fetchone()
        assert row[0] == row[5] == expected[0].encode()
        assert row[1] == str(expected[1]).encode()
        assert datetime.fromisoformat(f"{row[2].decode()}:00") == expected[2]
        assert row[3:5] == [b'{x,"y,z"}', expected[4].encode()]
    assert len(results._prepared[connection]) == 1


async def test_much_is_sent_and_received_in_pieces(connection: Any) -> None:
    text = "x" * 5_000_000
    found = await fetched(
        connection, "SELECT %(text)s::text FROM generate_series(1, 3)", {"text": text}
    )
    assert [len(found.get_value(row, 0) or b"") for row in range(3)] == [len(text)] * 3


async def test_a_failure_is_told_and_the_connection_goes_on(connection: Any) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await fetched(connection, "SELECT 1 / %(a)s::int", {"a": 0})
    with pytest.raises(psycopg.errors.SyntaxError):
        await fetched(connection, "SELEC", {})
    assert (await fetched(connection, "SELECT 1", {})).get_value(0, 0) == b"1"


async def test_a_connection_keeps_so_many_statements(connection: Any) -> None:
    for _ in range(2):
        for number in range(results._MOST_PREPARED + 5):
            found = await fetched(connection, f"SELECT {number}", {})
            assert found.get_value(0, 0) == str(number).encode()
    [(kept,)] = await (
        await connection.execute("SELECT count(*) FROM pg_prepared_statements")
    ).fetchall()
    assert kept == results._MOST_PREPARED


async def test_who_leaves_leaves_it_closed(connection: Any, database: Database) -> None:
    """Else another would read the answer that was under way."""
    async with database.connect() as other:
        reading = asyncio.create_task(fetched(connection, "SELECT 1 FROM pg_sleep(60)", {}))
        sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        while not await (await other.execute(sleeping)).fetchone():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert connection.closed


async def test_a_lost_server_is_told(connection: Any, database: Database) -> None:
    async with database.connect() as other:
        reading = asyncio.create_task(fetched(connection, "SELECT 1 FROM pg_sleep(60)", {}))
        ended = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        )
        while not await (await other.execute(ended)).fetchone():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        with pytest.raises(psycopg.OperationalError):
            await reading


async def test_a_connection_plans_as_its_statement_needs(database: Database) -> None:
    async with open_pool(ApiSettings(database_url=database.url, api_pool_size=2)) as pool:
        lent = Lent(pool)
        usual = PLANNING["plan_cache_mode"].encode()
        modes = [
            (await lent.result(MODE, generic=generic)).get_value(0, 0)
            for generic in (False, True, True, False)
        ]
        assert modes == [usual, b"force_generic_plan", b"force_generic_plan", usual]
        await lent.result(MODE, generic=True)
        async with lent.cursor() as cursor:
            await cursor.execute("SELECT current_setting('plan_cache_mode')")
            assert await cursor.fetchone() == (usual.decode(),)


async def test_who_answered_a_moment_ago_is_not_asked_whether_it_works(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, began = AsyncConnectionPool.check_connection, time.monotonic()
    now, asked = 1000.0, 0
    answered: dict[int, float] = {}

    async def checked(connection: psycopg.AsyncConnection[Any]) -> None:
        nonlocal asked
        asked += 1
        assert now - answered.get(connection.info.backend_pid, 0) >= 1
        await real(connection)

    async with open_pool(ApiSettings(database_url=database.url, api_pool_size=2)) as pool:
        lent = Lent(pool)
        monkeypatch.setattr(
            "ssmd_api.database.time", SimpleNamespace(monotonic=lambda: began + now)
        )
        monkeypatch.setattr(AsyncConnectionPool, "check_connection", staticmethod(checked))
        for _ in range(10):
            found = await lent.result(Statement(sql.SQL("SELECT pg_backend_pid()"), {}))
            answered[int(found.get_value(0, 0) or 0)] = now
            now += 0.4
        assert asked == len(answered)
        now += 2
        await lent.result(MODE)
        assert asked == len(answered) + 1


async def test_a_reader_who_stops_leaves_the_connection_of_use(database: Database) -> None:
    async with open_pool(ApiSettings(database_url=database.url, api_pool_size=2)) as pool:
        lent = Lent(pool)
        # The second page takes a moment: it is under way when the reader stops.
        slow = sql.SQL(
            "SELECT n FROM generate_series(1, %(last)s) n"
            " WHERE n <> 400 OR pg_sleep(0.2) IS NOT NULL"
        )
        numbers = Statement(slow, {"last": 1000})
        async with lent.reading() as connection:
            pages = lent.pages(connection, numbers, 300)
            assert (await anext(pages)).get_value(299, 0) == b"300"
            while connection.pgconn.transaction_status != TransactionStatus.ACTIVE:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await pages.aclose()
            assert (await lent.result_of(connection, MODE)).ntuples == 1
        async with lent.reading() as connection:
            found = [page.ntuples async for page in lent.pages(connection, numbers, 300)]
            again = [page.ntuples async for page in lent.pages(connection, numbers, 999)]
        assert found == [300, 300, 300, 100]
        assert again == [999, 1]


async def test_a_rollback_leaves_what_is_prepared(database: Database) -> None:
    """As when a reader leaves an export: the connection rolls back and is used again."""
    async with open_pool(ApiSettings(database_url=database.url, api_pool_size=2)) as pool:
        lent = Lent(pool)
        with pytest.raises(ConnectionResetError):
            async with lent.reading() as left:
                for _ in range(10):  # more often than psycopg runs a query before it prepares it
                    async with lent.cursor_of(left) as cursor:
                        await cursor.execute("SELECT %(a)s::int", {"a": 1})
                await lent.result_of(left, MODE)
                raise ConnectionResetError
        again = None
        while again is not left:
            async with lent.reading() as again:
                assert (await lent.result_of(again, MODE)).ntuples == 1
