"""A day of a simulated exchange whose markets trade and settle, and an archive of its trades."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from made_market_data import Maker, subject_of

from ssmd_archive.layout import MARKET_DATA
from ssmd_archive.lock import locked
from ssmd_archive.writer import ArchiveWriter, Rotation
from ssmd_kalshi.marketdata import trade_of_rest
from ssmd_kalshi.wire import WireTrade
from ssmd_simulator.server import Simulator
from ssmd_simulator.universe import Market
from ssmd_stream.market.messages import Message, TradeMessage, encoded, evidence, time_text

DAY: Final = "2026-11-28"

RATE = 1e-9
"""Trades come on demand only, and what was traded before is on the tape, too."""

_ENOUGH = 200_000
"""Hundredths of contracts: for some hundred trades."""


class Stored(NamedTuple):
    sequence: int
    subject: str
    payload: bytes
    stored_at_ns: int


def exchange(**settings: Any) -> Simulator:
    """One whose clock begins at noon of DAY: neither a day nor a file of the archive ends while
    a test runs."""
    ahead = datetime.fromisoformat(f"{DAY}T12:06:00Z").timestamp() - time.time()
    return Simulator(budget=0, market_rate=RATE, clock=lambda: time.time() + ahead, **settings)


def trade(sim: Simulator, market: Market, times: int, *, blocks: bool = True) -> None:
    """Let a market have so many trades, or until there is a block trade."""
    tape = sim.floor.tape
    while len(tape.all(market.ticker)) < times or (
        blocks and not any(one.block for one in tape.all(market.ticker))
    ):
        sim.exchange.trade(market)


def settle(sim: Simulator, market: Market) -> None:
    sim.exchange.determine(market, "yes", 3600.0, sim.clock())
    sim.exchange.settle(market, sim.clock())


def active(sim: Simulator, count: int) -> list[Market]:
    """Markets that trade now, with orders enough on either side."""
    now, found = sim.clock(), list[Market]()
    for market in sim.universe.unsettled:
        if market.status(now) == "active" and len(found) < count:
            trading = sim.floor.of(market)
            if min(sum(trading.yes.values()), sum(trading.no.values())) > _ENOUGH:
                found.append(market)
    assert len(found) == count
    return found


def trades(sim: Simulator, tickers: Iterable[str]) -> list[TradeMessage]:
    """The exchange's trades as connector publishes them."""
    wanted, found = set(tickers), []
    for number, one in enumerate(sim.floor.tape.all(), 1):
        if one.ticker not in wanted:
            continue
        row = msgspec.convert(sim.floor.tape.row(one), WireTrade)
        said = trade_of_rest(row)
        at = datetime.fromtimestamp(one.at // 1_000_000, UTC)
        found.append(
            TradeMessage(
                v=1, connector="0", session="s1", frame=number, received_at=time_text(at),
                source="ws", series=one.ticker.partition("-")[0], event="E", ticker=one.ticker,
                msg=evidence(b"{}"), trade_id=said.trade_id, price=said.price, count=said.count,
                taker_side=said.taker_side, block=said.block, exchange_time=time_text(at),
            )
        )  # fmt: skip
    return found


def archive(
    root: Path,
    messages: list[TradeMessage],
    gap: tuple[datetime, datetime] | None = None,
    change: Callable[[list[Message]], list[Message]] = lambda all_of_them: all_of_them,
    *,
    began: datetime | None = None,
) -> None:
    """Archive trades, whole but for a gap that the capture's own records tell of. The capture
    `began` five minutes before the first trade unless it says otherwise."""
    maker = Maker("s1")
    first = min(moment(one) for one in messages)
    began = began or first - timedelta(minutes=5)
    ends = max(moment(one) for one in messages) + timedelta(minutes=5)
    more: dict[str, Any] = {"of_channel": "trade", "everything": True}
    before: list[Message] = [
        maker.record("opened", at=began),
        maker.record("subscribed", at=began, **more),
    ]
    if began + timedelta(hours=1) < first:
        before.append(maker.record("count", at=began + timedelta(hours=1)))
    after: list[Message] = []
    if gap:
        after.append(
            maker.record(
                "gap", of_channel="trade", reason="closed", at=ends,
                since=time_text(gap[0]), until=time_text(gap[1]),
            )
        )  # fmt: skip
    after += [maker.record("count", at=ends), maker.record("count", at=ends)]
    stored = change([*before, *messages, *after])
    root.mkdir(exist_ok=True)
    with locked(root):
        writer = ArchiveWriter(root, MARKET_DATA, Rotation(900))
        writer.recover()
        writer.begin_chain("2026-02-01T00:00:00Z", 1, "the archive begins")
        for number, message in enumerate(stored, 1):
            ns = int(moment(message).timestamp()) * 1_000_000_000
            writer.take([Stored(number, subject_of(message), encoded(message), ns)])
        writer.work()
        writer.seal()
        writer.close()


def moment(message: Message) -> datetime:
    return datetime.fromisoformat(message.received_at)
