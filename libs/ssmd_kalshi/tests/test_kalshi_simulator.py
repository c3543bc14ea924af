"""The whole client against the simulated exchange: nothing unknown, lost or refused."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from ssmd_common.models import Market
from ssmd_kalshi import convert, markets, values
from ssmd_kalshi.budget import Budget
from ssmd_kalshi.errors import HandshakeRefusedError, NotFoundError
from ssmd_kalshi.feed import Connected, Disconnected, FeedEvent, Gap, GapReason, Message, Subscribed
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.retry import RetryPolicy
from ssmd_kalshi.signing import Signer
from ssmd_kalshi.socket import KalshiSocket, SocketPolicy
from ssmd_simulator.server import Simulator

CHANNEL = "market_lifecycle_v2"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A small universe that stands still and limits nobody."""
    async with Simulator(budget=0) as running:
        yield running


@pytest.fixture
async def rest(simulator: Simulator) -> AsyncIterator[KalshiRest]:
    async with KalshiRest(simulator.base_url, budget=Budget(1_000_000)) as client:
        yield client


async def command(simulator: Simulator, path: str, **body: object) -> dict[str, object]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{simulator.control_url}{path}", json=body) as reply,
    ):
        assert reply.status == 200, await reply.text()
        return await reply.json()


async def test_every_market_becomes_a_row(simulator: Simulator, rest: KalshiRest) -> None:
    now = datetime.now(UTC)
    series = {s.ticker: convert.series(s) for s in (await rest.series()).items}
    events = {}
    async for page in rest.events():
        assert page.complete
        events |= {e.event_ticker: convert.event(e) for e in page.items}
    assert {e.series_ticker for e in events.values()} <= set(series)
    series_of = {ticker: event.series_ticker for ticker, event in events.items()}
    rows: dict[str, Market] = {}
    async for page in rest.markets():
        assert page.complete
        found, rejected_rows = convert.readable(
            page.items, lambda wire: markets.market(wire, series_of[wire.event_ticker], now)
        )
        assert not rejected_rows
        rows |= {row.ticker: row for row in found}
    truth = simulator.universe
    assert set(series) == set(truth.series)
    for ticker, row in rows.items():
        market = truth.markets[ticker]
        assert row.event_ticker == market.event.ticker
        assert row.series_ticker == market.event.series.ticker
        assert row.exchange_status == market.status(simulator.clock())
    assert len(rows) > 1000
    assert not rest.drift.found, rest.drift


async def test_nested_markets_equal_the_listed_ones(rest: KalshiRest) -> None:
    nested = {}
    async for page in rest.events(status="open", with_nested_markets=True):
        assert page.complete
        for event in page.items:
            assert event.markets is not None
            nested |= {market.ticker: market for market in event.markets}
    listed = {}
    async for page in rest.markets(status="open"):
        listed |= {market.ticker: market for market in page.items}
    assert listed.keys() <= nested.keys()
    assert all(nested[ticker].title == market.title for ticker, market in listed.items())


async def test_single_reads(simulator: Simulator, rest: KalshiRest) -> None:
    ticker = next(t for t in simulator.universe.markets if "." in t)
    market = simulator.universe.markets[ticker]
    assert (await rest.market(ticker)).event_ticker == market.event.ticker
    assert (await rest.event(market.event.ticker)).series_ticker == market.event.series.ticker
    assert (await rest.one_series(market.event.series.ticker)).ticker
    with pytest.raises(NotFoundError):
        await rest.market("NO-SUCH-MARKET")
    with pytest.raises(NotFoundError):
        await rest.event("NO-SUCH-EVENT")
    with pytest.raises(NotFoundError):
        await rest.one_series("NOSUCHSERIES")


async def test_reference_endpoints(rest: KalshiRest) -> None:
    assert await rest.tags_by_categories()
    assert (await rest.filters_by_sport()).filters_by_sports
    assert (await rest.exchange_status()).exchange_active
    assert (await rest.exchange_schedule()).standard_hours
    assert values.time((await rest.historical_cutoff()).market_settled_ts) is not None
    changes = await rest.series_fee_changes()
    assert convert.fee_schedule(changes.items) is not None
    async for page in rest.event_fee_changes():
        assert page.complete
    async for page in rest.historical_markets():
        assert page.complete
    assert (await rest.endpoint_costs()).default_cost > 0
    assert not rest.drift.found, rest.drift


async def test_a_small_budget_is_kept_without_a_429() -> None:
    async with Simulator("tiny", budget=400) as simulator:
        budget = Budget(400)
        async with KalshiRest(simulator.base_url, budget=budget) as rest:
            await asyncio.gather(*(rest.exchange_status() for _ in range(120)))
            assert budget.refusals == 0


async def test_a_budget_set_too_high_adapts_and_gets_through() -> None:
    async with Simulator("tiny", budget=200) as simulator:
        budget = Budget(4000)
        policy = RetryPolicy(base_seconds=0.05, cap_seconds=0.5)
        async with KalshiRest(simulator.base_url, budget=budget, policy=policy) as rest:
            replies = await asyncio.gather(*(rest.exchange_status() for _ in range(80)))
            assert len(replies) == 80
            assert budget.refusals > 0


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
async def test_lifecycle_messages_over_a_signed_socket(kind: str) -> None:
    key = (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        if kind == "rsa"
        else ed25519.Ed25519PrivateKey.generate()
    )
    async with Simulator("tiny", budget=0, keys={"me": key.public_key()}) as simulator:
        signer = Signer("me", key)
        async with KalshiSocket(simulator.ws_url, signer=signer, channels=[CHANNEL]) as socket:
            assert await kinds(socket, 3) == [Connected, Subscribed, Gap]
            made = await command(simulator, "/markets", series="KXTEST", strike=10.5)
            messages = [event for event in await take(socket, 2) if isinstance(event, Message)]
        bodies = {message.type: message.msg for message in messages}
        assert bodies["event_lifecycle"]["series_ticker"] == "KXTEST"
        assert bodies[CHANNEL]["market_ticker"] == made["market_ticker"]
        assert bodies[CHANNEL]["event_type"] == "created"

        async with KalshiRest(simulator.base_url, signer=signer, budget=Budget(1e6)) as rest:
            assert (await rest.event(str(made["event_ticker"]))).series_ticker == "KXTEST"


async def test_a_stranger_is_refused_at_the_handshake() -> None:
    mine, other = (ed25519.Ed25519PrivateKey.generate() for _ in range(2))
    async with Simulator("tiny", budget=0, keys={"me": mine.public_key()}) as simulator:
        for signer in (None, Signer("me", other), Signer("you", mine)):
            async with KalshiSocket(simulator.ws_url, signer=signer, channels=[CHANNEL]) as socket:
                with pytest.raises(HandshakeRefusedError):
                    await take(socket, 1)


async def test_a_scheduled_disconnect_is_a_gap(simulator: Simulator) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    policy = SocketPolicy(reconnect=RetryPolicy(base_seconds=0.01, cap_seconds=0.05))
    async with KalshiSocket(
        simulator.ws_url, signer=Signer("any", key), channels=[CHANNEL], policy=policy
    ) as socket:
        await take(socket, 3)
        await command(simulator, "/disconnect")
        events = await take(socket, 4)
        assert [type(e) for e in events] == [Disconnected, Connected, Subscribed, Gap]
        gap = events[3]
        assert isinstance(gap, Gap)
        assert gap.reason is GapReason.CLOSED


async def test_the_exchanges_pings_keep_a_quiet_socket_open() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    async with Simulator("tiny", budget=0, ping_seconds=0.2) as simulator:
        policy = SocketPolicy(silence_seconds=5)
        async with KalshiSocket(
            simulator.ws_url, signer=Signer("any", key), channels=[CHANNEL], policy=policy
        ) as socket:
            await take(socket, 3)
            # Longer than the silence allowed: only pings can have kept it alive.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(socket), 7)
            assert socket.subscribed


async def take(socket: KalshiSocket, count: int) -> list[FeedEvent]:
    async with asyncio.timeout(180):
        return [await anext(socket) for _ in range(count)]


async def kinds(socket: KalshiSocket, count: int) -> list[type]:
    return [type(event) for event in await take(socket, count)]
