"""From when to when history knows: beginnings, restored databases, clocks, kills, retention."""

import asyncio
import secrets
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg
import pytest
from history_witness import Witness, notice, rows, without_months

from ssmd_common.migrations import migration_files
from ssmd_common.times import spelled, spelled_moment
from ssmd_stack import cluster
from ssmd_stack.database import migrate, new_database
from ssmd_stack.faketime import WrongClock
from ssmd_stack.fixtures import OwnServer
from ssmd_stack.postgres import PostgresServer

BEGINNING = """
    INSERT INTO series (ticker, title) VALUES ('S', 's');
    INSERT INTO events (event_ticker, series_ticker) VALUES ('E', 'S');
    INSERT INTO markets (ticker, event_ticker, series_ticker) VALUES ('A', 'E', 'S')"""


async def value(connection: psycopg.AsyncConnection[Any], query: str, *parameters: Any) -> Any:
    [(found,)] = await (await connection.execute(query, parameters)).fetchall()
    return found


async def now(connection: psycopg.AsyncConnection[Any]) -> str:
    return str(await value(connection, "SELECT clock_timestamp()::text"))


async def snapshot(connection: psycopg.AsyncConnection[Any]) -> str:
    return str(await value(connection, "SELECT pg_current_snapshot()::text"))


async def refused(
    connection: psycopg.AsyncConnection[Any], state: str, moment: Any, kind: str = "timestamptz"
) -> str:
    """The sentence with which the moment is refused."""
    function = "markets_as_of" if kind == "timestamptz" else "markets_as_of_snapshot"
    with pytest.raises(psycopg.Error) as error:
        await connection.execute(f"SELECT count(*) FROM {function}(%s::text::{kind})", (moment,))
    assert error.value.sqlstate == state, error.value
    return str(error.value.diag.message_primary)


async def test_moments_that_are_not_known(database: Any) -> None:
    async with database.connect() as connection:
        await notice(connection)
        begins = await value(connection, "SELECT max(known_from) FROM history.spans")
        first = spelled_moment(await value(connection, "SELECT min(known_from) FROM history.spans"))
        # Times are spelled as everywhere, whatever the session's settings are.
        await connection.execute("SET TIME ZONE 'Asia/Kolkata'; SET DateStyle = 'German'")
        said = await refused(connection, "SH001", "2100-01-01Z")
        assert said == "as of 2100-01-01T00:00:00Z cannot be told: it is in the future"
        assert "future" in await refused(connection, "SH001", None)
        said = await refused(connection, "SH002", "2020-01-01Z")
        assert said == f"as of 2020-01-01T00:00:00Z is not known: the record begins at {first}"
        await connection.execute(BEGINNING)
        said = await refused(connection, "SH002", "3:3:", "pg_snapshot")
        assert said.endswith(f"the record begins at {spelled_moment(begins)}")
        assert "NULL" in await refused(connection, "SH001", None, "pg_snapshot")
        await refused(connection, "SH001", "900000000:900000009:", "pg_snapshot")


@pytest.mark.parametrize(
    "written",
    [
        *("2026-11-29 13:45:31+00", "2026-11-29 13:45:31.120+00", "2026-11-29 13:45:30.000001+00"),
        *("2026-11-29 23:59:00-05", "0044-03-15 00:00:00+00 BC", "0001-01-01 00:00:00+00 BC"),
        *("9999-12-31 23:59:59+00", "15000-12-31 23:40:28+00", "infinity", "-infinity"),
    ],
)
async def test_a_time_is_spelled_as_everywhere(database: Any, written: str) -> None:
    async with database.connect() as connection:
        await connection.execute("SET TIME ZONE 'UTC'")
        text = await value(connection, "SELECT %s::timestamptz::text", written)
        found = await value(connection, "SELECT history.spelled(%s)", written)
        assert found == spelled(text.encode()).decode()


async def test_an_old_transaction_is_not_asked_of_what_it_does_not_see(database: Any) -> None:
    async with database.connect() as connection, database.connect() as other:
        await notice(connection)
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        own = await snapshot(connection)
        await other.execute(BEGINNING)
        later = await snapshot(other)
        assert await rows(connection, "markets", "markets_as_of_snapshot", own) == []
        await refused(connection, "SH001", later, "pg_snapshot")


async def test_a_database_with_rows_is_migrated(empty_database: Any) -> None:
    """The past of those rows is not known; from then on all is."""
    files = migration_files()
    until = next(n for n, file in enumerate(files) if "history" in file.name)
    await migrate(empty_database.url, files[:until])
    async with empty_database.connect() as connection:
        await connection.execute(BEGINNING)
        before = await now(connection)
        await migrate(empty_database.url, files[until:])
        await refused(connection, "SH002", before)
        witness = Witness(connection)
        await witness.look()
        await connection.execute("UPDATE markets SET ticker = 'C', title = 'x'")
        await witness.look()
        await connection.execute("TRUNCATE series CASCADE")
        await witness.look()
        await witness.check()


async def test_what_is_recorded_already_is_migrated(empty_database: Any) -> None:
    """What was told before is told after it, and a writer who is in the middle of something can go
    on while the migration waits."""
    files = migration_files()
    until = next(n for n, file in enumerate(files) if "history_births" in file.name)
    await migrate(empty_database.url, files[:until])
    async with empty_database.connect() as connection, empty_database.connect() as writer:
        witness = Witness(connection)
        for statement in (
            BEGINNING,
            "UPDATE markets SET title = 'x'",
            "DELETE FROM markets",
            "INSERT INTO markets (ticker, event_ticker, series_ticker) VALUES ('A', 'E', 'S')",
        ):
            await connection.execute(statement)
            await witness.look()
        async with writer.transaction():
            await writer.execute("UPDATE series SET title = 'y'")
            migration = asyncio.create_task(migrate(empty_database.url, files[until : until + 1]))
            waits = (
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event = 'PgSleep'"
            )
            while not await value(connection, waits):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await writer.execute("UPDATE markets SET title = 'y'")
            await writer.execute("UPDATE events SET title = 'y'")
            assert not migration.done()
        await migration
        await witness.look()
        await connection.execute("DELETE FROM markets")
        await witness.look()
        await witness.check()


@pytest.mark.parametrize("how", ["dump", "template"])
async def test_a_restored_database_does_not_know_what_was_between(
    postgres_server: Any, database: Any, how: str
) -> None:
    async with database.connect() as connection:
        await notice(connection)
        await connection.execute(BEGINNING)
        dumped_at = await now(connection)
        held = await rows(connection, "markets")
    async with new_database(
        postgres_server, template="template0" if how == "dump" else database.name
    ) as copy:
        if how == "dump":
            await restore(postgres_server, database.url, copy.url)
        async with copy.connect() as connection:
            # Before anything is written, and whether or not something notices.
            last = await value(connection, "SELECT max(at) FROM history.commits")
            assert await rows(connection, "markets", "markets_as_of", last) == held
            said = await refused(connection, "SH003", dumped_at)
            between = f"the database was restored or copied between {spelled_moment(last)} and"
            assert said.endswith(f"{between} now")
            await refused(connection, "SH003", await snapshot(connection), "pg_snapshot")
            if how == "dump":
                await notice(connection)
            witness = Witness(connection)
            await connection.execute("UPDATE markets SET title = 'x'")
            await witness.look()
            await connection.execute("DELETE FROM markets")
            await witness.look()
            await witness.check()
            said = await refused(connection, "SH003", dumped_at)
            known = await value(connection, "SELECT max(known_from) FROM history.spans")
            assert said.endswith(f"{between} {spelled_moment(known)}")
            assert await rows(connection, "markets", "markets_as_of", last) == held
            assert not await value(connection, "SELECT history.notice()")


async def restore(server: Any, source: str, target: str) -> None:
    if not isinstance(server, PostgresServer):
        pytest.skip("the programs of the server are only at hand where it is embedded")
    dump = await run(server.bin_dir / "pg_dump", "--no-owner", source)
    # What only a superuser may say of an extension.
    text = b"\n".join(
        line for line in dump.splitlines() if not line.startswith(b"COMMENT ON EXTENSION")
    )
    await run(server.bin_dir / "psql", "-qX", "-v", "ON_ERROR_STOP=1", target, given=text)


async def run(*command: Any, given: bytes = b"") -> bytes:
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, said = await process.communicate(given)
    assert process.returncode == 0, said
    return out


async def test_a_server_is_killed_in_mid_transaction(private_postgres: OwnServer) -> None:
    connection = await psycopg.AsyncConnection.connect(private_postgres.url, autocommit=True)
    await connection.execute(BEGINNING)
    before = await rows(connection, "markets")
    witness = Witness(connection)
    await witness.look()
    await connection.execute("BEGIN")
    await connection.execute("UPDATE markets SET title = 'lost'")
    await private_postgres.kill()
    await connection.close()
    await private_postgres.start()
    connection = await psycopg.AsyncConnection.connect(private_postgres.url, autocommit=True)
    witness.connection = connection
    assert await rows(connection, "markets") == before
    await witness.look()
    await connection.execute("UPDATE markets SET title = 'kept'")
    await witness.look()
    await connection.execute("DELETE FROM markets")
    await witness.check()
    await connection.close()


async def test_two_that_end_at_once(database: Any) -> None:
    """The one with the later number may have read the clock earlier."""
    async with database.connect() as connection:
        await notice(connection)
        await connection.execute(BEGINNING)
        witness = Witness(connection)
        await connection.execute("UPDATE markets SET title = 'first'")
        await connection.execute("UPDATE series SET title = 'second'")
        await connection.execute(
            "WITH last AS (SELECT * FROM history.commits ORDER BY began DESC LIMIT 2)"
            " UPDATE history.commits c SET at = (SELECT max(at) + interval '1 us' FROM last)"
            " WHERE c.began = (SELECT min(began) FROM last)"
        )
        await witness.look()
        await connection.execute("DELETE FROM markets")
        await witness.check()


async def test_a_clock_that_steps_back(
    scratch: Path, wrong_clock: WrongClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of times that came twice the later ones are told; before and after them nothing changes."""
    server = PostgresServer(scratch / f"postgres-{secrets.token_hex(4)}", durable=False)
    # The server's account has to read it.
    wrong_clock = WrongClock(wrong_clock.library, Path(mkdtemp()) / "clock")
    wrong_clock.file.parent.chmod(0o755)
    for name, setting in wrong_clock.environment.items():
        monkeypatch.setitem(cluster.ENVIRONMENT, name, setting)
    wrong_clock.set(0)
    try:
        await server.start()
        await migrate(server.url, migration_files())
        async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as connection:
            await connection.execute(BEGINNING)
            witness = Witness(connection)
            await witness.look()
            # This one's snapshot is from before the clock was ahead.
            old = await psycopg.AsyncConnection.connect(server.url)
            await old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await old.execute("SELECT FROM markets")
            wrong_clock.set(3600)
            await connection.execute("UPDATE markets SET title = 'in an hour'")
            ahead = await now(connection)
            await connection.execute("UPDATE markets SET title = 'in an hour, too'")
            wrong_clock.set(5)
            await old.execute("UPDATE series SET title = 'an hour back'")
            await old.commit()
            await old.close()
            await witness.look()
            await connection.execute("UPDATE markets SET title = 'last'")
            await witness.look()
            await connection.execute("DELETE FROM markets")
            await witness.check()
            assert await value(connection, "SELECT count(*) FROM history.steps") == 1
            assert "future" in await refused(connection, "SH001", ahead)
            wrong_clock.set(7200)
            assert await rows(connection, "markets", "markets_as_of", ahead) == []
    finally:
        await server.stop()
        server.remove()
        shutil.rmtree(wrong_clock.file.parent)


async def months(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    query = (
        "SELECT substr(relname, 9) FROM pg_class WHERE relnamespace = 'history'::regnamespace"
        " AND relkind = 'r' AND relname ~ '^commits_[0-9]' ORDER BY 1"
    )
    return [month for (month,) in await (await connection.execute(query)).fetchall()]


async def maintain(
    connection: psycopg.AsyncConnection[Any], keep: str = "90 days", most: int | None = None
) -> list[str]:
    query = "SELECT history.maintain(%s::text::interval, %s::int8)"
    return [said for (said,) in await (await connection.execute(query, (keep, most))).fetchall()]


async def test_months_are_there_from_the_beginning(database: Any) -> None:
    """Whoever writes first, and whoever reads what was written, meets nobody who makes them."""
    async with database.connect() as connection:
        assert len(await months(connection)) >= 2
        await connection.execute(BEGINNING)
        assert await value(connection, "SELECT count(*) FROM history.markets_default") == 0


async def test_partitions_are_made_and_what_came_before_moves(database: Any) -> None:
    async with database.connect() as connection:
        await notice(connection)
        await without_months(connection)
        witness = Witness(connection)
        await connection.execute(BEGINNING)
        await witness.look()
        await connection.execute("UPDATE markets SET title = 'x'")
        said = await maintain(connection)
        assert len(said) == 12
        assert all(each.startswith("made ") for each in said)
        for table in ("markets", "series", "commits"):
            left = await value(connection, f"SELECT count(*) FROM history.{table}_default")
            assert left == 0, table
        await witness.look()
        await connection.execute("UPDATE markets SET title = 'y'")
        assert await value(connection, "SELECT count(*) FROM history.markets_default") == 0
        await witness.look()
        assert await maintain(connection) == []
        await connection.execute("DELETE FROM markets")
        await witness.check()


async def shift(connection: psycopg.AsyncConnection[Any], months: int) -> None:
    """As if all so far had happened so many months earlier."""
    ago = f"interval '{months} months'"
    query = "SELECT name FROM history.watched UNION ALL SELECT 'commits'"
    for (name,) in await (await connection.execute(query)).fetchall():
        await shift_table(connection, name, ago)
    await connection.execute(
        f"UPDATE history.spans SET known_from = known_from - {ago},"
        f" unknown_since = unknown_since - {ago}"
    )


async def shift_table(
    connection: psycopg.AsyncConnection[Any], name: str, ago: str, where: str = "true"
) -> None:
    """Into partitions of its own."""
    for table in (name, "commits"):
        for ahead in (0, 1):
            await connection.execute(
                f"""DO $$ DECLARE
                    month timestamptz := date_trunc('month', clock_timestamp(), 'UTC') - {ago}
                        - interval '{ahead} months';
                    made text := to_char(month AT TIME ZONE 'UTC', '"{table}_"YYYY_MM');
                BEGIN
                    IF to_regclass('history.' || made) IS NULL THEN
                        EXECUTE format('CREATE TABLE history.%I PARTITION OF history.{table}
                            FOR VALUES FROM (%L) TO (%L)', made, month, month + interval '1 month');
                    END IF;
                END $$"""
            )
    # A row that moves to another partition is inserted there.
    trigger = f"ALTER TABLE history.{name} {{}} TRIGGER stamp;" if name != "commits" else ""
    await connection.execute(
        trigger.format("DISABLE")
        + f"UPDATE history.{name} SET at = at - {ago} WHERE {where};"
        + trigger.format("ENABLE ALWAYS")
    )


async def earlier(connection: psycopg.AsyncConnection[Any], at: str, months: int) -> str:
    query = "SELECT (%s::timestamptz - %s::text::interval)::text"
    return str(await value(connection, query, at, f"{months} months"))


async def test_old_months_are_dropped(database: Any) -> None:
    """Before the new beginning nothing is told; from then on everything, as before."""
    async with database.connect() as connection:
        await notice(connection)
        await connection.execute(BEGINNING)
        await connection.execute("UPDATE markets SET title = 'old'")
        lost, old = await now(connection), await snapshot(connection)
        await connection.execute("UPDATE markets SET title = 'older'")
        await shift(connection, 6)
        await maintain(connection, keep="10 years")
        lost = await earlier(connection, lost, 6)
        assert await rows(connection, "markets", "markets_as_of", lost) != []
        witness = Witness(connection)
        await witness.look()
        await connection.execute("UPDATE markets SET title = 'new'")
        await witness.look()
        await connection.execute("DELETE FROM markets")
        said = await maintain(connection)
        assert len(said) == 12
        assert all(each.startswith("dropped ") for each in said)
        begins = spelled_moment(await value(connection, "SELECT known_from FROM history.spans"))
        assert (await refused(connection, "SH002", lost)).endswith(f"begins at {begins}")
        await refused(connection, "SH002", old, "pg_snapshot")
        await witness.check()
        assert await maintain(connection) == []


async def test_who_began_in_a_dropped_month_and_ended_later(database: Any) -> None:
    """What it changed first is lost: the record begins when it ended."""
    async with database.connect() as connection:
        await notice(connection)
        await connection.execute(BEGINNING)
        await shift(connection, 6)
        await connection.execute(
            "BEGIN; UPDATE markets SET title = 'x'; UPDATE series SET title = 'x'; COMMIT"
        )
        ended = await value(connection, "SELECT max(at)::text FROM history.commits")
        after = await snapshot(connection)
        # As if its first change had been half a year ago.
        await shift_table(connection, "markets", "interval '6 months'", "kind = 'U'")
        await connection.execute("UPDATE markets SET title = 'y'")
        await maintain(connection)
        begins = await value(connection, "SELECT known_from::text FROM history.spans")
        assert begins == ended
        await refused(connection, "SH002", "3:3:", "pg_snapshot")
        query = "SELECT title FROM markets_as_of_snapshot(%s::text::pg_snapshot)"
        assert await value(connection, query, after) == "x"
        assert await value(connection, "SELECT title FROM markets_as_of(%s)", ended) == "x"


async def test_the_oldest_months_go_where_all_is_too_large(database: Any) -> None:
    async with database.connect() as connection:
        await notice(connection)
        for ago in (2, 1):
            await connection.execute(
                "INSERT INTO series (ticker) SELECT g::text FROM generate_series(1, 2000) g"
            )
            await connection.execute("DELETE FROM series")
            await shift(connection, ago)
        await maintain(connection, "10 years")
        had = await months(connection)
        size = await value(connection, "SELECT history.bytes()")
        assert await maintain(connection, "10 years", size) == []
        assert await maintain(connection, "10 years", size - 1) != []
        assert await months(connection) == had[1:]
        await maintain(connection, "10 years", 0)
        # This month and the next always stay.
        assert await months(connection) == had[-2:]


async def test_who_maintains_waits_for_nobody_and_fails_nobody(database: Any) -> None:
    """A writer holds one table's history and then needs another's: neither fails."""
    async with (
        database.connect() as connection,
        database.connect() as writer,
        database.connect() as other,
    ):
        await notice(connection)
        await connection.execute(BEGINNING)
        await shift(connection, 6)
        await writer.execute("BEGIN")
        await writer.execute("UPDATE markets SET title = 'x'")
        maintaining = asyncio.create_task(maintain(connection))
        active = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
        while not await value(other, active, connection.info.backend_pid):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await writer.execute("UPDATE events SET title = 'x'")
        await writer.execute("UPDATE series SET title = 'x'")
        await writer.execute("COMMIT")
        assert await maintaining != []


async def test_a_lock_that_is_not_had_changes_nothing(database: Any) -> None:
    async with database.connect() as connection, database.connect() as reader:
        await notice(connection)
        await without_months(connection)
        await reader.execute("BEGIN")
        await reader.execute("SELECT count(*) FROM history.markets")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await connection.execute("SELECT history.maintain_now('90 days', NULL)")
        assert await months(connection) == []
        await reader.execute("COMMIT")
        assert await maintain(connection) != []
