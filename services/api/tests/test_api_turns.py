"""Turns and places are bounded, and fair to who asks. Nothing is waited for but what happens."""

import asyncio
from contextlib import ExitStack, suppress

import pytest

from ssmd_api.places import Places
from ssmd_api.problems import Problem
from ssmd_api.turns import NoTurn, Turns, caller


class Work:
    """Turns that last until they are let go, and the order in which they began."""

    def __init__(self, at_once: int, waiting: int = 1000) -> None:
        self.turns = Turns(at_once, waiting=waiting)
        self.began: list[str] = []
        self.refused: list[str] = []
        self._go: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    def ask(self, name: str, count: int = 1, patience_seconds: float = 60) -> None:
        for _ in range(count):
            self.tasks.append(asyncio.create_task(self._one(name, patience_seconds)))

    async def _one(self, name: str, patience_seconds: float) -> None:
        caller.set(name)
        try:
            async with self.turns.turn(patience_seconds):
                self.began.append(name)
                go = asyncio.Event()
                self._go.append(go)
                await go.wait()
        except NoTurn:
            self.refused.append(name)

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def finish_one(self) -> None:
        await self.settle()
        self._go.pop(0).set()
        await self.settle()

    async def finish(self) -> None:
        while not all(task.done() for task in self.tasks):
            await self.finish_one()


async def test_a_caller_that_floods_does_not_starve_the_others() -> None:
    work = Work(at_once=2)
    work.ask("flood", 100)
    await work.settle()
    work.ask("a")
    work.ask("b", 2)
    for _ in range(6):
        await work.finish_one()
    assert len(work.began) == 8
    # In the first rounds each caller has its turn.
    assert work.began[:2] == ["flood"] * 2
    assert {"a", "b"} <= set(work.began[2:6])
    assert work.began[2:].count("b") == 2
    await work.finish()
    assert work.began.count("flood") == 100


async def test_of_too_many_that_wait_the_flood_is_turned_away() -> None:
    work = Work(at_once=1, waiting=3)
    work.ask("flood", 4)
    await work.settle()
    work.ask("a")
    await work.settle()
    assert work.refused == ["flood"]
    work.ask("flood")
    await work.settle()
    assert work.refused == ["flood", "flood"]
    await work.finish()
    assert sorted(work.began) == ["a", "flood", "flood", "flood"]


async def test_who_waits_too_long_is_told_and_leaves_no_turn_taken() -> None:
    work = Work(at_once=1)
    work.ask("a")
    await work.settle()
    work.ask("b", patience_seconds=0.01)
    await asyncio.wait(work.tasks[1:])
    assert work.refused == ["b"]
    gone = asyncio.create_task(work._one("c", 60))
    await work.settle()
    gone.cancel()
    await asyncio.wait([gone])
    await work.finish()
    work.ask("d")
    await work.settle()
    assert work.began == ["a", "d"]
    await work.finish()


async def test_a_turn_that_comes_as_its_caller_goes_is_given_to_the_next() -> None:
    work = Work(at_once=1)
    for name in ("a", "b", "c"):
        work.ask(name)
    await work.settle()
    work._go.pop(0).set()
    work.tasks[1].cancel()
    await work.settle()
    work.tasks[1].cancel()
    await work.settle()
    assert "c" in work.began
    await asyncio.wait([work.tasks[1]])
    await work.finish()


def test_no_caller_takes_all_places() -> None:
    places = Places("streams", 20)

    def taken(name: str) -> int:
        caller.set(name)
        count = 0
        with suppress(Problem):
            while True:
                stack.enter_context(places.place())
                count += 1
        return count

    with ExitStack() as stack:
        assert taken("flood") == 18
        assert taken("a") == 1
        assert taken("b") == 1
        assert taken("c") == 0
    with ExitStack() as stack:
        assert taken("a") == 18
    with Places("exports", 1).place():
        pass


@pytest.fixture(autouse=True)
def _no_caller() -> None:
    caller.set("")
