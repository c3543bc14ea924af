"""The recipes of the README, as programs of their own against a running system."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest_asyncio
from client_testbed import System, running
from client_universe import fill

README = Path(__file__).parents[1] / "README.md"
RECIPES = dict(
    re.findall(r"```python\n# recipe: ([a-z-]+)\n(.*?)```", README.read_text(), flags=re.DOTALL)
)


@pytest_asyncio.fixture
async def system(database: Any, nats_server: Any) -> Any:
    async with database.connect() as connection:
        await fill(connection)
    async with running(database.url, nats_server.url, f"s_{database.name}") as made:
        yield made


async def start(system: System, recipe: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        RECIPES[recipe],
        *arguments,
        env={**os.environ, "SSMD_API_URL": system.api.url, "SSMD_DATA_API_KEY": system.key},
        stdout=asyncio.subprocess.PIPE,
    )


async def output(recipe: asyncio.subprocess.Process) -> str:
    said, _ = await recipe.communicate()
    assert recipe.returncode == 0, said.decode()
    return said.decode()


async def change(system: System, statement: str) -> None:
    async with await system.connect() as connection:
        await connection.execute(statement)


async def test_every_recipe_does_what_it_says(system: System) -> None:
    """One test for all: what is slow is to start a system."""
    assert RECIPES.keys() == {
        "closing-today",
        "frame",
        "connector",
        "settlement",
        "changes",
        "past",
    }
    await change(
        system, "UPDATE markets SET last_price_dollars = 0.5 WHERE ticker = 'KXNBAGAME-1-HOU'"
    )
    closing, frame, connector, settlement, changes = [
        await start(system, *words)
        for words in (
            ("closing-today",),
            ("frame",),
            ("connector", "KXBTCD-1-T97500.99", "KXBTCD-0-T90000", "KXNO"),
            ("settlement", "KXNBAGAME-1-PIT"),
            ("changes", "KXBTCD", "1"),
        )
    ]
    lines = (await output(closing)).splitlines()
    assert [line.split()[1] for line in lines] == ["KXBTCD-1-T97500.99", "KXNBAGAME-1-HOU"]
    assert "100 cost $0.8750 to take" in lines[1]
    assert "Crypto" not in await output(frame)
    assert (await output(connector)).splitlines() == [
        "KXBTCD-1-T97500.99: subscribe; ticks are None",
        "KXBTCD-0-T90000: it is settled",
        "KXNO: there is no such market",
    ]
    assert settlement.stdout is not None
    assert changes.stdout is not None
    # Both have begun before anything happens.
    assert await settlement.stdout.readline() == b"KXNBAGAME-1-PIT: it is active\n"
    assert await changes.stdout.readline() == b"1 markets are active\n"
    await change(
        system,
        "UPDATE markets SET status = 'settled', result = 'yes', settlement_value_dollars = 1"
        " WHERE ticker = 'KXNBAGAME-1-PIT'",
    )
    await change(system, "UPDATE markets SET title = 'x' WHERE ticker = 'KXBTCD-1-T98000'")
    said = await output(settlement)
    assert said == "KXNBAGAME-1-PIT: settled yes, pays $1.000000\n"
    assert "KXBTCD-1-T98000: " in await output(changes)
    past = (await output(await start(system, "past", "KXNBAGAME-1-PIT"))).splitlines()
    assert "status: active -> settled" in past[0]
    assert past[-1] == "at first it was active"
