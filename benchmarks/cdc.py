"""The publisher's figures: draining WAL, latency, and a restart with changes waiting.

Everything runs on this machine, the servers too. Drains are ratios against what pg_recvlogical,
PostgreSQL's own client, needs for the same WAL with the same plugin in the same run, written to
/dev/null: it only moves bytes, ours are decoded, published and acknowledged.

Beside them: nats-py's plain publish, and psycopg2 with wal2json where both are there, for example
with Debian's packages postgresql-15-wal2json and python3-psycopg2 and SSMD_POSTGRES_BIN.

usage: python benchmarks/cdc.py [--rows 500000] [--rounds 3] [--only drain|latency|restart]
"""

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import nats
import nats.js.errors
import psutil
import psycopg
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, DeliverPolicy
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ssmd_cdc.publish.stream import Streams
from ssmd_cdc.settings import CdcSettings
from ssmd_common.migrations import migration_files
from ssmd_stack.database import migrate
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.scratch import scratch_directory
from ssmd_stream import subjects

MARKETS = 10_000

SEED = """
INSERT INTO series (ticker, title) SELECT 'KX' || g, 'Series ' || g FROM generate_series(0, 9) g;
INSERT INTO events (event_ticker, series_ticker)
    SELECT 'KX' || g % 10 || '-26FEB' || g, 'KX' || g % 10 FROM generate_series(0, 999) g;
INSERT INTO markets (ticker, event_ticker, series_ticker, title, status, exchange_status,
    open_time, close_time, expected_expiration_time, latest_expiration_time, market_type,
    strike_type, floor_strike, cap_strike, yes_sub_title, no_sub_title, can_close_early,
    price_level_structure, price_ranges, rules_primary, extra, observed_at, observed_via,
    yes_bid, yes_ask, no_bid, no_ask, last_price, volume, volume_24h, open_interest,
    yes_bid_dollars, yes_ask_dollars, no_bid_dollars, no_ask_dollars, last_price_dollars,
    volume_fp, volume_24h_fp, open_interest_fp)
SELECT 'KX' || g % 10 || '-26FEB' || g % 1000 || '-T' || g || '.5',
    'KX' || g % 10 || '-26FEB' || g % 1000, 'KX' || g % 10,
    'Will the price be above ' || g || '.5 at 5 PM EST?', 'active', 'active',
    now(), now() + interval '1 day', now() + interval '1 day', now() + interval '8 days', 'binary',
    'greater', g + 0.5, g + 1.5, 'Above ' || g, 'Above ' || g, true,
    'linear_cent', '[{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]',
    'If the simple average of the sixty seconds before 5 PM EST is above ' || g
        || '.5, then the market resolves to Yes.',
    '{"rules_secondary": "Not all cryptocurrency price data is the same.", "tick_size": 1}',
    now(), 'rest', 45, 46, 54, 55, 45, 1000, 100, 500,
    0.45, 0.46, 0.54, 0.55, 0.45, 1000, 100, 500
FROM generate_series(0, 9999) g;
"""

UPDATE = """
UPDATE markets SET yes_bid = 10 + %(n)s %% 80, yes_ask = 11 + %(n)s %% 80,
    yes_bid_dollars = (10 + %(n)s %% 80) / 100.0, yes_ask_dollars = (11 + %(n)s %% 80) / 100.0,
    volume = volume + 1, volume_fp = volume_fp + 1.25, observed_at = now(), updated_at = now()
WHERE ticker = ANY(%(tickers)s)
"""


class Bench:
    """A PostgreSQL with WAL to drain, and a fresh NATS for each drain."""

    def __init__(self, directory: Path, postgres: PostgresServer) -> None:
        self.directory = directory
        self.postgres = postgres
        self.url = postgres.url
        self._runs = 0

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            yield connection

    async def seed(self) -> list[str]:
        async with self.connect() as db:
            await db.execute(SEED.encode())
            rows = await db.execute("SELECT ticker FROM markets ORDER BY ticker")
            return [ticker for (ticker,) in await rows.fetchall()]

    async def make_wal(self, tickers: list[str], rows: int, per_transaction: int) -> str:
        """A slot in front of so many updates; its name."""
        name = f"wal_{per_transaction}"
        async with self.connect() as db:
            await db.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
            # Not installed, or not among the plugins that the server allows.
            with contextlib.suppress(
                psycopg.errors.UndefinedFile, psycopg.errors.InsufficientPrivilege
            ):
                await db.execute(
                    "SELECT pg_create_logical_replication_slot(%s, 'wal2json')", (f"{name}_json",)
                )
            if per_transaction == 1:
                # The server's own loop: a round trip for each transaction would take minutes.
                await db.execute(_ONE_BY_ONE.encode())
                await db.execute(sql.SQL("CALL one_by_one({})").format(rows))
            else:
                for n in range(rows // per_transaction):
                    at = n * per_transaction % len(tickers)
                    chosen = tickers[at : at + per_transaction]
                    await db.execute(UPDATE, {"n": n, "tickers": chosen})
        return name

    async def wal_end(self) -> str:
        async with self.connect() as db:
            row = await (await db.execute("SELECT pg_current_wal_lsn()")).fetchone()
            assert row
            return str(row[0])

    async def copy_slot(self, name: str) -> str:
        self._runs += 1
        copy = f"run_{self._runs}"
        async with self.connect() as db:
            await db.execute("SELECT pg_copy_logical_replication_slot(%s, %s)", (name, copy))
        return copy

    async def drop_slot(self, name: str) -> None:
        async with self.connect() as db:
            while True:
                try:
                    await db.execute("SELECT pg_drop_replication_slot(%s)", (name,))
                    return
                except psycopg.errors.ObjectInUse:
                    await asyncio.sleep(0.05)

    async def recvlogical(self, slot: str, end: str) -> float:
        """Seconds that PostgreSQL's own client needs."""
        parts = conninfo_to_dict(self.url)
        copy = await self.copy_slot(slot)
        begun = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            self.postgres.bin_dir / "pg_recvlogical",
            "--dbname", self.url, "--slot", copy, "--start", "--no-loop", "--endpos", end,
            "-o", "proto_version=1", "-o", "publication_names=secmaster_cdc",
            "-o", "messages=true", "--file", "/dev/null",
            env={"PGPASSWORD": str(parts.get("password", "")), "PATH": os.environ["PATH"]},
        )  # fmt: skip
        await process.wait()
        seconds = time.perf_counter() - begun
        await self.drop_slot(copy)
        return seconds

    async def wal2json(self, slot: str, rows: int) -> str:
        """Rows a second, or why there are none."""
        async with self.connect() as db:
            found = await db.execute(
                "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", (slot,)
            )
            if not await found.fetchone():
                return "this PostgreSQL has no wal2json"
        rate = await asyncio.to_thread(wal2json_rate, self.url, slot, rows)
        await self.drop_slot(slot)
        return "psycopg2 is not installed" if rate is None else f"{rate:,.0f}/s"

    async def publisher(self, slot: str, rows: int, **more: str) -> "Drain":
        """Seconds from the first message to the last, stored in JetStream on disk."""
        copy = await self.copy_slot(slot)
        durable = more.pop("durable", "") == "1"
        server = NatsServer(self.directory / f"nats-{copy}", durable=durable)
        async with server:
            given: dict[str, Any] = {
                "database_url": self.url,
                "nats_url": server.url,
                "cdc_slot": copy,
            }
            settings = CdcSettings(**given)
            client = await nats.connect(server.url)
            await self._remember(copy, settings, client)
            begun = time.time()
            process = await self.start(copy, server.url, **more)
            info = psutil.Process(process.pid)
            js = client.jetstream()
            while (await js.stream_info(subjects.STREAM)).state.last_seq < rows:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            cpu = sum(info.cpu_times()[:2])
            memory = info.memory_info().rss
            first = await js.get_msg(subjects.STREAM, 1)
            last = await js.get_msg(subjects.STREAM, rows)
            assert first.time
            assert last.time
            process.terminate()
            await process.wait()
            await client.close()
        server.remove()
        await self.drop_slot(copy)
        return Drain(
            seconds=(last.time - first.time).total_seconds(),
            until_first=first.time.timestamp() - begun,
            cpu_us=cpu / rows * 1e6,
            memory_mb=memory / 1e6,
        )

    async def start(self, slot: str, nats_url: str, **more: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ssmd_cdc", stdout=subprocess.DEVNULL,
            env={
                **os.environ, "DATABASE_URL": self.url, "NATS_URL": nats_url,
                "CDC_SLOT": slot, "OPS_PORT": str(free_port()), **more,
            },
        )  # fmt: skip

    async def _remember(self, slot: str, settings: CdcSettings, client: Client) -> None:
        """So that it goes on from the slot, instead of announcing an epoch."""
        streams = Streams(client, settings)
        await streams.ensure()
        created = (await streams.look()).created
        async with self.connect() as db:
            row = await (
                await db.execute(
                    "SELECT system_identifier::text,"
                    " (SELECT timeline_id FROM pg_control_checkpoint()) FROM pg_control_system()"
                )
            ).fetchone()
            assert row
            await db.execute(
                "INSERT INTO cdc_state SELECT slot_name, 1, %s, %s, %s, 0,"
                " confirmed_flush_lsn - 1, 0, now() FROM pg_replication_slots WHERE slot_name = %s",
                (*row, created, slot),
            )


_ONE_BY_ONE = """
CREATE OR REPLACE PROCEDURE one_by_one(rows integer) LANGUAGE plpgsql AS $$
DECLARE tickers text[] := (SELECT array_agg(ticker ORDER BY ticker) FROM markets);
BEGIN
    SET LOCAL synchronous_commit = off;
    FOR n IN 1 .. rows LOOP
        UPDATE markets SET yes_bid = 10 + n % 80, yes_ask = 11 + n % 80,
            yes_bid_dollars = (10 + n % 80) / 100.0, yes_ask_dollars = (11 + n % 80) / 100.0,
            volume = volume + 1, volume_fp = volume_fp + 1.25, observed_at = now(),
            updated_at = now()
        WHERE ticker = tickers[1 + n % cardinality(tickers)];
        COMMIT;
    END LOOP;
END $$;
"""


def wal2json_rate(url: str, slot: str, rows: int) -> float | None:
    """Rows a second that psycopg2 and json.loads read from wal2json; nothing is published."""
    try:
        extras = importlib.import_module("psycopg2.extras")
    except ImportError:
        return None
    connection = extras.LogicalReplicationConnection(url)
    with closing(connection), connection.cursor() as cursor:
        options = {"format-version": 2, "include-xids": 1, "include-lsn": 1}
        cursor.start_replication(slot_name=slot, options=options, decode=True)
        begun, seen = time.perf_counter(), 0
        while seen < rows:
            message = cursor.read_message()
            if message is None:
                select.select([cursor], [], [], 1)
            else:
                seen += json.loads(message.payload)["action"] == "U"
        return rows / (time.perf_counter() - begun)


class Drain:
    def __init__(
        self, *, seconds: float, until_first: float, cpu_us: float, memory_mb: float
    ) -> None:
        self.seconds = seconds
        self.until_first = until_first
        self.cpu_us = cpu_us
        self.memory_mb = memory_mb


async def plain_publish(directory: Path, count: int = 5000) -> float:
    """Messages a second with nats-py's `await js.publish`, one after the other."""
    server = NatsServer(directory / "nats-plain")
    async with server:
        client = await nats.connect(server.url)
        js = client.jetstream()
        await js.add_stream(name="PLAIN", subjects=["plain"])
        payload = b"x" * 1800
        begun = time.perf_counter()
        for number in range(count):
            await js.publish("plain", payload, headers={"Nats-Msg-Id": str(number)})
        rate = count / (time.perf_counter() - begun)
        await client.close()
    server.remove()
    return rate


async def drains(bench: Bench, tickers: list[str], rows: int, rounds: int) -> None:
    print(f"draining {rows:,} updates of markets, medians of {rounds}")
    print("rows/tx  pg_recvlogical  publisher  ratio  durable  ratio  µs CPU/row  MB")
    for per_transaction in (1000, 1):
        slot = await bench.make_wal(tickers, rows, per_transaction)
        end = await bench.wal_end()
        reference, ours, durable = [], [], []
        for _ in range(rounds):
            reference.append(await bench.recvlogical(slot, end))
            ours.append(await bench.publisher(slot, rows))
            durable.append(await bench.publisher(slot, rows, durable="1", CDC_DURABLE="true"))
        base = statistics.median(reference)
        mine = statistics.median(drain.seconds for drain in ours)
        safe = statistics.median(drain.seconds for drain in durable)
        print(
            f"{per_transaction:>7}  {rows / base:>12,.0f}/s  {rows / mine:>7,.0f}/s  "
            f"{base / mine:>5.2f}  {rows / safe:>5,.0f}/s  {base / safe:>5.2f}  "
            f"{statistics.median(d.cpu_us for d in ours):>10.0f}  "
            f"{max(d.memory_mb for d in ours):.0f}"
        )
        others = await bench.wal2json(f"{slot}_json", rows)
        print(f"         psycopg2, wal2json and json.loads, publishing nothing: {others}")
        await bench.drop_slot(slot)
    print(f"nats-py, await js.publish one by one: {await plain_publish(bench.directory):,.0f}/s")


async def latency(bench: Bench, commits: int, per_second: int) -> None:
    """From the commit's return at the writer to the subscriber's callback, idle CPU beforehand."""
    server = NatsServer(bench.directory / "nats-latency")
    async with server:
        process = await bench.start("latency", server.url)
        client = await nats.connect(server.url)
        js = client.jetstream()
        while not await has_stream(js):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        arrived: dict[str, float] = {}
        done = asyncio.Event()

        async def on_message(message: Any) -> None:
            arrived[message.subject] = time.perf_counter()
            if len(arrived) == commits:
                done.set()

        await asyncio.sleep(3)
        info = psutil.Process(process.pid)
        before = sum(info.cpu_times()[:2])
        await asyncio.sleep(10)
        idle = (sum(info.cpu_times()[:2]) - before) / 10
        await js.subscribe(
            "cdc.series.insert.>",
            ordered_consumer=True,
            config=ConsumerConfig(deliver_policy=DeliverPolicy.NEW),
            cb=on_message,
        )
        committed: dict[str, float] = {}
        async with bench.connect() as db:
            begun = time.perf_counter()
            for number in range(commits):
                await asyncio.sleep(max(0, begun + number / per_second - time.perf_counter()))
                await db.execute("INSERT INTO series (ticker) VALUES (%s)", (f"L{number}",))
                committed[f"cdc.series.insert.L{number}"] = time.perf_counter()
            rate = commits / (time.perf_counter() - begun)
        async with asyncio.timeout(120):
            await done.wait()
        waits = sorted(arrived[name] - committed[name] for name in committed)
        print(
            f"commit to callback at {rate:.0f} commits/s: "
            f"p50 {waits[len(waits) // 2] * 1e3:.1f} ms, "
            f"p99 {waits[len(waits) * 99 // 100] * 1e3:.1f} ms; idle {idle:.2%} of a core"
        )
        process.terminate()
        await process.wait()
        await client.close()
    server.remove()
    await bench.drop_slot("latency")


async def has_stream(js: Any) -> bool:
    try:
        return bool((await js.stream_info(subjects.STREAM)).state.last_seq)
    except nats.js.errors.NotFoundError:
        return False


async def restart(bench: Bench, tickers: list[str], waiting: int) -> None:
    """From starting the process to its first message, with changes waiting in the slot."""
    slot = await bench.make_wal(tickers, waiting, 1000)
    drained = await bench.publisher(slot, waiting)
    print(f"restart with {waiting:,} changes waiting: {drained.until_first:.2f} s to the first")
    await bench.drop_slot(slot)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["drain", "latency", "restart"])
    options = parser.parse_args()
    with scratch_directory() as directory:
        postgres = PostgresServer(
            directory / "postgres", durable=False, settings={"max_wal_size": "16GB"}
        )
        async with postgres:
            await migrate(postgres.url, migration_files())
            bench = Bench(directory, postgres)
            tickers = await bench.seed()
            if options.only in (None, "latency"):
                await latency(bench, 5000, 500)
            if options.only in (None, "restart"):
                await restart(bench, tickers, 100_000)
            if options.only in (None, "drain"):
                await drains(bench, tickers, options.rows, options.rounds)
        postgres.remove()


if __name__ == "__main__":
    asyncio.run(main())
