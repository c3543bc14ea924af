"""The service as it is run: elected, killed, and taken over from."""

import asyncio
from pathlib import Path

from ssmd_stack.database import Database
from ssmd_stream.market.messages import TickerMessage, TradeMessage

from .conftest import Market
from .connector_process import leader_of, process


async def test_a_killed_leader_costs_no_trade(
    market: Market, database: Database, tmp_path: Path
) -> None:
    async with (
        process(market, database, tmp_path) as first,
        process(market, database, tmp_path) as second,
    ):
        leader = await leader_of([first, second])
        # From the first trade that is there nothing may be missing.
        began = await market.first_stored() + 0.05
        standby = second if leader is first else first
        await standby.until("standby")
        await leader.kill()
        await standby.until("leading")
        before = market.trades()
        await market.until(lambda: market.trades() >= before + 30)
        market.sim.floor.set_rate(0)
        await market.whole(began)
        async with asyncio.timeout(180):
            while not await market.records("repaired"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert await standby.end() == 0
    stored = [m for _, m in await market.stored() if isinstance(m, TradeMessage | TickerMessage)]
    assert len({m.id for m in stored}) == len(stored)
    assert len({m.session for m in stored if m.source == "ws"}) == 2
    # The killed one said nothing at its end; the other one did.
    assert [record.reason for record in await market.records("closed")] == ["stopped"]


async def test_one_that_is_turned_off_is_ready_and_asks_nobody(
    market: Market, database: Database, tmp_path: Path
) -> None:
    off = {"CONNECTOR_ENABLED": "false", "NATS_URL": "nats://127.0.0.1:1"}
    async with process(market, database, tmp_path, **off) as idle:
        async with asyncio.timeout(180):
            while (await idle.readiness())["status"] != 200:
                assert idle.child.returncode is None, "it ended"
                await asyncio.sleep(0.05)
        assert await idle.end() == 0
    assert not market.sim.hub.connections
