"""A leader that is killed over and over, a standby beside it: no trade is lost or doubled, and
quotes are silent for the time of an election only."""

import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import nats
import pytest

from ssmd_stack.database import Database

from .conftest import Market
from .connector_oracle import believed_complete, each_once_and_in_order, quotes_lost, seconds
from .connector_process import Process, leader_of, process

SECONDS = float(os.environ.get("CONNECTOR_KILLS_SECONDS", "40"))
EACH_SECONDS = 20.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS * 2 + 1200)]


class Silence:
    """When quotes came, as a subscriber hears them."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._last: float | None = None

    async def heard(self, message: Any) -> None:
        if not message.data:
            # Only asks whether it may be said.
            return
        now = time.monotonic()
        if self._last is not None:
            self.longest = max(self.longest, now - self._last)
        self._last = now

    def take(self) -> float:
        """The longest pause since somebody asked last."""
        longest, self.longest = self.longest, 0.0
        return longest


@pytest.mark.parametrize("market", [{"market_rate": 300, "ping_seconds": 0.5}], indirect=True)
async def test_no_trade_is_lost_however_often_the_leader_is_killed(
    market: Market, database: Database, tmp_path: Path
) -> None:
    silence, silences = Silence(), list[float]()
    client = await nats.connect(market.server.url)
    async with AsyncExitStack() as stack:

        async def start() -> Process:
            return await stack.enter_async_context(
                process(market, database, tmp_path, CONNECTOR_STREAM_MAX_BYTES=str(1 << 30))
            )

        running = [await start(), await start()]
        began = await market.first_stored() + 0.05
        await client.subscribe("md.ticker.>", cb=silence.heard)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            leader = await leader_of(running)
            [standby] = [one for one in running if one is not leader]
            await standby.until("standby")
            silence.take()
            killed = time.monotonic()
            await leader.kill()
            running = [standby, await start()]
            # Whichever asks for the lock first: a new process may, too.
            await leader_of(running)
            before = market.trades()
            await market.until(lambda before=before: market.trades() > before + 60)  # type: ignore[misc]
            silences.append(silence.take())
            await asyncio.sleep(max(killed + EACH_SECONDS - time.monotonic(), 0))
        market.sim.floor.set_rate(0)
        await market.whole(began)
        leader = await leader_of(running)
        assert await leader.end() == 0
    await client.close()
    stored = [message for _, message in await market.stored()]
    each_once_and_in_order(stored)
    lost = quotes_lost(market, stored, began)
    sys.stdout.write(
        f"{len(silences)} kills, {len(market.sim.floor.tape.all()):,} trades, 0 lost, 0 doubled; "
        f"{len(lost)} quotes lost; longest silence of quotes "
        f"{max(silences):.2f} s, median {sorted(silences)[len(silences) // 2]:.2f} s\n"
    )
    assert not believed_complete(stored, "ticker", lost, seconds(stored[-1].received_at))
    if "CONNECTOR_KILLS_SECONDS" in os.environ:
        # What is promised on a machine that has nothing else to do.
        assert max(silences) < 3
