"""Coverage against what the exchange did: nothing that it calls complete or repaired is missing.

A simulated exchange makes trades and quotes while frames get lost, connections are cut, a channel
is ended and refused, and connector is killed. What connector published is archived; what
`coverage` says of each moment, from records of the capture alone, is held against the exchange's
own log.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import archived
import nats
import pytest
from made_market_data import make_streams

from ssmd_archive import coverage
from ssmd_archive.catalog import Archive
from ssmd_archive.layout import MARKET_DATA
from ssmd_cli.archive_coverage import coverage as print_coverage
from ssmd_simulator.faults import Fault
from ssmd_simulator.server import Simulator
from ssmd_simulator.signatures import key_at
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.ports import free_port
from ssmd_stream.market.coverage import State
from ssmd_stream.market.timeline import Interval

PATIENCE_SECONDS = 90
MARGIN = 300_000
"""Microseconds from a trade's or a quote's making to its being received, at most."""


class Exchange:
    """The simulator, and what it made and sent of each channel, in microseconds since 1970."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.quotes: list[tuple[int, bool, bytes]] = []
        """When, whether it was sent, and its own object."""
        self.sent = {"trade": 0, "ticker": 0}
        sim.hub.witnesses.append(self._note)

    def _note(self, _: int, fate: str, frame: bytes) -> None:
        said = json.loads(frame)
        kind = said.get("type")
        if kind in self.sent:
            self.sent[kind] += fate == "sent"
        if kind == "ticker":
            now = round(self.sim.clock() * 1e6)
            self.quotes.append((now, fate == "sent", json.dumps(said["msg"]).encode()))

    def trades(self) -> dict[str, int]:
        tape = self.sim.floor.tape
        return {tape.id_of(trade.number).decode(): round(trade.at) for trade in tape.all()}

    async def goes_on(self, trades: int = 25) -> None:
        """Wait until so many more have been sent."""
        wanted = self.sent["trade"] + trades
        await until(lambda: self.sent["trade"] >= wanted)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not done():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(name: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"ssmd_{name}", stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, "OPS_HOST": "127.0.0.1", "OPS_PORT": str(free_port()), **environment},
    )  # fmt: skip
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def test_what_is_called_complete_or_repaired_is_archived(
    database: Database,
    nats_server: NatsServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    key, root = tmp_path / "key.pem", tmp_path / "archive"
    key_at(key, "ed25519")
    client = await nats.connect(nats_server.url)
    [stream] = await make_streams(client)
    shared = {"DATABASE_URL": database.url, "NATS_URL": nats_server.url}
    archiving = {
        **shared, "ARCHIVER_ROOT": str(root), "ARCHIVER_ROTATE_SECONDS": "1",
        "ARCHIVER_FLUSH_SECONDS": "0.1", "ARCHIVER_STREAMS": "MARKET_DATA,MARKET_BOOKS_*",
    }  # fmt: skip
    began = datetime.now(UTC)
    async with (
        Simulator(budget=0, ws_auth=False, market_rate=300, traded_markets=30) as sim,
        running("archiver", **archiving),
    ):
        exchange = Exchange(sim)
        connecting = {
            **shared, "KALSHI_BASE_URL": sim.base_url, "KALSHI_WS_URL": sim.ws_url,
            "KALSHI_API_KEY": "anyone", "KALSHI_PRIVATE_KEY_PATH": str(key),
            "KALSHI_READ_BUDGET": "10000", "CONNECTOR_STREAM_MAX_BYTES": str(1 << 26),
            "CONNECTOR_COUNT_SECONDS": "0.2",
        }  # fmt: skip
        async with running("connector", **connecting) as connector:
            await exchange.goes_on()
            sim.faults.start(Fault("gap", channel="ticker", times=5))
            await exchange.goes_on()
            sim.faults.start(Fault("gap", channel="trade", times=5))
            await exchange.goes_on()
            sim.hub.disconnect()
            await exchange.goes_on()
            sim.faults.start(Fault("overflow", channel="ticker", times=1))
            await exchange.goes_on()
            connector.kill()
            await connector.wait()
        made = len(exchange.trades())
        await until(lambda: len(exchange.trades()) >= made + 20)
        async with running("connector", **connecting) as connector:
            await exchange.goes_on(60)
            # Repairs are over, and counts have come after them.
            await asyncio.sleep(1)
            connector.terminate()
            await connector.wait()
        sim.floor.set_rate(0)
        last = (await stream.info()).last_sequence
        await until(lambda: archived.reached(root / "MARKET_DATA") >= last)
    await client.close()

    found = coverage.read(
        Archive(root, MARKET_DATA), began - timedelta(seconds=5), datetime.now(UTC)
    )
    assert found is not None
    payloads = [
        json.loads(payload) for payload in archived.read(root / "MARKET_DATA").messages.values()
        if payload.startswith(b'{"channel":"t')
    ]  # fmt: skip
    lines = {
        channel: coverage.covered(found, channel, None).intervals for channel in ("trade", "ticker")
    }
    have = {said["trade_id"] for said in payloads if said["channel"] == "trade"}
    trades = exchange.trades()
    judged = {name: within(lines["trade"], at) for name, at in trades.items()}
    sure = {name for name, state in judged.items() if state in (State.COMPLETE, State.REPAIRED)}
    assert len(sure) > 100
    assert sure <= have, f"{len(sure - have)} trades are missing where coverage says they are there"
    # All that was lost between lives was repaired but for what no count had vouched for.
    assert {str(State.COMPLETE), str(State.REPAIRED)} <= states(lines["trade"])
    told = {json.dumps(said["msg"]).encode() for said in payloads if said["channel"] == "ticker"}
    whole = [(sent, msg) for at, sent, msg in exchange.quotes
             if within(lines["ticker"], at) == State.COMPLETE]  # fmt: skip
    assert len(whole) > 100
    assert [msg for _, msg in whole if msg not in told] == []
    assert all(sent for sent, _ in whole), "what the exchange lost lies in a complete interval"
    assert states(lines["ticker"]) >= {str(State.GAP), str(State.UNKNOWN)}
    assert str(State.REPAIRED) not in states(lines["ticker"])
    print_coverage(root, None, None, None, None, as_json=False)
    shown = capsys.readouterr().out
    assert "trade all markets" in shown
    assert "█" in shown
    assert "×" in shown


def states(intervals: list[Interval]) -> set[str]:
    return {interval.state for interval in intervals}


def within(intervals: list[Interval], at: int) -> str | None:
    """The state of a moment; None so near to another state that it may be meant."""
    for interval in intervals:
        if interval.since <= at < interval.until:
            near = [
                other for other in intervals
                if other.state != interval.state
                and other.since - MARGIN <= at < other.until + MARGIN
            ]  # fmt: skip
            return None if near else interval.state
    return None
