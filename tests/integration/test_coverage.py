"""Coverage against what the exchange did: nothing that it calls complete or repaired is missing.

A simulated exchange makes trades and quotes while frames get lost, connections are cut, a channel
is ended and refused, and connector is killed. What connector published is archived; what
`coverage` says of each moment, from records of the capture alone, is held against the exchange's
own log.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import archived
import nats
import pytest
from made_market_data import make_streams
from started_service import running

from ssmd_archive import coverage
from ssmd_archive.catalog import Archive
from ssmd_archive.layout import MARKET_DATA
from ssmd_cli.archive_coverage import coverage as print_coverage
from ssmd_simulator.faults import Fault
from ssmd_simulator.server import Simulator
from ssmd_simulator.signatures import key_at
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stream.market.coverage import State, moment
from ssmd_stream.market.timeline import Interval, Span
from ssmd_stream.recent import all_from
from ssmd_stream.stream import Stream

PATIENCE_SECONDS = 180
LATEST = 1 << 60

T = TypeVar("T")


class Exchange:
    """The simulator, and what it made and sent of each channel, in microseconds since 1970."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.quotes: list[tuple[bool, str]] = []
        """Whether it was sent, and its own object; in their order."""
        self.sent = {"trade": 0, "ticker": 0}
        sim.hub.witnesses.append(self._note)

    def _note(self, _: int, fate: str, frame: bytes) -> None:
        said = json.loads(frame)
        kind = said.get("type")
        if kind in self.sent:
            self.sent[kind] += fate == "sent"
        if kind == "ticker":
            self.quotes.append((fate == "sent", key_of(said["msg"])))

    def trades(self) -> dict[str, int]:
        tape = self.sim.floor.tape
        return {tape.id_of(trade.number).decode(): round(trade.at) for trade in tape.all()}

    async def goes_on(self, trades: int = 25) -> None:
        """Wait until so many more have been sent."""
        wanted = self.sent["trade"] + trades
        await until(lambda: self.sent["trade"] >= wanted)


async def repaired(stream: Stream, times: int) -> int:
    """How often trades were read again, once it is so often."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            told = await all_from(stream, ["md.session.>"], 1, most=100_000)
            found = sum(b'"what":"repaired"' in one.payload for one in told)
            if found >= times:
                return found
            await asyncio.sleep(0.1)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not done():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


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
            # The next connection is refused its channels for a while.
            sim.faults.start(Fault("refuse", code=27, times=4))
            sim.hub.disconnect()
            await exchange.goes_on()
            await repaired(stream, 1)
            connector.kill()
            await connector.wait()
            again = await repaired(stream, 0)
        made = len(exchange.trades())
        await until(lambda: len(exchange.trades()) >= made + 600)
        async with running("connector", **connecting) as connector:
            await exchange.goes_on(60)
            # Repairs are over, and counts have come after them.
            await repaired(stream, again + 1)
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
    trades = {said["trade_id"]: said for said in payloads if said["channel"] == "trade"}
    made_of = sorted(exchange.trades().items(), key=lambda one: one[1])
    missing = [span for _, span in between(made_of, trades, lambda trade: trade[0])]
    assert missing, "those from before"
    fine = {str(State.COMPLETE), str(State.REPAIRED)}
    assert [one for one in missing if states(lines["trade"], one) <= fine] == []
    assert len(trades) > 150
    assert fine <= states(lines["trade"])
    quotes = {key_of(said["msg"]): said for said in payloads if said["channel"] == "ticker"}
    gone = list(between(exchange.quotes, quotes, lambda quote: quote[1]))
    whole = [
        quote for quote, span in gone if states(lines["ticker"], span) == {str(State.COMPLETE)}
    ]
    assert len(gone) > len(whole)
    # Quotes carry no numbers: nobody can see that the exchange left some out. Trades do.
    assert [quote for quote in whole if quote[0]] == []
    assert len([quote for quote in exchange.quotes if not quote[0]]) == 5
    assert len(quotes) > 100
    assert states(lines["ticker"]) >= {"complete", "gap", "unknown"}
    assert str(State.REPAIRED) not in states(lines["ticker"])
    print_coverage(root, None, None, None, None, as_json=False)
    shown = capsys.readouterr().out
    assert "trade all markets" in shown
    assert "█" in shown
    assert "×" in shown


def states(intervals: list[Interval], span: Span | None = None) -> set[str]:
    """All of them, or those within a span, its ends too; `outside` where it goes beyond them."""
    found = {
        interval.state for interval in intervals
        if span is None or (interval.since <= span.until and interval.until > span.since)
    }  # fmt: skip
    if span and (span.since < intervals[0].since or span.until > intervals[-1].until):
        found.add("outside")
    return found


def between(
    made: Sequence[T], there: dict[str, dict[str, Any]], key: Callable[[T], str]
) -> Iterator[tuple[T, Span]]:
    """Each thing that was made and is not archived, with the time from when the last one before it
    was received to when the first one after it was. What comes over a socket keeps its order, so
    that it would have been received then.
    """
    received = [
        moment(said["received_at"])
        if (said := there.get(key(one))) is not None and said["source"] == "ws"
        else None
        for one in made
    ]
    before = accumulate(received, lambda last, told: last if told is None else told, initial=0)
    after = accumulate(
        reversed(received), lambda last, told: last if told is None else told, initial=LATEST
    )
    for one, since, until in zip(made, before, reversed([*after][1:]), strict=False):
        if key(one) not in there:
            assert since is not None
            assert until is not None
            yield one, Span(since, until)


def key_of(said: dict[str, Any]) -> str:
    return json.dumps(said, sort_keys=True)
