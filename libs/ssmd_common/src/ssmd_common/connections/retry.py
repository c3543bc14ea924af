"""Waiting for a server that does not answer yet, in one place."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from ssmd_common.errors import UpstreamUnavailable

log = structlog.get_logger(__name__)

T = TypeVar("T")


async def within_budget(
    what: str,
    mend: str,
    attempt: Callable[[], Awaitable[T]],
    *,
    budget_seconds: float,
    retry_on: tuple[type[BaseException], ...],
) -> T:
    """The result of the first attempt that succeeds; full jitter between attempts, up to 5 s.

    Raises:
        UpstreamUnavailable: none succeeded within the budget; the sentence names `what` and `mend`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + budget_seconds
    pause = 0.2
    while True:
        try:
            return await attempt()
        except retry_on as error:
            left = deadline - loop.time()
            if left <= 0:
                raise UpstreamUnavailable(
                    f"{what} did not answer within {budget_seconds:g} s "
                    f"({first_line(error)}): {mend}"
                ) from error
            log.warning("server not reachable yet", server=what, error=first_line(error))
            await asyncio.sleep(min(left, random.uniform(0.05, pause)))  # noqa: S311
            pause = min(pause * 2, 5.0)


def first_line(error: BaseException) -> str:
    """An error's first line, or its type where it has no text."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
