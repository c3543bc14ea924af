"""Deadlines that count what the other side does not do, not what we do not get to.

On a busy node, or after it was paused, a process is late itself: its timers are due before it has
looked at its sockets, and the answer may be there already. `asyncio.timeout` gives up then.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

STEP_SECONDS: Final = 0.05
"""What one turn of waiting counts at most, however late it comes."""

_LAST_LOOKS: Final = 5
"""Turns of the loop after the last step: sockets are looked at, and what waits for them woken."""


@asynccontextmanager
async def answered_within(
    seconds: float,
    *,
    attended: float | None = None,
    give_up: Callable[[], object] | None = None,
) -> AsyncIterator[None]:
    """As `asyncio.timeout`, of seconds in which this process was there to see an answer.

    With `attended` it ends when `seconds` have passed on the clock and so many of them were
    attended: where another relies on our giving up in time. `give_up` is called then in place of a
    cancellation, and has to end the body.

    Raises:
        TimeoutError: the body took longer, and there is no `give_up`.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    left = seconds if attended is None else attended
    handle: asyncio.Handle
    async with asyncio.timeout(None) as scope:

        def step() -> None:
            nonlocal left, handle
            left -= STEP_SECONDS
            if left > 0 or loop.time() < due:
                handle = loop.call_later(STEP_SECONDS, step)
            else:
                look(_LAST_LOOKS)

        def look(again: int) -> None:
            nonlocal handle
            if again:
                handle = loop.call_soon(look, again - 1)
            elif give_up is not None:
                give_up()
            else:
                scope.reschedule(loop.time())

        handle = loop.call_later(STEP_SECONDS, step)
        try:
            yield
        finally:
            handle.cancel()
