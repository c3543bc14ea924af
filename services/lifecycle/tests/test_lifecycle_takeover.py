"""A node that is lost: its connections stay open, and nothing ever answers on them again."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.exitcodes import ExitCode
from ssmd_common.leader import LOST_WITHIN_SECONDS, POLL_SECONDS
from ssmd_simulator.control import ScriptedMarket
from ssmd_simulator.server import Simulator
from ssmd_stack.database import Database
from ssmd_stack.proxy import TcpProxy

StartService = Callable[..., Awaitable[Any]]
Eventually = Callable[..., Awaitable[Any]]


@pytest.mark.slow
@pytest.mark.skipif(os.uname().sysname != "Linux", reason="socket filters are Linux's")
async def test_a_lost_nodes_work_is_taken_over(
    database: Database, start_service: StartService, eventually: Eventually
) -> None:
    """PostgreSQL's own wait for a silent peer is two hours."""
    async with Simulator("tiny") as sim, TcpProxy(database.url) as node:
        lost = await start_service(sim, DATABASE_URL=node.url)
        await lost.ready()
        standby = await start_service(sim)

        async def stands_by() -> bool:
            return "stands by" in (await standby.get("/readyz"))[1]

        await eventually("a standby", stands_by)
        node.lose()
        [made] = sim.control.script(ScriptedMarket(open_in=1, close_in=600))
        await standby.ready()
        async with database.connect() as connection:

            async def kinds() -> bool:
                cursor = await connection.execute(
                    "SELECT event_type FROM market_lifecycle_events WHERE market_ticker = %s"
                    " ORDER BY id",
                    (made.ticker,),
                )
                return [kind for (kind,) in await cursor.fetchall()] == ["created", "opened"]

            await eventually("what happened meanwhile", kinds)
        # It is cut off, not dead: it must know that by itself.
        assert await asyncio.wait_for(lost.process.wait(), 180) != ExitCode.OK
        assert '"event": "service ended"' in lost.logs()


async def test_the_timeouts_add_up_to_fifteen_seconds(database: Database) -> None:
    """The server gives a lost leader's lock up in time, and the leader itself before that."""
    connection = await postgres.connect(SecretStr(database.url), "test", budget_seconds=30)
    async with connection:
        cursor = await connection.execute(
            "SELECT current_setting('tcp_keepalives_idle')::int"
            " + current_setting('tcp_keepalives_interval')::int"
            " * current_setting('tcp_keepalives_count')::int"
        )
        [server_seconds] = await cursor.fetchone() or [0]
    assert server_seconds > LOST_WITHIN_SECONDS
    assert server_seconds + 2 * POLL_SECONDS <= 15
