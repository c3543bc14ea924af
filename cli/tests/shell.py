"""The command line against an API over a real database."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import warm
from warm import Done

from ssmd_api.__main__ import open_context
from ssmd_api.app import make_app
from ssmd_api.settings import ApiSettings
from ssmd_common import apikeys, health
from ssmd_common.health import Health
from ssmd_stack.database import Database

TICKER: Final = "KXBTCD-26FEB03-T97500.99"
TITLE: Final = 'Will [bold]Bitcoin[/bold], the "coin", rise?\x1b[31m'


class Shell:
    """Runs `ssmd` in a directory of its own with an environment of its own."""

    def __init__(self, directory: Path, **variables: str) -> None:
        self.directory = directory
        self.variables = variables

    async def run(self, *words: str, **changed: str | None) -> Done:
        merged = {"PATH": os.environ["PATH"], **self.variables, **changed}
        environment = {name: value for name, value in merged.items() if value is not None}
        return await warm.ssmd(words, self.directory, environment)

    async def json(self, *words: str, **changed: str | None) -> Any:
        done = await self.run(*words, "--json", **changed)
        assert done.code == 0, done
        return json.loads(done.out)


@asynccontextmanager
async def serving(
    database: Database, key: str, directory: Path, nats_url: str = "nats://127.0.0.1:1"
) -> AsyncIterator[Shell]:
    """An API without Redis, and a shell that asks it with the key."""
    settings = ApiSettings(
        database_url=database.url, redis_url="redis://127.0.0.1:1/0", nats_url=nats_url
    )
    async with open_context(settings) as context:
        app = make_app(context, Health("ssmd-api"))
        async with health.serve(app, "127.0.0.1", 0, "API_PORT") as port:
            yield Shell(
                directory,
                SSMD_API_URL=f"http://127.0.0.1:{port()}",
                SSMD_DATA_API_KEY=key,
                DATABASE_URL=database.url,
                XDG_CONFIG_HOME=str(directory / "config"),
            )


async def fill(database: Database) -> str:
    """1,201 markets of one series; a key for them."""
    key = apikeys.generate("test")
    close = datetime.now(UTC) + timedelta(hours=3)
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute)"
            " VALUES ('t', %s, %s, '{read}', 100000)",
            (key.prefix, key.hash),
        )
        await connection.execute(
            "INSERT INTO series (ticker, title, category, tags, fee_type, fee_multiplier)"
            " VALUES ('KXBTCD', 'Bitcoin', 'Crypto', '{BTC}', 'quadratic', 1)"
        )
        await connection.execute(
            "INSERT INTO events (event_ticker, series_ticker) VALUES ('KXBTCD-26FEB03', 'KXBTCD')"
        )
        await connection.execute(
            "INSERT INTO markets (ticker, event_ticker, series_ticker, status, title, close_time)"
            " VALUES (%s, 'KXBTCD-26FEB03', 'KXBTCD', 'active', %s, %s)",
            (TICKER, TITLE, close),
        )
        await connection.execute(
            "INSERT INTO markets (ticker, event_ticker, series_ticker, status, title, close_time)"
            " SELECT 'KXBTCD-26FEB03-N' || n, 'KXBTCD-26FEB03', 'KXBTCD', 'settled', 'x',"
            " now() - interval '1 day' FROM generate_series(1, 1200) n"
        )
    return key.text
