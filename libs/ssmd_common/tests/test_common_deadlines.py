"""Deadlines: the other side's silence counts, our own lateness does not."""

import asyncio
import socket
import time

import pytest

from ssmd_common.deadlines import answered_within


async def test_silence_ends_it() -> None:
    with pytest.raises(TimeoutError):
        async with answered_within(0.2):
            await asyncio.Event().wait()


async def test_what_ends_in_time_ends_well() -> None:
    async with answered_within(5):
        await asyncio.sleep(0.01)


async def test_an_answer_that_came_while_we_were_away_is_found() -> None:
    """Longer away than the deadline: the timer is due before the socket was looked at."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        loop = asyncio.get_running_loop()

        async def ask() -> bytes:
            # It takes more than one turn to be read, as with every library.
            for _ in range(3):
                await asyncio.sleep(0)
            first = await loop.sock_recv(ours, 3)
            return first + await loop.sock_recv(ours, 3)

        async with answered_within(0.3):
            asking = asyncio.create_task(ask())
            await asyncio.sleep(0)
            theirs.send(b"answer")
            time.sleep(0.6)  # noqa: ASYNC251
            assert await asking == b"answer"


async def test_one_that_others_rely_on_ends_by_the_clock_too() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(TimeoutError):
        async with answered_within(0.5, attended=0.1):
            await asyncio.Event().wait()
    assert loop.time() - began >= 0.5


async def test_a_cancellation_stays_one() -> None:
    async def work() -> None:
        async with answered_within(30):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
