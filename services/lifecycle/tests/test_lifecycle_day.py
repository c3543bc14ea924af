"""A quick day of an exchange, with everything that can go wrong; then the tables are the truth.

Its length is LIFECYCLE_DAY_SECONDS (20); `LIFECYCLE_DAY_SIZE=full` takes the full universe.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from ssmd_common.status import market_status
from ssmd_lifecycle.apply.transitions import advance, born
from ssmd_lifecycle.clock.timed import after as after_transition
from ssmd_lifecycle.clock.timed import due
from ssmd_lifecycle.feed.messages import Kind, LifecycleMessage
from ssmd_lifecycle.feed.parser import parse_stored
from ssmd_simulator.faults import Fault
from ssmd_simulator.messages import Message
from ssmd_simulator.server import Simulator
from ssmd_simulator.universe import Market

Connection = psycopg.AsyncConnection[Any]
StartService = Callable[..., Awaitable[Any]]
Eventually = Callable[..., Awaitable[Any]]

DAY_SECONDS = float(os.environ.get("LIFECYCLE_DAY_SECONDS", "20"))
# However short the day, as much happens in it as in a minute.
TEMPO = max(40.0, 2400 / DAY_SECONDS)
SIZE = os.environ.get("LIFECYCLE_DAY_SIZE", "small")
SETTLING_SECONDS = 2.0
"""What changed this recently may still be on its way."""


@dataclass
class Witness:
    """Everything that the exchange sent, with when."""

    sim: Simulator
    sent: list[tuple[float, Message]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sim.exchange.listeners.append(lambda message: self.sent.append((time.time(), message)))


async def rows(connection: Connection, query: str, *parameters: Any) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()


def is_completing(market: Market, now: float) -> bool:
    life = market.life
    moments = [life.open, life.close, life.determined, life.settled, life.created]
    moments.append(market.updated or 0.0)
    return any(now - SETTLING_SECONDS < moment <= now + 0.1 for moment in moments)


async def differences(sim: Simulator, connection: Connection, since: float) -> list[str]:
    """Markets whose row is not the truth, those aside that have just changed."""
    stored = {row["ticker"]: row for row in await rows(connection, "SELECT * FROM markets")}
    now = time.time()
    sim.exchange.advance(now)
    wrong = []
    for ticker, market in sim.universe.markets.items():
        if market.event.multivariate or is_completing(market, now):
            continue
        row = stored.get(ticker)
        if row is None:
            if market.life.created > since:
                wrong.append(f"{ticker} is missing")
            continue
        word = market.status(now)
        truth = {
            "status": market_status(word),
            "event_ticker": market.event.ticker,
            "series_ticker": market.event.series.ticker,
            "close_time": datetime.fromtimestamp(market.life.close, UTC),
            "price_level_structure": market.structure,
        }
        if word in ("determined", "finalized"):
            truth["result"] = market.result
        for name, value in truth.items():
            if row[name] != value:
                wrong.append(
                    f"{ticker} {name} is {row[name]}, not {value} (truth {word}, said"
                    f" {row['exchange_status']} via {row['observed_via']} at {row['observed_at']})"
                )
    return wrong


async def check_steps(sim: Simulator, connection: Connection, since: float) -> None:
    """Each step that a market made in this time has its row, whoever told of it, and none two."""
    found = await rows(
        connection,
        "SELECT market_ticker, event_type, metadata ->> 'source' AS source, sent_at, received_at"
        " FROM market_lifecycle_events WHERE market_ticker IS NOT NULL ORDER BY id",
    )
    counted = Counter((row["market_ticker"], row["event_type"]) for row in found)
    now = time.time()
    wrong = []
    for ticker, market in sim.universe.markets.items():
        if market.event.multivariate or is_completing(market, now):
            continue
        life = market.life
        moments = {"created": life.created, "determined": life.determined, "settled": life.settled}
        for step, moment in moments.items():
            # A repair reads from a little before its gap: from before this time, too. Of what it
            # finds determined REST does not say since when, only when it changed the last time.
            seen = {moment}
            if step == "determined":
                seen |= {life.settled, market.updated or 0.0}
            least = since < moment < now
            most = moment < now and any(since - 30 < at < now for at in seen)
            if not least <= counted[ticker, step] <= most:
                wrong.append(f"{ticker} {step} × {counted[ticker, step]}, not {most:d}")
        for step, moment in (("opened", life.open), ("closed", life.close)):
            # A close that is moved after it has come is another one.
            if life.created > since and moment < now and not counted[ticker, step]:
                wrong.append(f"{ticker} {step} has no row")
    of_wrong = {line.split(" ")[0] for line in wrong[:20]}
    told = [f"{dict(row)}" for row in found if row["market_ticker"] in of_wrong]
    assert not wrong, "\n".join([*wrong[:20], *told])
    sources = Counter((row["source"] or "ws", row["event_type"]) for row in found)
    print(*(f"{kind} by {source}: {n}" for (source, kind), n in sorted(sources.items())), sep=", ")  # noqa: T201
    assert sum(n for (source, _), n in sources.items() if source == "rest")


async def check_rebuilding(witness: Witness, connection: Connection) -> None:
    """The stored messages and the clock alone give each market's status."""
    stored = await rows(
        connection, "SELECT *, metadata::text AS whole FROM market_lifecycle_events"
    )
    markets = {row["ticker"]: row for row in await rows(connection, "SELECT * FROM markets")}
    now = datetime.now(UTC)
    histories: dict[str, list[LifecycleMessage]] = {}
    for row in stored:
        message = parse_stored(
            row["whole"].encode(), row["sent_at"], row["received_at"], row["dedupe_key"]
        )
        if message is not None and message.market_ticker:
            histories.setdefault(message.market_ticker, []).append(message)
    said = Counter(message.msg.get("market_ticker") for _, message in witness.sent)
    rebuilt = 0
    for ticker, history in histories.items():
        created = next((m for m in history if m.kind is Kind.CREATED), None)
        market = witness.sim.universe.markets.get(ticker)
        if created is None or market is None or len(history) < said[ticker]:
            continue  # It is older than this day, or a part of its life fell into a gap.
        if is_completing(market, now.timestamp()):
            continue
        state = born(created, market.event.series.ticker)
        state = advance(state, {m.dedupe_key for m in history}, history, now)
        while chance := due(state, now):
            state = after_transition(state, chance.kind, now)
        assert state.status == markets[ticker]["status"], ticker
        rebuilt += 1
    assert rebuilt


async def check_rows(witness: Witness, connection: Connection, since: float, until: float) -> None:
    """Every message has its row, once, unless it fell into a recorded gap; none has two."""
    stored = await rows(connection, "SELECT * FROM market_lifecycle_events ORDER BY id")
    gaps = await rows(connection, "SELECT * FROM lifecycle_gaps")
    assert all(gap["repaired_at"] for gap in gaps)
    intervals = [(gap["began_at"].timestamp() - 1, gap["ended_at"].timestamp() + 1) for gap in gaps]
    kept = Counter(
        (row["market_ticker"] or row["event_ticker"], row["event_type"], row["sent_at"])
        for row in stored
        if row["sent_at"] is not None
    )
    counted = Counter(
        (
            message.msg.get("market_ticker") or message.msg.get("event_ticker"),
            message.msg.get("event_type", message.type),
        )
        for at, message in witness.sent
        if message.channel == "market_lifecycle_v2"
        and since < at < until
        and not any(begin <= at <= end for begin, end in intervals)
    )
    by_kind = Counter()  # type: ignore[var-annotated]
    for (ticker, kind, _), count in kept.items():
        by_kind[ticker, kind] += count
    missing = [key for key, count in counted.items() if by_kind[key] < count]
    when = [
        f"{at - since:.3f} {message.msg}"
        for at, message in witness.sent
        if message.msg.get("market_ticker", message.msg.get("event_ticker")) in dict(missing)
    ]
    known = [
        f"{gap['reason']} {begin - since:.3f} to {end - since:.3f}"
        for gap, (begin, end) in zip(gaps, intervals, strict=True)
    ]
    assert not missing, "\n".join([*map(str, missing[:10]), *when, *known])
    everything = Counter(
        (
            message.msg.get("market_ticker") or message.msg.get("event_ticker"),
            message.msg.get("event_type", message.type),
        )
        for _, message in witness.sent
    )
    twice = [key for key, count in by_kind.items() if count > everything[key]]
    rowed = [
        f"{row['sent_at'].timestamp() - since:.4f} {row['received_at'].timestamp() - since:.4f}"
        f" {row['metadata']}"
        for row in stored
        if (row["market_ticker"] or row["event_ticker"], row["event_type"]) in twice
    ]
    assert not twice, "\n".join([*map(str, twice[:10]), *rowed, *known])
    made = Counter(
        (row["market_ticker"], row["event_type"], row["open_ts"] or row["close_ts"])
        for row in stored
        if row["metadata"].get("source") == "clock"
    )
    assert made
    assert max(made.values()) == 1


async def lateness(connection: Connection, unled: Sequence[tuple[float, float]]) -> str:
    """How late the clock was with what came due while a replica led: a figure, no verdict."""
    query = (
        "SELECT coalesce(open_ts, close_ts) AS due, (metadata ->> 'late_ms')::int AS late_ms,"
        " event_type, market_ticker FROM market_lifecycle_events"
        " WHERE metadata ->> 'source' = 'clock' ORDER BY late_ms DESC"
    )
    led = [
        row
        for row in await rows(connection, query)
        if not any(begin <= row["due"].timestamp() <= end for begin, end in unled)
    ]
    worst = [f"{row['late_ms']} ms ({row['event_type']} {row['due']:%H:%M:%S.%f})" for row in led]
    return f"{len(led)} transitions of the clock, the latest: {', '.join(worst[:5])}"


async def leads(service: Any, eventually: Eventually) -> float:
    """When a replica has begun to lead."""

    async def leading() -> bool:
        return bool(await service.metric("ssmd_leader"))

    await eventually("a leader", leading)
    return time.time()


@pytest.mark.slow
@pytest.mark.timeout(DAY_SECONDS + 1200)
async def test_a_quick_day_with_everything_that_can_go_wrong(
    connection: Connection, start_service: StartService, eventually: Eventually
) -> None:
    async with Simulator(SIZE, tempo=TEMPO, ping_seconds=1, scenarios=0.5, budget=0) as sim:
        witness = Witness(sim)
        first = await start_service(sim, LIFECYCLE_SILENCE_SECONDS="3")
        await first.ready()
        began = time.time()
        second = await start_service(sim, LIFECYCLE_SILENCE_SECONDS="3")
        step = DAY_SECONDS / 8

        await asyncio.sleep(step)
        sim.hub.disconnect()
        await asyncio.sleep(step)
        # Frames are lost, their numbers used up.
        sim.faults.start(Fault(kind="gap", times=3))
        await asyncio.sleep(step)
        sim.faults.start(Fault(kind="duplicate", lasting=step / 2))
        sim.faults.start(Fault(kind="reorder", lasting=step / 2))
        await asyncio.sleep(step)
        # The leader dies; the other one takes over, and the first comes back as the standby.
        died = time.time()
        await first.kill()
        unled = [(0.0, began), (died, await leads(second, eventually))]
        await asyncio.sleep(step / 2)
        await first.start()
        await second.ready()
        await asyncio.sleep(step / 2)
        # Until one of them notices: the first frames of a subscription are told from lost ones by
        # nothing, so the silence must not outlast it.
        silenced = set(sim.hub.connections)
        sim.faults.start(Fault(kind="silence"))

        async def noticed() -> bool:
            return bool(silenced - sim.hub.connections)

        await eventually("the silence is noticed", noticed)
        sim.faults.clear()
        await asyncio.sleep(step)
        sim.faults.start(Fault(kind="channel_error", times=1))
        await asyncio.sleep(step)
        # REST fails while a gap has to be repaired with it.
        sim.faults.start(Fault(kind="error", lasting=3))
        sim.hub.disconnect()
        await asyncio.sleep(step)
        died = time.time()
        await second.kill()
        unled.append((died, await leads(first, eventually)))
        await first.ready()
        sim.faults.clear()

        last: list[str] = []

        async def true_to_the_exchange() -> bool:
            last[:] = await differences(sim, connection, began)
            return not last and await first.is_ready()

        try:
            await eventually("tables like the exchange", true_to_the_exchange, within=30)
        except pytest.fail.Exception:
            pytest.fail("\n".join([*last[:20], first.logs()[-3000:]]))

        async def all_gaps_closed() -> bool:
            open_gaps = "SELECT FROM lifecycle_gaps WHERE repaired_at IS NULL"
            return not await rows(connection, open_gaps)

        await eventually("gaps closed", all_gaps_closed)
        await check_rows(witness, connection, began, time.time() - SETTLING_SECONDS)
        await check_steps(sim, connection, began)
        await check_rebuilding(witness, connection)
        print(await lateness(connection, unled))  # noqa: T201 - make lifecycle-day shows it
