"""What the tests ask the API with."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from ssmd_api.context import Context
from ssmd_common import apikeys
from ssmd_common.health import Health
from ssmd_stack.database import Database

NOTHING_LISTENS = "redis://127.0.0.1:1/0"


@dataclass(slots=True)
class Reply:
    status: int
    headers: Any
    body: bytes
    json: Any = None


@dataclass(slots=True)
class Client:
    """Asks the API with a key."""

    http: aiohttp.ClientSession
    base: str
    key: str
    context: Context
    health: Health
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, **more: Any) -> Reply:
        headers = {"X-API-Key": self.key, **more.pop("headers", {})}
        async with self.http.request(method, self.base + path, headers=headers, **more) as answer:
            body = await answer.read()
            kind = answer.content_type.replace("ndjson", "lines")
            document = (
                await answer.json(content_type=None) if kind.endswith("json") and body else None
            )
            return Reply(answer.status, answer.headers, body, document)

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.ask("GET", path, **more)

    async def ok(self, path: str, **more: Any) -> Any:
        """The document of a GET that succeeds."""
        reply = await self.get(path, **more)
        assert reply.status == 200, reply
        return reply.json

    async def names(self, path: str, what: str = "markets") -> list[str]:
        """The tickers of a list."""
        rows = (await self.ok(path))[what]
        return [row.get("ticker") or row["event_ticker"] for row in rows]


async def make_key(database: Database, *scopes: str, rate: int = 100_000, **more: Any) -> str:
    key = apikeys.generate("test")
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO api_keys"
            " (name, key_prefix, key_hash, scopes, rate_limit_per_minute, expires_at, revoked_at)"
            " VALUES ('test', %s, %s, %s, %s, %s, %s)",
            (
                key.prefix,
                key.hash,
                list(scopes),
                rate,
                more.get("expires_at"),
                more.get("revoked_at"),
            ),
        )
    return key.text


Serve = Callable[..., AbstractAsyncContextManager[Client]]
