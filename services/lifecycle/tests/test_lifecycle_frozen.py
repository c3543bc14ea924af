"""PostgreSQL is there and says nothing: lifecycle is not ready until it speaks again."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from ssmd_simulator.control import ScriptedMarket
from ssmd_simulator.server import Simulator
from ssmd_stack.postgres import PostgresServer


@pytest.mark.slow
async def test_a_frozen_database_is_told_while_it_is_frozen(
    private_postgres: Any,
    start_service: Callable[..., Awaitable[Any]],
    eventually: Callable[..., Awaitable[Any]],
) -> None:
    if not isinstance(private_postgres, PostgresServer):
        pytest.skip("only a server of our own can be frozen")
    async with Simulator("tiny") as sim:
        service = await start_service(sim, DATABASE_URL=private_postgres.url)
        await service.ready()
        with private_postgres.frozen():
            [made] = sim.control.script(ScriptedMarket(close_in=600))

            async def told() -> str:
                status, text = await service.get("/readyz")
                assert service.process.returncode is None, service.logs()
                return json.loads(text)["reasons"].get("postgres", "") if status == 503 else ""

            reason = await eventually("not ready", told)
            assert "PostgreSQL does not answer" in reason

        # Whether this process went on or gave its lead up, as one that is cut off must, the
        # service works again, and has what was said meanwhile.
        async def again() -> bool:
            if service.process.returncode is not None:
                await service.start()
            return (await service.get("/readyz"))[0] == 200

        await eventually("ready again", again)

        async def stored() -> bool:
            async with await psycopg.AsyncConnection.connect(private_postgres.url) as connection:
                cursor = await connection.execute(
                    "SELECT FROM markets WHERE ticker = %s", (made.ticker,)
                )
                return bool(await cursor.fetchall())

        await eventually("the message of meanwhile", stored)
