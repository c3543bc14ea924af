"""What the client's tests ask: the API in this process, or everything as processes of its own."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import aiohttp
import observers
import psycopg
from psycopg import sql
from pydantic import SecretStr

from ssmd_api.__main__ import open_context
from ssmd_api.app import make_app
from ssmd_api.settings import ApiSettings
from ssmd_client import Client, Retries, Secmaster
from ssmd_client.live.compact import READERS, TABLES
from ssmd_client.live.directly import ServerSettings
from ssmd_common import apikeys, health
from ssmd_common.health import Health
from ssmd_stack import forked
from ssmd_stack.database import Database
from ssmd_stack.ports import free_port
from ssmd_stream.rowjson import rows_as_json

T = TypeVar("T")

NOTHING_LISTENS = "redis://127.0.0.1:1/0"
QUICK = Retries(tries=3, first_seconds=0.01)


@dataclass(frozen=True, slots=True)
class Api:
    """Where an API answers, with a key for it."""

    url: str
    key: str

    async def ask(self, question: Callable[[Client], T], **options: Any) -> T:
        """What a script gets that asks with a plain client: a thread of its own has no loop."""

        def asked() -> T:
            with Client(self.url, self.key, **{"retries": QUICK, **options}) as client:
                return question(client)

        return await asyncio.to_thread(asked)


async def make_key(database: Database, *, rate: int = 1_000_000, scope: str = "read") -> str:
    key = apikeys.generate("test")
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute)"
            " VALUES ('test', %s, %s, %s, %s)",
            (key.prefix, key.hash, [scope], rate),
        )
    return key.text


@asynccontextmanager
async def serving(database: Database, **changed: Any) -> AsyncIterator[Api]:
    settings = ApiSettings(
        **{"database_url": database.url, "redis_url": NOTHING_LISTENS, **changed}
    )
    async with open_context(settings) as context:
        app = make_app(context, Health("ssmd-api"))
        async with health.serve(app, "127.0.0.1", 0, "API_PORT") as port:
            try:
                yield Api(f"http://127.0.0.1:{port()}", await make_key(database))
            finally:
                context.stopping.set()


class Process:
    """A service as a process of its own, to kill and start again at the same place."""

    def __init__(self, module: str, database_url: str, nats_url: str, slot: str) -> None:
        self._module = module
        self._port, self._ops = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "NATS_URL": nats_url,
            "REDIS_URL": NOTHING_LISTENS,
            "CDC_SLOT": slot,
            "API_HOST": "127.0.0.1",
            "API_PORT": str(self._port),
            "OPS_HOST": "127.0.0.1",
            "OPS_PORT": str(self._ops),
        }
        self._child: forked.Started | None = None

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._child = await forked.start(self._module, env=self._environment)
        await self.ready()

    async def ready(self) -> None:
        """Wait until it says that it works; one that has ended is started again."""

        async def works() -> None:
            assert self._child is not None
            if self._child.returncode is not None:
                await self.start_again()
            async with aiohttp.ClientSession() as http:
                try:
                    reply = await http.get(f"http://127.0.0.1:{self._ops}/readyz")
                except (aiohttp.ClientError, OSError) as error:
                    raise AssertionError from error
                assert reply.status == 200

        await observers.eventually(works, 60)

    async def start_again(self) -> None:
        """As whatever supervises it does."""
        self._child = await forked.start(self._module, env=self._environment)

    async def kill(self) -> None:
        assert self._child is not None
        if self._child.returncode is None:
            self._child.kill()
        await self._child.wait()

    async def stop(self) -> None:
        if self._child is not None and self._child.returncode is None:
            self._child.terminate()
            await self._child.wait()


@dataclass(slots=True)
class System:
    """A database and NATS with cdc and the API on them."""

    database_url: str
    nats_url: str
    key: str
    cdc: Process
    api: Process

    @asynccontextmanager
    async def view(
        self, how: str, nats_url: str | None = None, **options: Any
    ) -> AsyncIterator[Secmaster]:
        """A live view, over `http` or `direct`; a direct one reads NATS at `nats_url`."""
        if how == "http":
            async with Secmaster.connect(self.api.url, self.key, **options) as secmaster:
                yield secmaster
            return
        settings = ServerSettings(
            database_url=SecretStr(self.database_url),
            nats_url=SecretStr(nats_url or self.nats_url),
        )
        async with Secmaster.connect_directly(settings, **options) as secmaster:
            yield secmaster

    async def connect(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(self.database_url, autocommit=True)


@asynccontextmanager
async def running(database_url: str, nats_url: str, slot: str) -> AsyncIterator[System]:
    key = apikeys.generate("test")
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute)"
            " VALUES ('test', %s, %s, '{read}', 1000000)",
            (key.prefix, key.hash),
        )
    made = [Process(name, database_url, nats_url, slot) for name in ("ssmd_cdc", "ssmd_api")]
    try:
        for process in made:
            await process.start()
        yield System(database_url, nats_url, key.text, *made)
    finally:
        for process in made:
            await process.stop()


async def assert_view_is_tables(view: Secmaster, database_url: str) -> None:
    """What the view holds is what PostgreSQL holds, row by row; raises AssertionError."""
    picture = view._picture
    async with await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, options="-c timezone=UTC"
    ) as connection:
        for table, expression in (await rows_as_json(connection, list(TABLES))).items():
            statement = sql.SQL("SELECT {} FROM {} t").format(expression, sql.Identifier(table))
            cursor = await connection.execute(statement, {"close": "}"})
            wanted = {}
            for (text,) in await cursor.fetchall():
                row = READERS[table].read(text)
                wanted[picture.key(table, row)] = row
            found = picture.tables[table]
            wrong = [
                key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)
            ]
            assert not wrong, (
                table,
                len(wrong),
                [(found.get(k), wanted.get(k)) for k in wrong[:1]],
            )


def assert_indexes_are_right(view: Secmaster) -> None:
    """Every index finds what a look at each row finds."""
    present = [market for market in view.markets if market.deleted_at is None]
    for market in present[:50]:
        for asked in (
            {"event": market.event_ticker},
            {"series": market.series_ticker},
            {"status": market.status},
        ):
            [(name, value)] = asked.items()
            column = name if name == "status" else f"{name}_ticker"
            also = ("open", "active") if value == "open" else (value,)
            assert {each.ticker for each in view.find(**asked)} == {
                each.ticker for each in present if getattr(each, column) in also
            }, asked
    soon = {each.ticker for each in view.find(closing_before=datetime.max.replace(tzinfo=UTC))}
    assert soon == {
        each.ticker for each in present if each.status in ("open", "active") and each.close_time
    }
