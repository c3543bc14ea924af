"""Reading trades again: in pieces, once each, told of when all of it is there."""

from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ssmd_connector.capture import Capture
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_connector.repair import PART, Interval, Repair
from ssmd_connector.seen import MOST, Known, Seen
from ssmd_kalshi.errors import KalshiError
from ssmd_kalshi.pages import Page
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.retry import RetryPolicy
from ssmd_kalshi.wire import WireTrade
from ssmd_simulator.faults import Fault
from ssmd_stream.market.messages import SessionRecord, decoded

from .conftest import Market

PAGE, TRADES = 25, 600
QUIET = pytest.mark.parametrize("market", [{"market_rate": 0}], indirect=True)


class NoNames:
    def of(self, ticker: str) -> tuple[str | None, str | None]:
        return None, None


class SmallPages(KalshiRest):
    """Says of how many trades it gave away the pages."""

    given = 0

    def trades(self, **options: Any) -> AsyncGenerator[Page[WireTrade], None]:
        return self._counted(super().trades(**options, limit=PAGE))

    async def _counted(
        self, pages: AsyncGenerator[Page[WireTrade], None]
    ) -> AsyncGenerator[Page[WireTrade], None]:
        async for page in pages:
            self.given += len(page.items)
            yield page


class Gap:
    """Trades of twelve minutes, which came over no socket, and a process that reads them again."""

    def __init__(self, market: Market, rest: SmallPages) -> None:
        self.market = market
        self.rest = rest
        now = datetime.now(UTC)
        self.interval = Interval(now - timedelta(minutes=12), now - timedelta(seconds=5))
        length = (self.interval.until - self.interval.since).total_seconds()
        tape, since = market.sim.floor.tape, self.interval.since.timestamp()
        made = [
            tape.add(since + (n + 0.5) * length / TRADES, "KXA-1", 4200, 100, "yes")
            for n in range(TRADES)
        ]
        self.made = [tape.id_of(trade.number).decode() for trade in made]
        self.begin()

    def begin(self) -> None:
        """Another process, which knows nothing."""
        self.seen = Seen()
        self.seen.since = datetime.now(UTC)
        self.published: list[MarketOutgoing] = []
        self.most_held = 0
        self.known: list[Known] = []

    def repair(self, meanwhile: Callable[[], None] = lambda: None) -> Repair:
        """`meanwhile` happens before each trade."""

        async def room() -> None:
            held = self.rest.given - len(self.trades)
            self.most_held = max(self.most_held, held)
            meanwhile()

        return Repair(
            self.interval, self.rest, Capture("0", NoNames()), self._known, room, self._put
        )

    def _known(self, since: datetime, until: datetime) -> Known:
        self.known.append(Known(self.seen, self.market.stream, lambda: None, since, until))
        return self.known[-1]

    def _put(self, message: MarketOutgoing) -> None:
        self.published.append(message)
        if message.trade_id:
            self.seen.add(message.trade_id, message.received_at)

    async def store(self) -> None:
        """What was published comes into the stream."""
        client = self.market.stream.client
        for message in self.published:
            await client.jetstream().publish(message.subject, message.payload)

    @property
    def trades(self) -> list[str]:
        return [one.trade_id for one in self.published if one.type == "trade"]

    @property
    def told(self) -> list[SessionRecord]:
        """The records, of which each has all trades before it."""
        found = [decoded(one.payload) for one in self.published if one.type == "session"]
        return [one for one in found if isinstance(one, SessionRecord)]


@pytest.fixture
async def gap(market: Market) -> Any:
    policy = RetryPolicy(attempts=1)
    async with SmallPages(market.sim.base_url, budget=10_000, policy=policy) as rest:
        yield Gap(market, rest)


@QUIET
async def test_no_more_is_held_than_a_page_however_long_the_gap_is(gap: Gap) -> None:
    repair = gap.repair()
    await repair.run()
    assert sorted(gap.trades) == sorted(gap.made)
    assert gap.published[-1].type == "session"
    [record] = gap.told
    assert (record.what, record.trades) == ("repaired", TRADES)
    # Twice is what the margins of two parts have in common.
    assert TRADES < gap.rest.given < TRADES * 1.25
    assert len(gap.known) == -(-(gap.interval.until - gap.interval.since) // PART)
    twice = gap.rest.given - TRADES
    assert gap.most_held <= PAGE + twice


@QUIET
async def test_it_goes_on_after_the_exchange_failed_and_tells_of_all(gap: Gap) -> None:
    repair = gap.repair()
    for _ in range(3):
        failing = gap.market.sim.faults.start(Fault("error", path="/markets/trades", after=7))
        with pytest.raises(KalshiError):
            await repair.run()
        assert gap.told == []
        gap.market.sim.faults.clear(failing.id)
    before = len(gap.trades)
    assert 0 < before < TRADES
    await repair.run()
    assert sorted(gap.trades) == sorted(gap.made)
    assert len({one.id for one in gap.published}) == len(gap.published)
    [record] = gap.told
    assert record.trades == TRADES
    # What it had read of the interval it did not read again, but for the part where it ended.
    assert gap.rest.given < TRADES * 1.5


@QUIET
async def test_another_process_publishes_what_the_first_one_did_not(gap: Gap) -> None:
    gap.market.sim.faults.start(Fault("error", path="/markets/trades", after=20, times=1))
    with pytest.raises(KalshiError):
        await gap.repair().run()
    await gap.store()
    first = gap.trades
    assert 0 < len(first) < TRADES
    gap.begin()
    await gap.repair().run()
    assert sorted(first + gap.trades) == sorted(gap.made)
    # Of the stream it remembers what may be of the part that it reads.
    assert max(map(len, gap.known)) < TRADES / 6
    [record] = gap.told
    assert record.trades == TRADES - len(first)


@QUIET
async def test_a_trade_that_was_forgotten_meanwhile_is_not_published_again(gap: Gap) -> None:
    """All of it is known, and so much comes over the socket that it leaves the memory."""
    await gap.repair().run()
    await gap.store()
    gap.begin()
    gap.seen.since = gap.interval.since - timedelta(minutes=1)
    for trade in gap.made:
        gap.seen.add(trade, datetime.now(UTC))
    asked = 0

    def crowded() -> None:
        nonlocal asked
        asked += 1
        if asked == TRADES // 2:
            for number in range(MOST):
                gap.seen.add(f"other {number}", datetime.now(UTC))

    await gap.repair(crowded).run()
    assert gap.trades == []


@QUIET
async def test_a_trade_of_the_socket_that_comes_while_the_page_waits_is_there_once(
    gap: Gap,
) -> None:
    def late() -> None:
        for trade in gap.made[-10:]:
            gap.seen.add(trade, datetime.now(UTC))

    await gap.repair(late).run()
    assert set(gap.trades) == set(gap.made[:-10])


def test_an_interval_has_no_hole_between_its_parts() -> None:
    since = datetime(2026, 11, 29, tzinfo=UTC)
    for seconds in (0.0, 1.0, 60.0, 60.5, 120.0, 899.9):
        interval = Interval(since, since + timedelta(seconds=seconds))
        parts = list(interval.parts())
        assert (parts[0].since, parts[-1].until) == (interval.since, interval.until)
        assert [one.until for one in parts[:-1]] == [one.since for one in parts[1:]]
        assert all(one.until - one.since <= PART for one in parts)
