"""What history tells of a place in the change stream is what the stream tells up to there."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import psycopg
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError
from psycopg import sql

from ssmd_archive.bounds import Sequence
from ssmd_archive.catalog import Archive
from ssmd_archive.rebuild import rebuild
from ssmd_common.tables import PRIMARY_KEY, PUBLISHED
from ssmd_stream.rowjson import rows_as_json
from ssmd_stream.subjects import STREAM

from .conftest import World, eventually
from .test_archiver_replay import Rows, Writer, publisher

PLACES = 6


class Places:
    """The stream's messages, and where its transactions end."""

    def __init__(self, messages: list[tuple[int, dict[str, Any]]]) -> None:
        self.messages = messages
        changes = [(n, m["xid"]) for n, m in messages if m["xid"] is not None and "key" in m]
        self.xids = [xid for _, xid in changes]
        self.ends = [n for (n, xid), (_, after) in pairwise(changes) if xid != after]

    def replayed(self, until: int) -> Rows:
        rows: dict[str, dict[str, Any]] = {table: {} for table in PRIMARY_KEY}
        for number, message in self.messages:
            if number > until or message["table"] not in rows or "key" not in message:
                continue
            key = json.dumps(message["key"], sort_keys=True)
            rows[message["table"]].pop(key, None)
            if message["data"] is not None:
                rows[message["table"]][key] = message["data"]
        return {table: _recorded(table, list(found.values())) for table, found in rows.items()}

    async def snapshot(self, connection: psycopg.AsyncConnection[Any], until: int) -> str:
        """The `pg_snapshot` that sees what the stream has up to there: as docs/history.md says."""
        seen = {m["xid"] for n, m in self.messages if n <= until and m["xid"] is not None}
        cursor = await connection.execute(
            "SELECT xid::text::bigint FROM history.commits WHERE xid::text::bigint >= %s",
            (min(self.xids),),
        )
        first_unseen = max(seen) + 1
        others = sorted(x for (x,) in await cursor.fetchall() if x < first_unseen and x not in seen)
        return f"{min([*others, first_unseen])}:{first_unseen}:{','.join(map(str, others))}"


async def test_a_place_in_the_stream_is_a_snapshot_of_history(world: World) -> None:
    async with world.database.connect() as connection:
        await connection.execute("SELECT history.notice()")
        async with publisher(world), world.archiver() as archiver:
            await archiver.ready()
            end = "cdc.market_lifecycle_events.snapshot_end"
            await eventually(lambda: _has(world, end), lambda: "what there was is told")
            async with world.database.connect() as other, other.transaction():
                # It began before most of them, and ends after them.
                await other.execute("INSERT INTO series (ticker) VALUES ('LONG')")
                writers = [Writer(world.database.url, 1000 * n) for n in range(1, 4)]
                await asyncio.gather(*(writer.write(20) for writer in writers))
            await connection.execute("INSERT INTO series (ticker) VALUES ('LAST')")
            await eventually(lambda: _has(world, "cdc.series.insert.LAST"), lambda: "published")
            await world.caught_up()
            places = Places(await _messages(world))
        # In another order than they began: the snapshots have holes.
        assert places.xids != sorted(places.xids)
        archive = Archive(world.root)
        listed = list(archive.lines())
        for until in places.ends[:: max(1, len(places.ends) // PLACES)]:
            told = await _told(connection, await places.snapshot(connection, until))
            assert told == places.replayed(until), until
            found = rebuild(archive, listed, Sequence(1, until), PRIMARY_KEY, lambda _, row: row)
            assert not found.lost
            assert told == {
                table: _recorded(table, map(json.loads, found.replay.rows(table).values()))
                for table in PRIMARY_KEY
            }, until


async def _told(connection: psycopg.AsyncConnection[Any], snapshot: str) -> Rows:
    rows: Rows = {}
    for table, row in (await rows_as_json(connection, list(PRIMARY_KEY))).items():
        query = sql.SQL("SELECT {} FROM {}(%(snapshot)s) t").format(
            row, sql.Identifier(f"{table}_as_of_snapshot")
        )
        cursor = await connection.execute(query, {"snapshot": snapshot, "close": "}"})
        rows[table] = _recorded(table, [json.loads(text) for (text,) in await cursor.fetchall()])
    return rows


def _recorded(table: str, rows: Any) -> list[dict[str, Any]]:
    """In the order of their keys, without what history does not keep."""
    names = [column.name for column in PUBLISHED[table].columns if not column.volatile]
    return sorted(
        ({name: row[name] for name in names} for row in rows),
        key=lambda row: [row[column] for column in PRIMARY_KEY[table]],
    )


async def _messages(world: World) -> list[tuple[int, dict[str, Any]]]:
    last = (await world.js.stream_info(STREAM)).state.last_seq
    found: list[tuple[int, dict[str, Any]]] = []
    subscription = await world.js.pull_subscribe(
        "cdc.>", config=ConsumerConfig(ack_policy="none"), stream=STREAM
    )
    while not found or found[-1][0] < last:
        found += [
            (message.metadata.sequence.stream, json.loads(message.data))
            for message in await subscription.fetch(500, timeout=60)
        ]
    return found


async def _has(world: World, subject: str) -> bool:
    try:
        await world.js.get_last_msg(STREAM, subject)
    except NotFoundError:
        return False
    return True
