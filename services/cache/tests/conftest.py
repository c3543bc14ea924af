"""A database, a stream and a Redis, a publisher for the stream, and the cache between them."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import msgspec
import pytest_asyncio
import redis.asyncio as aioredis
import redis.exceptions
from nats.aio.client import Client
from psycopg.rows import dict_row
from pydantic import SecretStr
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from ssmd_cache.__main__ import serve
from ssmd_cache.settings import CacheSettings
from ssmd_stack import forked
from ssmd_stack.astask import ServiceAsTask
from ssmd_stack.database import Database
from ssmd_stack.ended import collect_what_ended
from ssmd_stack.ports import free_port
from ssmd_stream.change import format_lsn, parse_lsn
from ssmd_stream.subjects import STREAM, subject, table_subject

PRIMARY_KEYS = {
    "series": ("ticker",),
    "events": ("event_ticker",),
    "markets": ("ticker",),
    "series_fees": ("series_ticker", "effective_from"),
}
DEADLINE_SECONDS = 180.0


def as_json(value: Any) -> Any:
    """A value of psycopg as the stream shows it; written apart from the cache's own rendering."""
    if isinstance(value, datetime):
        value = value.astimezone(UTC)
        text = value.strftime("%Y-%m-%dT%H:%M:%S") if value.year > 999 else value.isoformat()[:19]
        return text + (f".{value.microsecond:06d}".rstrip("0") if value.microsecond else "") + "Z"
    return str(value) if type(value).__name__ == "Decimal" else value


async def eventually(
    check: Callable[[], Awaitable[bool]], what: str, seconds: float = DEADLINE_SECONDS
) -> None:
    """Wait until `check` says yes; the test fails after a generous deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await check():
        assert loop.time() < deadline, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(0.02)


class World:
    """The servers around the cache, and a publisher as simple as it can be.

    `commit` runs statements in one transaction, compares the tables before and after, and
    publishes what differs as the contract says. It is right because it is slow.
    """

    def __init__(self, database: Any, nats: Any, valkey: Any) -> None:
        self.database, self.nats_server, self.valkey_server = database, nats, valkey
        self.epoch = 1
        self.sequence = 0
        self.sent: list[tuple[str, bytes]] = []

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        self.pg = await stack.enter_async_context(self.database.connect())
        await self.pg.execute("SET timezone = 'UTC'")
        self.nats = Client()
        await self.nats.connect(self.nats_server.url)
        stack.push_async_callback(self.nats.close)
        self.js = self.nats.jetstream(timeout=60)
        self.redis = aioredis.Redis.from_url(
            self.valkey_server.url,
            retry=Retry(ConstantBackoff(0.05), 100),
            retry_on_error=[redis.exceptions.ConnectionError, redis.exceptions.BusyLoadingError],
        )
        stack.push_async_callback(self.redis.aclose)

    async def create_stream(self) -> None:
        await self.js.add_stream(name=STREAM, subjects=["cdc.>"])
        self.sequence = 0

    async def tables(self) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
        """Every row of the tables that have keys, as psycopg gives it."""
        found: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
        async with self.pg.cursor(row_factory=dict_row) as cursor:
            for table, primary in PRIMARY_KEYS.items():
                await cursor.execute(f"SELECT * FROM {table}")
                rows = await cursor.fetchall()
                found[table] = {tuple(row[c] for c in primary): row for row in rows}
        return found

    async def commit(self, *statements: str, publish: bool = True) -> list[dict[str, Any]]:
        """One transaction, and its messages."""
        before = await self.tables()
        async with self.pg.transaction():
            for statement in statements:
                await self.pg.execute(statement)
            cursor = await self.pg.execute("SELECT pg_current_xact_id()::text::bigint")
            xid = (await cursor.fetchone())[0]
        after = await self.tables()
        lsn = (await (await self.pg.execute("SELECT pg_current_wal_lsn()::text")).fetchone())[0]
        messages = self._messages(before, after, xid, parse_lsn(lsn))
        if publish:
            for where, message in messages:
                await self.publish(where, message)
        return [message for _, message in messages]

    def _messages(
        self, before: Any, after: Any, xid: int, lsn: int
    ) -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, str, dict[str, Any], dict[str, Any] | None]] = []
        for table in reversed(PRIMARY_KEYS):
            for key, row in before[table].items():
                now = after[table].get(key)
                if now is None or subject(table, "x", now) != subject(table, "x", row):
                    found.append((table, "delete", row, None))
        for table in PRIMARY_KEYS:
            for key, row in after[table].items():
                old = before[table].get(key)
                if old is None or subject(table, "x", row) != subject(table, "x", old):
                    found.append((table, "insert", row, row))
                elif old != row:
                    found.append((table, "update", row, row))
        return [
            (
                subject(table, op, row),
                self.message(table, op, row, data, xid=xid, lsn=lsn, seq=seq),
            )
            for seq, (table, op, row, data) in enumerate(found)
        ]

    def message(
        self,
        table: str,
        op: str,
        row: dict[str, Any] | None,
        data: dict[str, Any] | None,
        *,
        xid: int | None,
        lsn: int,
        seq: int,
        **more: Any,
    ) -> dict[str, Any]:
        columns = PRIMARY_KEYS.get(table, ())
        return {
            "v": 1,
            "lsn": format_lsn(lsn),
            "seq": seq,
            "xid": xid,
            "epoch": self.epoch,
            "table": table,
            "op": op,
            "type": "test",
            "ticker": None,
            "key": {c: as_json(row[c]) for c in columns} if row else None,
            "data": {c: as_json(v) for c, v in data.items()} if data else None,
            "timestamp": "2026-01-01T00:00:00Z",
            **more,
        }

    async def publish(self, where: str, message: dict[str, Any]) -> None:
        payload = msgspec.json.encode(message)
        self.sent.append((where, payload))
        self.sequence = (await self.js.publish(where, payload)).seq

    async def announce(self, *, until: str | None = None) -> None:
        """A new epoch: all state again; cut short before the table `until`."""
        self.epoch += 1
        tables = await self.tables()
        cursor = await self.pg.execute("SELECT pg_current_wal_lsn()::text")
        lsn = parse_lsn((await cursor.fetchone())[0])
        seq = 0
        for table in PRIMARY_KEYS:
            if table == until:
                return
            final = table == "series_fees"
            marks = [("snapshot_begin", {}), ("snapshot_end", {"final": final})]
            rows = list(tables[table].values())
            out = [
                (table_subject(table, marks[0][0]), marks[0][0], None, {}),
                *((subject(table, "insert", row), "insert", row, {}) for row in rows),
                (table_subject(table, marks[1][0]), marks[1][0], None, marks[1][1]),
            ]
            for where, op, row, more in out:
                await self.publish(
                    where, self.message(table, op, row, row, xid=None, lsn=lsn, seq=seq, **more)
                )
                seq += 1

    def settings(self, **more: Any) -> CacheSettings:
        return CacheSettings(
            **{
                "database_url": SecretStr(self.database.url),
                "nats_url": SecretStr(self.nats_server.url),
                "redis_url": SecretStr(self.valkey_server.url),
                "cache_check_seconds": 0.1,
                "cache_reconcile_seconds": 0,
                **more,
            }
        )

    @contextlib.asynccontextmanager
    async def cache(self, **more: Any) -> AsyncIterator["Running"]:
        """The service in this process."""
        running = Running(self.settings(**more))
        async with running.run():
            yield running

    eventually = staticmethod(eventually)
    subject_of = staticmethod(subject)

    async def position(self, prefix: str = "") -> dict[str, Any]:
        text = await self.redis.get(f"{prefix}secmaster:position")
        return json.loads(text) if text else {}

    async def settled(self, prefix: str = "") -> None:
        """Wait until Redis reflects the stream's last message."""

        async def there() -> bool:
            position = await self.position(prefix)
            info = await self.js.stream_info(STREAM)
            return bool(position.get("warm")) and position["sequence"] >= info.state.last_seq

        await eventually(there, "Redis reflects the stream's end")

    async def dump(self, prefix: str = "") -> dict[str, Any]:
        """What readers see: every key with its content, and when it expires in seconds."""
        found: dict[str, Any] = {}
        async for raw in self.redis.scan_iter(count=1000):
            if not raw.decode().startswith(f"{prefix}secmaster:"):
                continue
            key = raw.decode().removeprefix(prefix)
            if key.startswith("secmaster:_cache:") or key in (
                "secmaster:position",
                "secmaster:last_sync",
            ):
                continue
            match (await self.redis.type(raw)).decode():
                case "string":
                    text = await self.redis.get(raw)
                    if text is None:
                        continue
                    expires = await self.redis.pexpiretime(raw)
                    found[key] = (
                        _plain(json.loads(text)),
                        None if expires < 0 else round(expires / 1000),
                    )
                case "hash":
                    pairs = await self.redis.hgetall(raw)
                    found[key] = {
                        k.decode(): v.decode().removeprefix(prefix) for k, v in pairs.items()
                    }
                case "set":
                    found[key] = {m.decode() for m in await self.redis.smembers(raw)}
                case "zset":
                    scores = await self.redis.zrange(raw, 0, -1, withscores=True)
                    found[key] = {m.decode(): score for m, score in scores}
        return found

    async def expected(self, now: datetime | None = None) -> dict[str, Any]:
        """What Redis must hold by contracts.md § 3, computed from the tables alone."""
        return specification(await self.tables(), now or datetime.now(UTC))

    async def differences(self, prefix: str = "") -> dict[str, Any]:
        expected, found = await self.expected(), await self.dump(prefix)
        wrong = {}
        for key in expected.keys() | found.keys():
            if not same(expected.get(key), found.get(key)):
                wrong[key] = {"expected": expected.get(key), "found": found.get(key)}
        return wrong

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "DATABASE_URL": self.database.url,
            "NATS_URL": self.nats_server.url,
            "REDIS_URL": self.valkey_server.url,
            "CDC_SLOT": f"c_{self.database.name}",
            "CACHE_CHECK_SECONDS": "0.1",
            "OPS_HOST": "127.0.0.1",
            "OPS_PORT": str(free_port()),
            "NO_COLOR": "1",
            **more,
        }

    @contextlib.asynccontextmanager
    async def process(self, module: str, **more: str) -> AsyncIterator["Service"]:
        """A service as its own process, killed at the end."""
        environment = self.environment(**more)
        child = await forked.start(module, env=environment)
        try:
            yield Service(child, int(environment["OPS_PORT"]))
        finally:
            if child.returncode is None:
                child.send_signal(signal.SIGCONT)
                child.kill()
            await child.wait()

    async def assert_right(self, prefix: str = "", seconds: float = 10.0) -> None:
        """Redis is what the tables say, once the stream's end is reached and expiries are swept."""
        await self.settled(prefix)
        last: dict[str, Any] = {}

        async def right() -> bool:
            nonlocal last
            last = await self.differences(prefix)
            return not last

        try:
            await eventually(right, "no difference", seconds)
        except AssertionError:
            raise AssertionError(f"Redis differs: {json.dumps(last, default=str)[:4000]}") from None


class Service:
    """A service's process."""

    def __init__(self, child: forked.Started, port: int) -> None:
        self.child, self.port = child, port

    async def document(self) -> dict[str, Any]:
        """What /readyz says; empty while nothing answers."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
                session.get(f"http://127.0.0.1:{self.port}/readyz") as reply,
            ):
                return dict(await reply.json())
        except (aiohttp.ClientError, OSError, TimeoutError):
            return {}

    async def until(self, **wanted: Any) -> None:
        """Wait until /readyz says so: until(ready=True), until(state="standby").

        Without a state that is asked for, a standby does not count: it is ready, too.
        """

        async def says() -> bool:
            assert self.child.returncode is None, f"it ended with {self.child.returncode}"
            document = await self.document()
            if "state" not in wanted and document.get("state") == "standby":
                return False
            return all(document.get(name) == value for name, value in wanted.items())

        await eventually(says, f"{wanted}")


class Running(ServiceAsTask):
    def __init__(self, settings: CacheSettings) -> None:
        super().__init__("cache", lambda runtime: serve(runtime, settings))
        self.settings = settings

    async def says(self, name: str, part: str) -> None:
        """Wait until it gives a reason why it is not ready."""

        async def is_said() -> bool:
            return part in (self.health.conditions.get(name) or "")

        await eventually(is_said, f"{name}: {part}, but {self.health.document()}")

    async def die(self) -> None:
        """At once, wherever it stands: nothing is drained or acknowledged."""
        while not self.task.done():
            self.task.cancel()
            # One cancellation can get lost in a library.
            await asyncio.wait({self.task}, timeout=0.5)
        collect_what_ended()

    async def ready(self) -> None:
        async def is_ready() -> bool:
            return self.health.ready

        await eventually(is_ready, f"ready, but {self.health.document()}")


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return {k: v for k, v in value.items() if k not in ("epoch", "lsn", "seq")}


def same(expected: Any, found: Any) -> bool:
    """Equal, with a second's tolerance in when a key expires."""
    if isinstance(expected, tuple) and isinstance(found, tuple):
        (row, at), (other, other_at) = expected, found
        if at is None or other_at is None:
            return row == other and at is other_at
        return row == other and abs(at - other_at) <= 1
    return expected == found


def part(ticker: str) -> str:
    """A ticker or category within a key."""
    return ticker.replace("%", "%25").replace(":", "%3A")


def specification(tables: Any, now: datetime) -> dict[str, Any]:
    """contracts.md § 3, line by line."""
    picture: dict[str, Any] = {}
    day = timedelta(days=1)

    tables = {
        # Multivariate events and markets have no keys.
        name: {k: row for k, row in of.items() if row.get("mve_collection_ticker") is None}
        for name, of in tables.items()
    }

    def add(key: str, row: dict[str, Any], expires: datetime | None) -> None:
        document = {column: as_json(value) for column, value in row.items()}
        picture[key] = (document, None if expires is None else round(expires.timestamp()))

    series = {row["ticker"]: row for row in tables["series"].values()}
    events = {row["event_ticker"]: row for row in tables["events"].values()}
    for ticker, row in series.items():
        add(f"secmaster:series:{part(ticker)}", row, None)
    event_keys, market_keys, expiring = {}, {}, {}
    for ticker, row in events.items():
        expires = None
        if row["status"] != "open":
            expires = (row["strike_date"] or row["updated_at"]) + day
        if row["deleted_at"] or (expires and expires <= now):
            continue
        event_keys[ticker] = f"secmaster:series:{part(row['series_ticker'])}:{part(ticker)}"
        add(event_keys[ticker], row, expires)
    for row in tables["markets"].values():
        ticker, event = row["ticker"], row["event_ticker"]
        expires = None
        if row["status"] == "settled":
            if row["close_time"] is None:
                expires = row["updated_at"] + day
            elif row["settled_time"] is None:
                expires = row["close_time"] + day
            else:
                expires = min(row["close_time"], row["settled_time"]) + day
        if row["deleted_at"] or (expires and expires <= now):
            continue
        series_part = part(row["series_ticker"])
        market_keys[ticker] = f"secmaster:series:{series_part}:{part(event)}:{part(ticker)}"
        add(market_keys[ticker], row, expires)
        picture.setdefault(f"secmaster:event_markets:{part(event)}", set()).add(ticker)
        if row["status"] in ("open", "active"):
            category = events[event]["category"] or series[row["series_ticker"]]["category"]
            if category:
                name = f"secmaster:markets:by_category:{part(category)}"
                picture.setdefault(name, set()).add(ticker)
            if row["close_time"]:
                expiring[ticker] = row["close_time"].timestamp()
    schedules: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(tables["series_fees"].values(), key=lambda row: row["effective_from"]):
        document = {column: as_json(value) for column, value in row.items()}
        schedules.setdefault(row["series_ticker"], []).append(document)
    for ticker, schedule in schedules.items():
        picture[f"secmaster:fee:{part(ticker)}"] = (schedule, None)
    indexes = {"markets": market_keys, "events": event_keys, "markets:expiring": expiring}
    picture |= {f"secmaster:{name}": content for name, content in indexes.items() if content}
    return picture


@pytest_asyncio.fixture
async def world(database: Any, nats_server: Any, valkey_server: Any) -> AsyncIterator[World]:
    """A world whose stream exists and is empty."""
    async with contextlib.AsyncExitStack() as stack:
        made = World(database, nats_server, valkey_server)
        await made.open(stack)
        await made.create_stream()
        yield made


@pytest_asyncio.fixture
async def own_world(
    private_postgres: Any, nats_server: Any, valkey_server: Any
) -> AsyncIterator[World]:
    """A world on a PostgreSQL of the test's own, without a stream yet."""
    database = Database("ssmd", private_postgres.url, private_postgres.admin_url)
    async with contextlib.AsyncExitStack() as stack:
        made = World(database, nats_server, valkey_server)
        await made.open(stack)
        yield made
