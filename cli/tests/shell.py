"""The command line against an API over a real database."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import warm
from warm import Done

from ssmd_api.__main__ import open_context
from ssmd_api.app import make_app
from ssmd_api.settings import ApiSettings
from ssmd_common import health
from ssmd_common.health import Health
from ssmd_stack.database import Database


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
async def serving(database: Database, key: str, directory: Path) -> AsyncIterator[Shell]:
    """An API without Redis, and a shell that asks it with the key."""
    settings = ApiSettings(database_url=database.url, redis_url="redis://127.0.0.1:1/0")
    async with open_context(settings) as context:
        app = make_app(context, Health("ssmd-api"))
        async with health.serve(app, "127.0.0.1", 0, "API_PORT") as port:
            yield Shell(
                directory,
                SSMD_API_URL=f"http://127.0.0.1:{port()}",
                SSMD_DATA_API_KEY=key,
                DATABASE_URL=database.url,
            )
