"""Waiting for a server that does not answer yet, in one place; a service's stop ends it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from ssmd_common.errors import StopRequested, UpstreamUnavailable
from ssmd_common.tasks import until

if TYPE_CHECKING:
    from ssmd_common.health import Health

log = structlog.get_logger(__name__)

T = TypeVar("T")

service_stop: Final[ContextVar[asyncio.Event | None]] = ContextVar("service_stop", default=None)
"""The stop event of the service that runs here; none in a command."""

service_health: "Final[ContextVar[Health | None]]" = ContextVar("service_health", default=None)
"""The health of the service that runs here; none in a command."""


async def unless_stopped(work: Awaitable[T]) -> T:
    """What `work` brings, never None; a service that drains already waits as long as it takes.

    Raises:
        StopRequested: the stop came first; `work` is cancelled.
    """
    stop = service_stop.get()
    if stop is None or stop.is_set():
        return await work
    result = await until(stop, work)
    if result is None:
        raise StopRequested("asked to stop while waiting for a server")
    return result


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
        StopRequested: the service was asked to stop meanwhile.
    """

    async def tried() -> T:
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

    return await unless_stopped(tried())


def first_line(error: BaseException) -> str:
    """An error's first line, or its type where it has no text."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
