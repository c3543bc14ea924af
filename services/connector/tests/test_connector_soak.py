"""An hour of market data from the exchange into the archive (make archiver-soak): nothing is lost
or doubled, coverage is what the exchange knows, nothing grows.

Two connectors, cdc and the archiver stand beside each other; 2,000 messages a second are said. In
the first half everything is killed, cut, refused and filled up; in the second nothing of ours ends.
Its length is ARCHIVER_SOAK_SECONDS (else 60).
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import archived
import nats
import pytest

from ssmd_simulator.server import Simulator
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stream.administration import ensure
from ssmd_stream.market import streams
from ssmd_stream.market.coverage import TRADE, State
from ssmd_stream.stream import Stream

from .connector_process import process
from .soak_trial import MARKETS, SECONDS, STREAM_BYTES, Soak, micros
from .soak_truth import BOOKS, QUOTES, Judged, Remembering, complete_all_along, unexplained

RATE = float(os.environ.get("ARCHIVER_SOAK_RATE", "2000"))
MOST_MEMORY = 150e6
GROWTH = {"archiver": 10e6, "connector": 25e6}
"""From the second quarter to the last. A connector remembers 100,000 trades, and has so many late
where few are said."""
SLACK = 30_000_000
"""Microseconds that a fault may be noticed before and after it, on a machine that is busy."""


@asynccontextmanager
async def beside(*work: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Remembering]:
    async with NatsServer(tmp_path / "nats") as server:
        client = await nats.connect(server.url, max_reconnect_attempts=-1)
        wanted = streams.market_data(max_bytes=STREAM_BYTES)
        stream = Stream(client, wanted["name"], publisher="connector")
        await ensure(stream, wanted, service="connector", size="CONNECTOR_STREAM_MAX_BYTES")
        async with Simulator(
            budget=0, ws_auth=False, market_rate=RATE, traded_markets=MARKETS, ping_seconds=0.5
        ) as sim:
            yield Remembering(sim, server, stream)
        await client.close()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 600)
async def test_an_hour_of_market_data_is_archived_and_told_as_it_was(
    market: Remembering, database: Database, tmp_path: Path
) -> None:
    soak = Soak(market, database, tmp_path)
    await soak.fill()
    slot = {"CDC_SLOT": f"s_{time.time_ns()}", "CDC_HEARTBEAT_SECONDS": "0.5"}
    async with soak.stack, process(market, database, tmp_path, "cdc", **slot) as cdc:
        await cdc.until("leading")
        await soak.archive()
        await soak.start()
        await soak.start()
        await soak.goes_on()
        began = micros()
        first, spoken = time.monotonic(), sum(market.told.values())
        async with beside(soak.sampling(), soak.watching()):
            await soak.breaks(first + SECONDS / 2, kills=True)
            flat = time.monotonic()
            await soak.breaks(first + SECONDS, kills=False)
            lasted, spoken = time.monotonic() - first, sum(market.told.values()) - spoken
            # A change that is lost, with none after it, nobody can miss.
            market.sim.faults.clear()
            await soak.goes_on()
            market.sim.floor.set_rate(0)
            ends = micros()
            await soak.whole(max(began, ends - 60_000_000), ends)
            await soak.end()
        async with asyncio.timeout(300):
            for stream in ("MARKET_DATA", "MARKET_BOOKS_0"):
                last = (await Stream(market.stream.client, stream).info()).last_sequence
                while archived.reached(soak.root / stream) < last:  # noqa: ASYNC110 - has no event
                    await asyncio.sleep(0.5)
        assert await soak.archiver.end() == 0
        await cdc.end()
    judged = Judged(market, soak.root, began, soak.left_out)
    print(told(soak, judged, lasted, spoken, flat))  # noqa: T201 - what the run is for
    nothing_is_lost_or_doubled(soak, judged)
    coverage_is_what_the_exchange_knows(soak, judged, began, ends)
    memory_is_flat(soak, flat)


def told(soak: Soak, judged: Judged, lasted: float, spoken: int, flat: float) -> str:
    said = soak.market.said
    rate = judged.messages / lasted
    lines = [
        f"{lasted:,.0f} s; {judged.messages:,} messages archived, {rate:,.0f} a second",
        f"{spoken:,} frames sent to all connections",
        f"faults: {dict(soak.done)}",
        f"{len(judged.tape):,} trades made, {len(judged.trades):,} archived",
        f"{judged.by_rest:,} trades read again over REST",
    ]
    for kind, one in said.items():
        lost = sum(not at for at in one.received)
        lines.append(f"{kind}: {len(one.received):,} said, {lost:,} lost, {one.doubled} doubled")
    for name, samples in soak.memory.items():
        used = [used / 1e6 for at, used in samples if at >= flat]
        quarters = [median(part) for part in quartered(used)] if len(used) >= 8 else []
        most = max(used for _, used in samples) / 1e6
        lines.append(f"{name}: {most:.0f} MB at most; medians {[f'{m:.1f}' for m in quarters]} MB")
    return "\n".join(lines)


def quartered(used: list[float]) -> list[list[float]]:
    size = len(used) // 4
    return [used[n * size : (n + 1) * size] for n in range(4)]


def nothing_is_lost_or_doubled(soak: Soak, judged: Judged) -> None:
    assert max(judged.trades.values()) == 1
    assert not judged.missing()
    for one in soak.market.said.values():
        assert not one.doubled
    for ticker in soak.shelved:
        trading = soak.market.sim.floor.of(soak.market.sim.universe.markets[ticker])
        assert judged.levels[ticker] == {
            "yes": {f"{p / 1e4:.4f}": f"{n / 100:.2f}" for p, n in trading.yes.items()},
            "no": {f"{1 - p / 1e4:.4f}": f"{n / 100:.2f}" for p, n in trading.no.items()},
        }


def coverage_is_what_the_exchange_knows(soak: Soak, judged: Judged, began: int, ends: int) -> None:
    """Nothing is missing of what is called complete, of any market; what is not called so has its
    reason; what the scope leaves out is not subscribed."""
    of = {number: ticker for ticker, number in soak.market.numbers.items()}
    lost = {kind: one.lost() for kind, one in soak.market.said.items()}
    assert lost[QUOTES], "cuts lose quotes"
    for kind, stream in ((QUOTES, "MARKET_DATA"), (BOOKS, "MARKET_BOOKS_0")):
        found = judged.coverage(stream, began, ends)
        for number, spans in lost[kind].items():
            line = found.intervals(kind, of[number])
            believed = [span for span in spans if complete_all_along(line, span)]
            assert not believed, (kind, of[number], len(believed), len(spans), believed[:3])
    found = judged.coverage("MARKET_DATA", began, ends)
    books = judged.coverage("MARKET_BOOKS_0", began, ends)
    for market in soak.markets:
        for channel in (TRADE, QUOTES):
            line = found.intervals(channel, market.ticker)
            if market.ticker in soak.left_out:
                assert State.NOT_SUBSCRIBED in {one.state for one in line}, market.ticker
            else:
                assert not unexplained(line, soak.happened, SLACK), (channel, market.ticker)
                assert State.COMPLETE in {one.state for one in line}
        line = books.intervals(BOOKS, market.ticker)
        if market.ticker in soak.shelved:
            assert not unexplained(line, soak.happened, SLACK), market.ticker
            assert State.COMPLETE in {one.state for one in line}
        else:
            assert {one.state for one in line} == {State.NOT_SUBSCRIBED}, market.ticker


def memory_is_flat(soak: Soak, flat: float) -> None:
    assert max(used for _, used in soak.memory["archiver"]) <= MOST_MEMORY
    for name, samples in soak.memory.items():
        used = [float(used) for at, used in samples if at >= flat]
        # What is busy wavers: a leak is seen after some minutes.
        if len(used) >= 120:
            _, second, _, last = quartered(used)
            assert median(last) - median(second) <= GROWTH[name.split()[0]], name
