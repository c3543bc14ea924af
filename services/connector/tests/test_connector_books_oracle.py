"""What the exchange said against what the streams hold, while all that can break breaks: trades and
quotes, and with them the books, to which the exchange itself does the most."""

import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import nats
import pytest

from ssmd_simulator.faults import Fault
from ssmd_simulator.server import Simulator
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stream.administration import ensure
from ssmd_stream.market import streams
from ssmd_stream.market.messages import SessionRecord
from ssmd_stream.stream import Stream

from .conftest import Market
from .connector_books_oracle import BookOracle
from .connector_oracle import each_once_and_in_order
from .test_connector_books import Shelf, shelf
from .test_connector_oracle import Trial

BOOK = "orderbook_delta"
SECONDS = float(os.environ.get("CONNECTOR_ORACLE_SECONDS", "600"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS * 4 + 3600)]
__all__ = ["shelf"]


class BookTrial(Trial):
    """With books, and what an exchange may do to them."""

    def __init__(self, shelf: Shelf, *given: Any, **settings: str) -> None:
        super().__init__(shelf.market, shelf.database, *given, **settings)
        self.shelf = shelf

    async def subscribed(self) -> None:
        """Wait until the exchange owes nobody an answer: both connectors have all they want."""
        hub, books = self.market.sim.hub, sorted(self.shelf.tickers * 2)

        def channels() -> list[str]:
            held = (one.subscriptions.values() for one in hub.connections if not one.half_open)
            return sorted(to.channel for of_one in held for to in of_one if to.channel != BOOK)

        await self.market.until(lambda: sorted(self.shelf.all_subscribed()) == books)
        await self.market.until(lambda: channels() == ["ticker"] * 2 + ["trade"] * 2)

    async def happens(self, *faults: Fault) -> None:
        """All of these, as often as they shall, to books alone: nobody else has anything to ask.

        A change goes to leader and standby in turn, so that what happens twice happens to both.
        """
        await self.subscribed()
        for fault in faults:
            self.market.sim.faults.start(fault)
        await self.market.until(lambda: all(fault.hits == fault.times for fault in faults))

    async def gap_in_books(self) -> None:
        await self.happens(Fault("gap", channel=BOOK, times=3))

    async def reordered_books(self) -> None:
        await self.happens(Fault("reorder", channel=BOOK, times=2))

    async def doubled_books(self) -> None:
        await self.happens(Fault("duplicate", channel=BOOK, times=5))

    async def overflow_of_books(self) -> None:
        await self.happens(Fault("overflow", channel=BOOK, times=2))

    async def full(self) -> None:
        """The books of a connection are more than it takes, down to a single one."""
        await self.happens(
            Fault("overflow", channel=BOOK, times=2), Fault("refuse", code=26, times=8)
        )

    async def too_fast(self) -> None:
        """Who asks for new snapshots is told that it asks too often."""
        await self.happens(Fault("gap", channel=BOOK, times=2), Fault("refuse", code=27, times=2))

    @property
    def faults(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            *super().faults, self.gap_in_books, self.reordered_books, self.doubled_books,
            self.overflow_of_books, self.full, self.too_fast,
        ]  # fmt: skip


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    """With a NATS of its own, which may end; snapshots that are asked for come late."""
    async with NatsServer(tmp_path / "nats") as server:
        client = await nats.connect(server.url)
        wanted = streams.market_data(max_bytes=1 << 28)
        stream = Stream(client, wanted["name"], publisher="connector")
        await ensure(stream, wanted, service="connector", size="CONNECTOR_STREAM_MAX_BYTES")
        async with Simulator(
            budget=0, ws_auth=False, market_rate=250, traded_markets=50, ping_seconds=0.5,
            snapshot_delay=0.3,
        ) as sim:  # fmt: skip
            yield Market(sim, server, stream)
        await client.close()


async def test_what_is_missing_lies_in_a_recorded_gap_and_books_are_the_exchanges(
    market: Market, database: Database, shelf: Shelf, tmp_path: Path
) -> None:
    oracle = BookOracle(market.sim)
    await shelf.write("active", shelf.tickers)
    trial = BookTrial(
        shelf,
        tmp_path,
        int(os.environ.get("SEED", "22")),
        CONNECTOR_SCOPE_FILE=str(shelf.scope),
        CONNECTOR_STREAM_MAX_BYTES=str(1 << 28),
        # A busy machine is silent for longer than the three seconds of others.
        CONNECTOR_SILENCE_SECONDS="10",
    )
    async with trial.stack:
        await trial.start()
        await trial.start()
        began = await market.first_stored() + 0.05
        await trial.run(SECONDS)
        # All faults are over: what comes now is whole.
        await trial.subscribed()
        before = market.trades()
        await market.until(lambda: market.trades() > before + 40)
        await shelf.until_whole(shelf.tickers)
        await market.whole(began)
        await trial.end()
    stored = [message for _, message in await market.stored()]
    trial.lost_nothing_but_in_gaps(stored, began)
    books = await shelf.stored()
    each_once_and_in_order(books)
    assert oracle.check(books) > len(shelf.tickers)
    # Of 26 and 27 nothing need be told: a shorter list is tried, and the same once more.
    told = Counter(
        (one.what, one.code or (one.reason or "").partition(":")[0])
        for one in books
        if isinstance(one, SessionRecord)
    )
    for what in (("gap", "sequence"), ("error", 25)):
        assert told[what], (what, told, trial.done)
