"""Our clock beside PostgreSQL's: what an answer proves, and what is done about it."""

import asyncio
import itertools
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from ssmd_common.connections import clock
from ssmd_common.connections.clock import Clock
from ssmd_common.errors import ClockDiffers
from ssmd_common.health import Health
from ssmd_common.metrics import CLOCK_OFFSET, total
from ssmd_common.reporter import reporting
from ssmd_common.skew import HELD_SECONDS, WARNED_SECONDS, Offset

_SECONDS = st.floats(-1e6, 1e6)


@given(theirs=st.floats(0, 4e9), offset=_SECONDS, there=st.floats(0, 600), back=st.floats(0, 600))
def test_no_delay_makes_a_difference_that_is_not_there(
    theirs: float, offset: float, there: float, back: float
) -> None:
    """However slow question and answer were, the true offset is within what is believed."""
    found = Offset.measured(theirs + offset - there, theirs, there + back)
    assert abs(found.certain) <= abs(offset) + 1e-5
    for bound in (WARNED_SECONDS, HELD_SECONDS):
        if found.exceeds(bound) is True:
            assert abs(offset) > bound - 1e-5
        if found.exceeds(bound) is False:
            assert abs(offset) <= bound + 1e-5


@given(theirs=st.floats(0, 4e9), offset=_SECONDS, delay=st.floats(0, 0.5))
def test_a_quick_answer_tells(theirs: float, offset: float, delay: float) -> None:
    found = Offset.measured(theirs + offset, theirs, delay)
    if abs(offset) > HELD_SECONDS + 1:
        assert found.exceeds(HELD_SECONDS) is True
        assert math.copysign(1, found.certain) == math.copysign(1, offset)
        assert f"{abs(found.certain):.0f} s" in found.sentence
        assert ("ahead of" in found.sentence) == (offset > 0)
    if abs(offset) < WARNED_SECONDS - 1:
        assert found.exceeds(WARNED_SECONDS) is False


class Faked:
    """A clock of this machine that can be set, and stand."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.clock = Clock(wall=lambda: time.time() + self.ahead)


async def test_beyond_two_seconds_it_is_said_and_beyond_thirty_nothing_is_written(
    database: Any,
) -> None:
    faked, health = Faked(), Health("sync")
    health.set("postgres", None)
    async with database.connect() as connection:
        await faked.clock.require(connection)
        faked.clock.tell(health)
        assert (health.ready, health.degraded) == (True, {})
        faked.ahead = 12
        await faked.clock.require(connection)
        faked.clock.tell(health)
        assert health.ready
        assert health.degraded["clock"].startswith("the clock here is 12 s ahead of PostgreSQL's")
        faked.ahead = -300
        with pytest.raises(ClockDiffers, match="300 s behind PostgreSQL's: which of the two"):
            await faked.clock.require(connection)
        faked.clock.tell(health)
        assert not health.ready
        assert health.degraded == {}
        assert "nothing is stamped by it" in (health.conditions["clock"] or "")
        assert -301 < total(CLOCK_OFFSET) < -299
        reader = Health("api", stamps=False)
        reader.set("postgres", None)
        faked.clock.tell(reader)
        assert reader.ready
        assert "300 s behind" in reader.degraded["clock"]
        faked.ahead = 0
        await faked.clock.require(connection)
        faked.clock.tell(health)
        assert (health.ready, health.degraded) == (True, {})


async def test_a_jump_is_noticed_before_anything_is_written(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for the next comparison, which here never comes."""
    monkeypatch.setattr(clock, "FRESH_SECONDS", 1e9)
    faked = Faked()
    async with database.connect() as connection:
        await faked.clock.require(connection)
        asked = 0
        execute = connection.cursor_factory.execute

        async def counting(*arguments: Any, **options: Any) -> Any:
            nonlocal asked
            asked += 1
            return await execute(*arguments, **options)

        monkeypatch.setattr("psycopg.AsyncCursor.execute", counting)
        await faked.clock.require(connection)
        assert asked == 0
        for ahead in (300, -300):
            faked.ahead = ahead
            assert faked.clock.jumped
            with pytest.raises(ClockDiffers):
                await faked.clock.require(connection)
        faked.ahead = 0
        # The machine slept: its clock jumped to where it belongs.
        await faked.clock.require(connection)
        assert asked == 3


async def test_a_slow_answer_takes_nothing_back_and_claims_nothing(database: Any) -> None:
    faked, calls, delay = Faked(), itertools.count(), 0.0

    def monotonic() -> float:
        # A comparison looks twice: before it asks, and when it has heard.
        return time.monotonic() + (delay if next(calls) % 2 else 0.0)

    slow = Clock(wall=lambda: time.time() + faked.ahead, monotonic=monotonic)
    async with database.connect() as connection:
        for delay, ahead, held in (
            (45.0, 0.0, False),
            (45.0, -40.0, False),
            (0.0, 300.0, True),
            (45.0, 0.0, True),
            (0.0, 0.0, False),
        ):
            faked.ahead = ahead
            await slow.compare(connection)
            assert bool(slow.held) == bool(slow.warned) == held, (delay, ahead)


async def test_what_needs_a_right_clock_is_ended_when_it_goes_wrong(database: Any) -> None:
    faked, ended = Faked(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def done() -> str:
        return "done"

    async def refused(connection: Any) -> str:
        await faked.clock.require(connection)
        return "written"

    async with database.connect() as connection:
        await faked.clock.require(connection)
        assert await faked.clock.while_it_agrees(done()) == "done"
        running = asyncio.create_task(faked.clock.while_it_agrees(work()))
        await asyncio.sleep(0)
        faked.ahead = 300
        assert await faked.clock.differs(connection)
        # Although it is right again before anybody has looked.
        faked.ahead = 0
        assert await faked.clock.differs(connection) is None
        assert await running is None
        assert ended.is_set()
        faked.ahead = 300
        assert await faked.clock.while_it_agrees(refused(connection)) is None


async def test_the_reporter_compares_and_says_it(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    faked, health = Faked(), Health("cdc")
    monkeypatch.setattr("ssmd_common.reporter.CLOCK", faked.clock)
    health.set("slot", None)

    async def told(ready: bool) -> None:
        async with asyncio.timeout(180), database.connect() as connection:
            while True:
                cursor = await connection.execute("SELECT ready, reasons FROM service_status")
                row = await cursor.fetchone()
                if row is not None and row[0] is ready and ("clock" in row[1]) is not ready:
                    return
                await asyncio.sleep(0.05)

    async with reporting(health, SecretStr(database.url)):
        await told(True)
        faked.ahead = 300
        await told(False)
        assert "300 s ahead of PostgreSQL's" in (health.conditions["clock"] or "")
        faked.ahead = 0
        await told(True)
