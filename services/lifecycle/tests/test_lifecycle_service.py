"""The whole service against a simulated exchange: markets from creation to settlement."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

from ssmd_simulator.control import Order
from ssmd_simulator.server import Simulator
from ssmd_stack.database import Database

StartService = Callable[..., Awaitable[Any]]
Eventually = Callable[..., Awaitable[Any]]
Connection = psycopg.AsyncConnection[Any]


async def column(connection: Connection, query: str, *parameters: Any) -> list[Any]:
    return [row[0] for row in await (await connection.execute(query, parameters)).fetchall()]


async def test_a_market_lives_from_creation_to_settlement(
    database: Database,
    connection: Connection,
    start_service: StartService,
    eventually: Eventually,
) -> None:
    async with Simulator("small", tempo=None) as sim:
        service = await start_service(sim)
        await service.ready()
        order = Order(open_in=2, close_in=5, determine_in=7, settle_in=8, count=3)
        tickers = [market.ticker for market in sim.control.order(order)]

        async def settled() -> bool:
            found = await column(
                connection, "SELECT status FROM markets WHERE ticker = ANY(%s)", tickers
            )
            return found == ["settled"] * 3

        await eventually("three settled markets", settled)
        for ticker in tickers:
            kinds = await column(
                connection,
                "SELECT event_type FROM market_lifecycle_events WHERE market_ticker = %s"
                " ORDER BY id",
                ticker,
            )
            assert kinds == ["created", "opened", "closed", "determined", "settled"]
        late = await column(
            connection,
            "SELECT (metadata->>'late_ms')::int FROM market_lifecycle_events"
            " WHERE event_type IN ('opened', 'closed')",
        )
        assert len(late) == 6
        assert await column(connection, "SELECT status FROM events WHERE title LIKE '%%KXACC%%'")
        assert await service.kill(signal.SIGTERM) == 0
        await asyncio.sleep(0)
