"""What a client makes of /v1/snapshot and /v1/changes is what the tables hold."""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import aiohttp
import observers
import psycopg
import pytest

from ssmd_common import apikeys
from ssmd_stack import forked
from ssmd_stack.database import Database
from ssmd_stack.ports import free_port
from ssmd_stream.visibility import Snapshot, applies

KEYS = {
    "series": ("ticker",),
    "events": ("event_ticker",),
    "markets": ("ticker",),
    "series_fees": ("series_ticker", "effective_from"),
    "fees": ("tier",),
    "market_lifecycle_events": ("id",),
}
UNIVERSE = """
INSERT INTO series (ticker, category, tags)
    SELECT 'S' || n, 'C', '{a,"b c"}' FROM generate_series(0, 9) n;
INSERT INTO events (event_ticker, series_ticker)
    SELECT 'E' || n, 'S' || n FROM generate_series(0, 9) n;
INSERT INTO markets (ticker, event_ticker, series_ticker, yes_bid_dollars, extra)
    SELECT 'M' || n || '.5', 'E' || n % 10, 'S' || n % 10, 0.4500, '{"a": 1.50}'
    FROM generate_series(0, 999) n;
"""
# {n} is below 1,000, {d} a digit.
STATEMENTS = """
UPDATE markets SET yes_bid_dollars = {n} / 1000.0 WHERE event_ticker = 'E{d}';
UPDATE markets SET status = 'closed', close_time = now() WHERE ticker = 'M{n}.5';
DELETE FROM markets WHERE ticker = 'M{n}.5';
INSERT INTO markets (ticker, event_ticker, series_ticker)
    SELECT 'M{n}.5', event_ticker, series_ticker FROM events WHERE event_ticker = 'E{d}'
    ON CONFLICT DO NOTHING;
UPDATE events SET series_ticker = 'S' || {n} % 10 WHERE event_ticker = 'E{d}';
DELETE FROM series_fees WHERE series_ticker = 'S{d}';
INSERT INTO series_fees SELECT 'S{d}', 'quadratic', 1, now(), NULL
    WHERE NOT EXISTS (SELECT FROM series_fees WHERE series_ticker = 'S{d}');
UPDATE fees SET maker_fee = {n} / 1000000.0;
INSERT INTO market_lifecycle_events (market_ticker, event_type, metadata, received_at, dedupe_key)
    VALUES ('M{n}.5', 'x', '{{"n": 1e2}}', now(), gen_random_uuid()::text)
"""


@asynccontextmanager
async def process(module: str, database: Database, nats: Any) -> AsyncIterator[str]:
    """A service, and where it answers once it is ready."""
    api, ops = free_port(), free_port()
    environment = {
        **os.environ, "DATABASE_URL": database.url, "NATS_URL": nats.url,
        "REDIS_URL": "redis://127.0.0.1:1/0", "CDC_SLOT": f"s_{database.name}",
        "API_HOST": "127.0.0.1", "API_PORT": str(api), "OPS_HOST": "127.0.0.1",
        "OPS_PORT": str(ops),
    }  # fmt: skip
    child = await forked.start(module, env=environment)

    async def ready() -> None:
        assert child.returncode is None
        try:
            async with aiohttp.ClientSession() as http:
                reply = await http.get(f"http://127.0.0.1:{ops}/readyz")
        except aiohttp.ClientError as error:
            raise AssertionError from error
        assert reply.status == 200

    try:
        await observers.eventually(ready, 60)
        yield f"http://127.0.0.1:{api}"
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


class Reader:
    """A client as docs/api.md tells how to write one."""

    def __init__(self, http: aiohttp.ClientSession, api: str) -> None:
        self._http, self._api = http, api
        self.tables: dict[str, dict[str, Any]] = {table: {} for table in observers.TABLES}
        self.applied = 0

    async def start(self) -> None:
        async with self._http.get(
            f"{self._api}/v1/snapshot?tables={','.join(observers.TABLES)}"
        ) as reply:
            assert reply.status == 200
            head, *rows, end = [json.loads(line) for line in (await reply.read()).splitlines()]
        assert end == {"end": True, "rows": len(rows)}
        self.after = head["sequence"]
        self.snapshot: Snapshot | None = Snapshot.parse(head["snapshot"])
        for row in rows:
            self.tables[row["table"]][self._key(row["table"], row["data"])] = row["data"]

    async def follow(self) -> None:
        url = f"{self._api}/v1/changes?after={self.after}"
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._http.get(url, timeout=timeout) as reply:
            assert reply.status == 200
            async for line in reply.content:
                if line.startswith(b"data: "):
                    self._apply(json.loads(line.removeprefix(b"data: ")))
                elif line.startswith(b"id: "):
                    self.after = int(line.removeprefix(b"id: ").partition(b"@")[0])

    def _apply(self, change: dict[str, Any]) -> None:
        if change["op"] == "snapshot_begin":
            self.snapshot = None
        if change["key"] is None:
            return
        if self.snapshot is not None and not applies(change["xid"], self.snapshot):
            return
        self.applied += 1
        table = self.tables[change["table"]]
        if change["op"] == "delete":
            table.pop(self._key(change["table"], change["key"]), None)
        else:
            table[self._key(change["table"], change["data"])] = change["data"]

    @staticmethod
    def _key(table: str, row: dict[str, Any]) -> str:
        key = {name: row[name] for name in sorted(KEYS[table])}
        return json.dumps(key, separators=(",", ":"))


async def write(database: Database, seed: int, stop: asyncio.Event) -> None:
    # Writers that meet may be refused, which is as good as not having tried.
    chance, statements = random.Random(seed), STATEMENTS.split(";")
    async with database.connect() as connection:
        while not stop.is_set():
            # Some take a while to commit, so that snapshots find them open.
            with suppress(psycopg.errors.DeadlockDetected, psycopg.errors.IntegrityError):
                async with connection.transaction():
                    for _ in range(chance.choice([1, 1, 3])):
                        statement = chance.choice(statements)
                        await connection.execute(
                            statement.format(n=chance.randrange(1000), d=chance.randrange(10))
                        )
                        # As many as they can would be more work than is needed to see a race.
                        await asyncio.sleep(chance.choice([0.004, 0.004, 0.02]))


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
async def test_snapshot_and_changes_make_the_tables(
    database: Database, nats_server: Any, seed: int
) -> None:
    key = apikeys.generate("test")
    async with database.connect() as connection:
        await connection.execute(UNIVERSE)
        await connection.execute(
            "INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute)"
            " VALUES ('test', %s, %s, '{read}', 1000)",
            (key.prefix, key.hash),
        )
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(process("ssmd_cdc", database, nats_server))
        api = await stack.enter_async_context(process("ssmd_api", database, nats_server))
        http = await stack.enter_async_context(
            aiohttp.ClientSession(headers={"X-API-Key": key.text})
        )
        writing = [asyncio.create_task(write(database, seed * 10 + n, stop)) for n in range(3)]
        readers = [Reader(http, api) for _ in range(5)]
        following: list[asyncio.Task[None]] = []
        for reader in readers:
            # Each in the middle of the writing, and each elsewhere.
            await reader.start()
            following.append(asyncio.create_task(reader.follow()))
        stop.set()
        await asyncio.gather(*writing)
        _, _, tables = await observers.read_tables(database.url)

        async def equal() -> None:
            assert not any(task.done() for task in following)
            for reader in readers:
                for table in observers.TABLES:
                    ours, wanted = reader.tables[table], tables[table]
                    wrong = [k for k in ours | wanted if ours.get(k) != wanted.get(k)]
                    assert not wrong, (table, wrong[:3])

        await observers.eventually(equal, 60)
        assert any(reader.applied for reader in readers)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
