"""The whole client against the simulated exchange on a bad day: nothing is lost in silence."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from ssmd_kalshi.budget import Budget
from ssmd_kalshi.feed import Disconnected, FeedEvent, Gap, GapReason, Message
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.retry import RetryPolicy
from ssmd_kalshi.signing import Signer
from ssmd_kalshi.socket import KalshiSocket, SocketPolicy
from ssmd_simulator.server import Simulator

CHANNEL = "market_lifecycle_v2"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator("tiny", budget=0, ping_seconds=0.2) as running:
        yield running


async def command(simulator: Simulator, path: str, **body: object) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{simulator.control_url}{path}", json=body) as reply,
    ):
        assert reply.status == 200, await reply.text()


@pytest.mark.parametrize(
    "kind",
    [
        "latency",
        "hang",
        "storm",
        "error",
        "html",
        "wrong_type",
        "empty",
        "reset",
        "truncated",
        "garbage",
    ],
)
async def test_a_scan_survives(simulator: Simulator, kind: str) -> None:
    await command(simulator, "/faults", kind=kind, times=3, after=2, seconds=0.3)
    policy = RetryPolicy(base_seconds=0.01, cap_seconds=0.05, attempt_seconds=20)
    found = set()
    async with KalshiRest(simulator.base_url, budget=Budget(1_000_000), policy=policy) as rest:
        async for page in rest.markets(limit=200):
            assert page.complete
            found |= {market.ticker for market in page.items}
    live = {
        ticker
        for ticker, market in simulator.universe.markets.items()
        if not market.event.multivariate
    }
    assert found <= live
    async with KalshiRest(simulator.base_url, budget=Budget(1_000_000)) as rest:
        calm = {market.ticker async for page in rest.markets() for market in page.items}
    assert found == calm


async def until(socket: KalshiSocket, ticker: str) -> list[FeedEvent]:
    events: list[FeedEvent] = []
    async with asyncio.timeout(180):
        async for event in socket:
            events.append(event)
            if isinstance(event, Message) and event.msg.get("market_ticker", "").startswith(ticker):
                return events
    raise AssertionError


def connected(simulator: Simulator) -> KalshiSocket:
    key = ed25519.Ed25519PrivateKey.generate()
    policy = SocketPolicy(
        silence_seconds=2.0, reconnect=RetryPolicy(base_seconds=0.01, cap_seconds=0.05)
    )
    return KalshiSocket(
        simulator.ws_url, signer=Signer("me", key), channels=[CHANNEL], policy=policy
    )


async def subscribed(socket: KalshiSocket) -> None:
    async with asyncio.timeout(180):
        while not isinstance(await anext(socket), Gap):
            pass


async def test_a_subscription_refused_for_now_is_asked_for_again(simulator: Simulator) -> None:
    await command(simulator, "/faults", kind="refuse", code=27, times=3)
    async with connected(simulator) as socket:
        await subscribed(socket)
        await command(simulator, "/markets", series="KXTEST", ticker="KXTEST-AFTER")
        await until(socket, "KXTEST-AFTER")


def tickers(events: list[FeedEvent]) -> list[str]:
    return [
        event.msg["market_ticker"]
        for event in events
        if isinstance(event, Message) and event.type == CHANNEL
    ]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("gap", GapReason.SEQUENCE),
        ("reorder", GapReason.SEQUENCE),
        ("garbage_frame", GapReason.UNREADABLE),
        ("channel_error", GapReason.TERMINAL_ERROR),
        ("overflow", GapReason.TERMINAL_ERROR),
    ],
)
async def test_what_a_socket_may_have_missed_is_said(
    simulator: Simulator, kind: str, reason: GapReason
) -> None:
    async with connected(simulator) as socket:
        await subscribed(socket)
        # What is lost may be the very first message of the subscription.
        await command(simulator, "/faults", kind=kind, times=2)
        for number in range(3):
            await command(simulator, "/markets", series="KXTEST", ticker=f"KXTEST-{number}")
        # A subscription that ended is renewed by reading; until then messages go nowhere.
        reading = asyncio.create_task(until(socket, "KXTEST-END"))
        for number in range(100):
            await command(simulator, "/markets", series="KXTEST", ticker=f"KXTEST-END{number}")
            if (await asyncio.wait([reading], timeout=0.3))[0]:
                break
        events = await reading
    gaps = [event for event in events if isinstance(event, Gap)]
    assert {gap.reason for gap in gaps} == {reason}
    missed = {"KXTEST-0", "KXTEST-1", "KXTEST-2"} - set(tickers(events))
    for ticker in missed:
        created_at = simulator.universe.markets[ticker].life.created
        assert any(
            gap.since is not None
            # The frame may be on its way for a moment when the market is created.
            and gap.since.timestamp() - 0.5 <= created_at <= gap.until.timestamp() + 0.5
            for gap in gaps
        ), f"{ticker} is missing and in no gap"


async def test_repeated_frames_are_repeated_messages(simulator: Simulator) -> None:
    async with connected(simulator) as socket:
        await subscribed(socket)
        await command(simulator, "/faults", kind="duplicate")
        await command(simulator, "/markets", series="KXTEST", ticker="KXTEST-A")
        await command(simulator, "/markets", series="KXTEST", ticker="KXTEST-B")
        events = await until(socket, "KXTEST-B")
    assert tickers(events) == ["KXTEST-A", "KXTEST-A", "KXTEST-B"]
    assert not any(isinstance(event, Gap) for event in events)


async def test_silence_without_closing(simulator: Simulator) -> None:
    async with connected(simulator) as socket:
        await subscribed(socket)
        await command(simulator, "/faults", kind="silence", lasting=3.0)
        await command(simulator, "/markets", series="KXTEST", ticker="KXTEST-A")
        async with asyncio.timeout(180):
            events = [await anext(socket)]
            while not isinstance(events[-1], Gap):
                events.append(await anext(socket))
    assert isinstance(events[0], Disconnected)
    assert events[0].reason is GapReason.SILENCE
    gap = events[-1]
    assert isinstance(gap, Gap)
    assert gap.since is not None
    created_at = simulator.universe.markets["KXTEST-A"].life.created
    assert gap.since.timestamp() - 0.5 <= created_at <= gap.until.timestamp()
