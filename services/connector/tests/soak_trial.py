"""The capture and the archiver of an hour, what breaks of them, and what is seen meanwhile."""

import asyncio
import os
import resource
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import psutil

from ssmd_simulator.faults import Fault as Broken
from ssmd_stack.database import Database
from ssmd_stream.market.coverage import BOOK, TRADE, Coverage, State
from ssmd_stream.market.messages import SessionRecord, decoded
from ssmd_stream.market.timeline import Interval, Span
from ssmd_stream.recent import all_from
from ssmd_stream.stream import Stream

from .conftest import insert_parents
from .connector_process import Process, process
from .soak_truth import Fault, Remembering
from .test_connector_oracle import Trial

SECONDS = float(os.environ.get("ARCHIVER_SOAK_SECONDS", "60"))
MARKETS = 60
SHELVED = 8
STREAM_BYTES = 1 << 30
SAMPLE_SECONDS = 5.0
COUNT_SECONDS = 1


def micros() -> int:
    return time.time_ns() // 1000


class Soak(Trial):
    """The capture, the archiver, and what is told of them."""

    market: Remembering

    def __init__(self, market: Remembering, database: Database, folder: Path) -> None:
        scope = folder / "scope.yaml"
        super().__init__(
            market, database, folder, int(os.environ.get("SEED", "23")),
            CONNECTOR_SCOPE_FILE=str(scope), CONNECTOR_STREAM_MAX_BYTES=str(STREAM_BYTES),
            CONNECTOR_COUNT_SECONDS=str(COUNT_SECONDS), CONNECTOR_SILENCE_SECONDS="5",
        )  # fmt: skip
        self.root = folder / "archive"
        self.happened: list[Fault] = []
        self.memory: dict[str, list[tuple[float, int]]] = defaultdict(list)
        now = market.sim.clock()
        active = [m for m in market.sim.universe.unsettled if m.status(now) == "active"]
        self.markets = active[:MARKETS]
        self.shelved = {m.ticker for m in self.markets[:SHELVED]}
        number = Counter(m.event.series.ticker for m in self.markets)
        least = min(number, key=lambda series: number[series])
        self.left_out = {m.ticker for m in self.markets if m.event.series.ticker == least}
        assert not self.shelved & self.left_out
        ours = set(number) - {least}
        names = ", ".join(sorted(ours))
        scope.write_text(
            f"markets: [{{series: [{names}]}}]\n"
            f"books: [{{series: [{names}], most_traded: {SHELVED}}}]\n"
        )

    async def fill(self) -> None:
        """The markets, as sync and lifecycle have them; the books of some are wanted."""
        async with self.database.connect() as connection:
            for market in self.markets:
                await insert_parents(connection, market)
                await connection.execute(
                    "INSERT INTO markets (ticker, event_ticker, series_ticker, status, observed_at,"
                    " volume_24h) VALUES (%s, %s, %s, 'active', now(), %s)",
                    (
                        market.ticker,
                        market.event.ticker,
                        market.event.series.ticker,
                        1000 if market.ticker in self.shelved else 1,
                    ),
                )

    async def archive(self) -> None:
        """Start the archiver."""
        given = {
            "ARCHIVER_ROOT": str(self.root), "ARCHIVER_ROTATE_SECONDS": "30",
            "ARCHIVER_FLUSH_SECONDS": "1",
        }  # fmt: skip
        made = process(self.market, self.database, self.folder, "archiver", **given)
        self.archiver: Process = await self.stack.enter_async_context(made)

    # --- what breaks ------------------------------------------------------------------------------

    async def kill_archiver(self) -> None:
        await self.archiver.kill()
        await asyncio.sleep(self.random.random())
        await self.archive()

    async def fill_disk(self) -> None:
        pid = self.archiver.child.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        async with asyncio.timeout(90):
            while "full" not in str(await self.archiver.readiness()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 40, resource.RLIM_INFINITY))

    async def lose_changes(self) -> None:
        self.market.sim.faults.start(Broken("gap", channel="orderbook_delta", times=3))

    async def breaks(self, until: float, *, kills: bool) -> None:
        """Chosen faults until then; each is over before the next one."""
        ours = [self.kill_leader, self.kill_standby, self.kill_archiver, self.fill_disk]
        theirs = [
            self.restart_nats, self.cut, self.half_open, self.gap, self.overflow, self.unreadable,
            self.lose_changes,
        ]  # fmt: skip
        order = self.random.sample([*ours, *theirs], len(ours) + len(theirs)) if kills else []
        while order or time.monotonic() < until:
            chosen = order.pop() if order else self.random.choice(theirs + (ours if kills else []))
            since = micros()
            self.done[chosen.__name__] += 1
            await chosen()
            await self.goes_on()
            self.happened.append(Fault(chosen.__name__, since, micros()))
            left = until - time.monotonic()
            await asyncio.sleep(max(0.0, min(self.random.uniform(0, SECONDS / 100), left)))

    async def goes_on(self) -> None:
        """Wait until it leads, and trades are told."""
        await self.leader()
        before = self.market.trades()
        await self.market.until(lambda: self.market.trades() > before + 200)

    # --- what is seen -----------------------------------------------------------------------------

    async def sampling(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            for name, pid in self.processes().items():
                try:
                    used = psutil.Process(pid).memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                self.memory[name].append((time.monotonic(), used))

    def processes(self) -> dict[str, int]:
        connectors = {f"connector {n}": one.child.pid for n, one in enumerate(self.running)}
        return {"archiver": self.archiver.child.pid, **connectors}

    async def watching(self) -> None:
        """Connections that end for another reason, as on a machine that is busy, are told, too."""
        hub, before = self.market.sim.hub, set[Any]()
        while True:
            now = set(hub.connections)
            for _ in before - now:
                self.happened.append(Fault("a connection ended", micros(), micros()))
            before = now
            await asyncio.sleep(0.05)

    async def whole(self, since: int, until: int) -> None:
        """Wait until all trades of a time are there, and since then all that is told of books: who
        has lost connection after connection may wait for the next one."""

        def owed(trades: Coverage, books: Coverage) -> list[Interval]:
            found = trades.intervals(TRADE, None, Span(since, until))
            owed = [one for one in found if one.state not in (State.COMPLETE, State.REPAIRED)]
            for ticker in self.shelved:
                found = books.intervals(BOOK, ticker, Span(until, micros()))
                if State.COMPLETE not in {one.state for one in found}:
                    owed += found
            return owed

        found: list[Interval] = []
        try:
            async with asyncio.timeout(120):
                while True:
                    trades = await self._told("MARKET_DATA", "md.session.>")
                    books = await self._told("MARKET_BOOKS_0", "md.books_session.0.>")
                    if not (found := owed(trades, books)):
                        return
                    await asyncio.sleep(0.5)
        except TimeoutError:
            raise AssertionError(f"not there: {found}, {self.happened[-5:]}") from None

    async def _told(self, stream: str, subject: str) -> Coverage:
        told = Coverage()
        records = Stream(self.market.stream.client, stream)
        for one in await all_from(records, [subject], 1, most=1_000_000):
            record = decoded(one.payload)
            assert isinstance(record, SessionRecord)
            told.take(record)
        return told
