"""Whatever the universe, whatever happens to it and to the wire: the tables end as its truth.

A history is a universe and some steps. In a step the exchange may begin to misbehave, changes, and
is synchronized, perhaps in vain. Afterwards it behaves, and the cheapest runs that see such changes
must end in the truth, and then write nothing more.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from sync_truth import assert_truth

from ssmd_kalshi.retry import RetryPolicy
from ssmd_simulator.control import ScriptedMarket
from ssmd_simulator.faults import Fault
from ssmd_simulator.server import Simulator
from ssmd_simulator.universe import Event, Market
from ssmd_stack.database import new_database
from ssmd_store.pages import Store
from ssmd_sync.report import Report
from ssmd_sync.scope import Mode

Change = tuple[str, int]
"""What happens, and a number that chooses to whom and how."""

OF_MARKETS = (
    "trade", "pause", "unpause", "determine", "settle", "retitle", "move_close", "unknown_field",
)  # fmt: skip
OTHERS = ("retitle_event", "override_fee", "series", "list", "vanish")


@dataclass(frozen=True)
class Step:
    fault: tuple[str, int, int | None] | None
    """Kind, how many requests pass before it, how many it hits (None: all)."""
    changes: list[Change]
    seconds: int
    """That pass before the run: none at all, and times are equal."""
    modes: list[Mode]


@dataclass(frozen=True)
class History:
    seed: int
    keep: int
    """One event in so many."""
    steps: list[Step]
    last: list[Mode]


COMPLETE = [Mode.FULL, Mode.INCREMENTAL]
CHEAP = [Mode.INCREMENTAL, Mode.ACTIVE, Mode.WINDOWS]

CHANGES = st.tuples(st.sampled_from(OF_MARKETS * 3 + OTHERS), st.integers(0, 2**20))
FAULTS = st.tuples(
    st.sampled_from(
        ["garbage", "truncated", "html", "empty", "reset", "error", "storm", "wrong_type", "stale"]
    ),
    st.integers(0, 9),
    st.sampled_from([1, 2, None]),
)
STEPS = st.builds(
    Step,
    fault=st.none() | FAULTS,
    changes=st.lists(CHANGES, max_size=30),
    seconds=st.integers(0, 3),
    modes=st.lists(st.sampled_from(Mode), min_size=1, max_size=3),
)
HISTORIES = st.builds(
    History,
    seed=st.integers(0, 10),
    keep=st.sampled_from([4, 12, 40]),
    steps=st.lists(STEPS, min_size=1, max_size=4),
    last=st.sampled_from([COMPLETE, CHEAP]),
)


class Life:
    """Changes the exchange as a history says."""

    def __init__(self, simulator: Simulator, now: float) -> None:
        self.now = now
        self.vanished = 0
        self._does = simulator.exchange
        self._universe = simulator.universe
        self._control = simulator.control

    def change(self, change: Change) -> None:
        kind, number = change
        if kind in OF_MARKETS:
            alive = [m for m in self._universe.unsettled if not m.event.multivariate]
            self._market(kind, alive[number % len(alive)], number)
        else:
            events = [e for e in self._universe.event_order if not e.multivariate]
            self._event(kind, events[number % len(events)], number)

    def _market(self, kind: str, market: Market, number: int) -> None:
        status, now, does = market.status(self.now), self.now, self._does
        deeds: dict[str, tuple[set[str], Callable[[], object]]] = {
            "trade": ({"active"}, lambda: does.trade(market)),
            "pause": ({"active"}, lambda: does.pause(market, now)),
            "unpause": ({"inactive"}, lambda: does.unpause(market, now)),
            "determine": (
                {"active", "closed"},
                lambda: does.determine(market, "yes" if number % 2 else "no", float("inf"), now),
            ),
            "settle": ({"determined"}, lambda: does.settle(market, now)),
            "move_close": (
                {"active"},
                lambda: does.move_close(market, now + 3600 + number % 90_000, now),
            ),
        }
        statuses, deed = deeds.get(
            kind, ({status}, lambda: does.edit(market, self._edit(kind, number), now))
        )
        if status in statuses:
            deed()

    @staticmethod
    def _edit(kind: str, number: int) -> dict[str, Any]:
        return {"title": f"Title {number}"} if kind == "retitle" else {"novelty": [number]}

    def _event(self, kind: str, event: Event, number: int) -> None:
        now, does = self.now, self._does
        match kind:
            case "retitle_event":
                does.edit_event(event, {"title": f"Event {number}"}, now)
            case "override_fee":
                does.override_fee(event, ("quadratic", number % 5 / 4) if number % 3 else None, now)
            case "series":
                does.put_series(event.series.ticker, {"title": f"Series {number}"}, now)
            case "list":
                self._control.script(
                    ScriptedMarket(
                        series=f"KXNEW{number % 3}", count=2, close_in=5000 + number % 5000
                    )
                )
            case "vanish" if self.vanished < 40:
                # What settled is kept for ever, whatever the exchange forgets.
                for market in [m for m in event.markets if m.status(now) != "finalized"][:1]:
                    self.vanished += 1
                    does.vanish(market)


async def lives_through(history: History, sync: Any, exchange: Any, clock: list[float]) -> None:
    simulator = exchange.simulator
    life = Life(simulator, clock[0])
    sync.policy = RetryPolicy(
        attempts=2, throttled_attempts=2, base_seconds=0.001, total_seconds=60
    )
    for step in history.steps:
        if step.fault:
            kind, after, times = step.fault
            simulator.faults.start(Fault(kind, after=after, times=times))  # type: ignore[arg-type]
        for change in step.changes:
            life.change(change)
        # What is listed in this very moment is in some lists and not yet in others.
        clock[0] += step.seconds or any(kind == "list" for kind, _ in step.changes)
        life.now = clock[0]
        for mode in step.modes:
            report: Report = await sync(mode)
            note(f"{mode}: {report.outcome} {report.sentence}")
            assert report.outcome in ("ok", "partial", "failed")
            assert step.fault or report.outcome == "ok", report
        simulator.faults.clear()
    # Only a full run tells what vanished.
    for mode in COMPLETE if life.vanished else history.last:
        report = await sync(mode)
        assert report.outcome == "ok", report
    await assert_truth(sync, exchange)
    before = await sync.tuples_written()
    for mode in Mode:
        assert (await sync(mode)).outcome == "ok"
    assert await sync.tuples_written() == before


async def check(history: History, server: Any, new_sync: Any, new_exchange: Any) -> None:
    clock = [time.time()]
    simulator = Simulator(
        "small",
        seed=history.seed,
        tempo=None,
        budget=0,
        creation_lag=0,
        # Its day is half over, whatever the time is here.
        anchor=clock[0] - 43_200,
        clock=lambda: clock[0],
    )
    async with (
        new_database(server) as database,
        database.connect() as connection,
        simulator,
    ):
        exchange = new_exchange(simulator)
        exchange.thin(history.keep)
        sync = new_sync(await Store.on(connection), exchange.url)
        await lives_through(history, sync, exchange, clock)


COMMON = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(HISTORIES)
@settings(
    COMMON,
    max_examples=settings().max_examples // 33,
    # A smaller one that fails as well would take minutes to find.
    phases=[Phase.explicit, Phase.generate],
)
async def test_a_few_histories_end_in_the_truth(
    postgres_server: Any, new_sync: Any, new_exchange: Any, history: History
) -> None:
    await check(history, postgres_server, new_sync, new_exchange)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@given(HISTORIES)
@settings(COMMON, max_examples=int(os.environ.get("SYNC_HISTORIES", "300")), derandomize=False)
async def test_many_histories_end_in_the_truth(
    postgres_server: Any, new_sync: Any, new_exchange: Any, history: History
) -> None:
    """`make test-slow`; other ones each time."""
    await check(history, postgres_server, new_sync, new_exchange)
