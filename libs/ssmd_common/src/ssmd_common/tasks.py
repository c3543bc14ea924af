"""Ending tasks for certain: cancellations that libraries swallow, and how none is lost."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

T = TypeVar("T")

# Longer than it takes to close connections in order: a task that is ending is not to be disturbed.
_AGAIN_SECONDS: Final = 3.0


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks until they have ended; what they raise is not raised here.

    Being cancelled meanwhile changes nothing but that it is raised at the end: a task left behind
    would outlive whoever made it.

    One cancellation can get lost: `asyncio.wait_for` of Python 3.11, which redis-py and nats-py
    use, swallows it where what it waits for is done at the same moment, and a client that is just
    reconnecting may.
    """
    left = {task for task in tasks if not task.done()}
    interrupted = again = False
    while left:
        if not again:
            for task in left:
                task.cancel()
        try:
            _, left = await asyncio.wait(left, timeout=_AGAIN_SECONDS)
            again = False
        except asyncio.CancelledError:
            interrupted = again = True
            left = {task for task in left if not task.done()}
    for task in tasks:
        if not task.cancelled():
            # Looked at, or asyncio says that nobody did.
            task.exception()
    if interrupted:
        raise asyncio.CancelledError


async def until(event: asyncio.Event, work: Awaitable[T]) -> T | None:
    """The result of `work`, or None when the event comes first (`work` is then cancelled)."""
    task, waiting = asyncio.ensure_future(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        waiting.cancel()
        await end(task)


def raise_if_cancelled() -> None:
    """Take up a cancellation of this task that something on the way swallowed.

    To call where an error is about to be mended by trying again. Python 3.11 can lose one in two
    ways: a TaskGroup with failed tasks raises their errors instead, and `wait_for` returns a result
    that came in the same turn of the loop; nats-py catches some itself.

    Raises:
        CancelledError: it was cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
