"""The archive replays to the tables that the change stream told of."""

import asyncio
import contextlib
import json
import os
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import psycopg.sql
import pytest

from ssmd_archive.catalog import Archive
from ssmd_archive.errors import NoArchive, NotArchived
from ssmd_archive.rebuild import Rebuilt, place, rebuild
from ssmd_archive.verify import verify
from ssmd_common.tables import PRIMARY_KEY
from ssmd_stack import forked
from ssmd_stack.ports import free_port
from ssmd_stream.rowjson import rows_as_json
from ssmd_stream.subjects import STREAM

from .conftest import Process, World, eventually

ORACLE_SECONDS = float(os.environ.get("ARCHIVER_ORACLE_SECONDS", "90"))

MOST_SERIES = 2_000
"""The oldest go, so that an hour of writing leaves tables that are compared within seconds."""

Rows = dict[str, list[dict[str, Any]]]


@contextlib.asynccontextmanager
async def publisher(world: World) -> AsyncIterator[None]:
    """The change stream's publisher, as its own process."""
    environment = {
        **os.environ,
        "DATABASE_URL": world.database.url,
        "NATS_URL": world.nats_server.url,
        "CDC_SLOT": f"archive_{world.database.name}",
        "OPS_PORT": str(free_port()),
    }
    child = await forked.start("ssmd_cdc", env=environment)
    try:
        yield
        assert child.returncode is None
    finally:
        child.terminate()
        await child.wait()


class Writer:
    """Rows of all tables that have a state, inserted, changed and deleted."""

    def __init__(self, url: str, number: int = 0) -> None:
        """`number` keeps the rows of several writers apart."""
        self._url = url
        self._chance = random.Random(15 + number)
        self._first = self._number = number

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """All the while."""
        ended = asyncio.Event()

        async def write() -> None:
            while not ended.is_set():
                await self.write(5)
                await asyncio.sleep(0.02)

        task = asyncio.create_task(write())
        try:
            yield
        finally:
            ended.set()
            await task

    async def write(self, transactions: int) -> None:
        async with await psycopg.AsyncConnection.connect(self._url) as connection:
            for _ in range(transactions):
                async with connection.transaction():
                    await self._change(connection)

    async def _change(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._number += 1
        number, gone = self._number, max(self._first, self._number - MOST_SERIES)
        old = self._chance.randrange(gone, number)
        await connection.execute(
            "INSERT INTO series (ticker, title) VALUES (%s, %s)", (f"S{number}", "é\n" * 3)
        )
        await connection.execute(
            "INSERT INTO events (event_ticker, series_ticker) VALUES (%s, %s)",
            (f"E{number}", f"S{number}"),
        )
        await connection.execute(
            "INSERT INTO markets (ticker, event_ticker, series_ticker, yes_bid_dollars)"
            " SELECT %s || n, %s, %s, 0.25 FROM generate_series(1, 3) n",
            (f"M{number}-", f"E{number}", f"S{number}"),
        )
        await connection.execute(
            "UPDATE markets SET status = 'settled' WHERE event_ticker = %s", (f"E{old}",)
        )
        await connection.execute("DELETE FROM markets WHERE ticker = %s", (f"M{old}-2",))
        await connection.execute("DELETE FROM markets WHERE event_ticker = %s", (f"E{gone}",))
        await connection.execute("DELETE FROM events WHERE event_ticker = %s", (f"E{gone}",))
        await connection.execute("DELETE FROM series WHERE ticker = %s", (f"S{gone}",))


async def tables(world: World) -> Rows:
    """What PostgreSQL has, as the stream shows it."""
    found: Rows = {}
    async with await psycopg.AsyncConnection.connect(world.database.url) as connection:
        for table, row in (await rows_as_json(connection, list(PRIMARY_KEY))).items():
            cursor = await connection.execute(
                psycopg.sql.SQL("SELECT {row} FROM {table} t").format(
                    row=row, table=psycopg.sql.Identifier(table)
                ),
                {"close": "}"},
            )
            found[table] = _sorted(table, [json.loads(text) for (text,) in await cursor.fetchall()])
    return found


def _sorted(table: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: [row[column] for column in PRIMARY_KEY[table]])


def rebuilt(world: World) -> Rebuilt[bytes] | None:
    """The rows at the archive's end, from files alone; None while they are not known."""
    try:
        archive = Archive(world.root)
        listed = list(archive.lines())
        at = place(archive, listed, None)
        return rebuild(archive, listed, at, PRIMARY_KEY, lambda _, row: row)
    except (NoArchive, NotArchived):
        return None


async def becomes_the_tables(world: World) -> None:
    """Nobody writes any more: the archive comes to what the tables are, and misses nothing."""
    expected = await tables(world)
    assert expected["markets"]
    last: Rebuilt[bytes] | None = None

    async def equal() -> bool:
        nonlocal last
        last = await asyncio.to_thread(rebuilt, world)
        if last is None or last.lost:
            return False
        found = {
            table: _sorted(table, [json.loads(row) for row in last.replay.rows(table).values()])
            for table in PRIMARY_KEY
        }
        return found == expected

    await eventually(equal, lambda: f"the tables, {last and (last.at, last.state, last.lost)}")
    assert last is not None
    assert not last.replay.unread


async def test_at_a_quiet_moment_the_archive_is_the_tables(world: World) -> None:
    writer = Writer(world.database.url)
    await writer.write(5)
    async with publisher(world), world.archiver() as archiver:
        async with writer.writing():
            await archiver.ready()
            await eventually(lambda: _has_state(world), lambda: "a state is archived")
            await writer.write(20)
        await becomes_the_tables(world)
    assert verify(Archive(world.root), deep=True).findings == []


async def test_a_purge_in_a_quiet_hour_leaves_no_rows_unknown(world: World) -> None:
    """The state that is taken then counts, though no message comes after it."""
    writer = Writer(world.database.url)
    async with publisher(world):
        async with world.archiver() as archiver:
            await archiver.ready()
            await eventually(lambda: _has_state(world), lambda: "a state is archived")
        before = (await world.js.stream_info(STREAM)).state.last_seq
        await writer.write(20)
        await eventually(lambda: _is_published(world, before + 100), lambda: "published")
        await world.js.purge_stream(STREAM)
        async with world.archiver(archiver_snapshot_wait_seconds=1):
            await becomes_the_tables(world)
    assert verify(Archive(world.root), deep=True).findings == []


async def _is_published(world: World, sequence: int) -> bool:
    return (await world.js.stream_info(STREAM)).state.last_seq >= sequence


async def _has_state(world: World) -> bool:
    return any(line["what"] == "state" for line in world.lines())


@pytest.mark.slow
@pytest.mark.timeout(ORACLE_SECONDS + 1200)
async def test_after_an_hour_of_everything_the_archive_is_the_tables(world: World) -> None:
    """Kills, restarts of NATS, purges, streams made anew, full disks."""
    chance = random.Random(7)
    writer = Writer(world.database.url)
    until = time.monotonic() + ORACLE_SECONDS
    async with publisher(world):
        async with writer.writing():
            while time.monotonic() < until:
                async with world.process() as process:
                    await process.until(lambda said: bool(said["ready"]))
                    await asyncio.sleep(2 * chance.random())
                    await _something(world, process, chance)
        async with world.archiver(archiver_snapshot_wait_seconds=1):
            await becomes_the_tables(world)
    assert verify(Archive(world.root), deep=True).findings == []


async def _something(world: World, process: Process, chance: random.Random) -> None:
    match chance.choice(("kill", "kill", "nats", "purge", "recreate", "full")):
        case "nats":
            await world.nats_server.stop()
            await asyncio.sleep(chance.random())
            await world.nats_server.start()
            await world.nats.flush()
        case "purge":
            await process.kill()
            await asyncio.sleep(chance.random())
            await world.js.purge_stream(STREAM)
        case "recreate":
            await world.js.delete_stream(STREAM)
        case "full":
            process.limit_files(0)
            await process.until(lambda said: "full" in said["reasons"].get("disk", ""))
            process.limit_files(1 << 40)
            await process.until(lambda said: bool(said["ready"]))
        case _:
            pass
