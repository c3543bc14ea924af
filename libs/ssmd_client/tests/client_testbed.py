"""What the client's tests ask: the API in this process, or everything as processes of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from ssmd_api.__main__ import open_context
from ssmd_api.app import make_app
from ssmd_api.settings import ApiSettings
from ssmd_client import Client, Retries
from ssmd_common import apikeys, health
from ssmd_common.health import Health
from ssmd_stack.database import Database

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
