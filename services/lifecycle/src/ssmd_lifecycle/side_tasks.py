"""The tasks beside the main loop: an error in one ends the service, and all end before their
connections do."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from ssmd_common.connections.retry import first_line
from ssmd_common.errors import ClockDiffers, UpstreamUnavailable
from ssmd_common.runtime import Runtime
from ssmd_common.tasks import end

log = structlog.get_logger(__name__)


class SideTasks:
    """Starts tasks of a runtime and stops them again, in the order of one `async with` stack."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the main loop."""
        try:
            self._tasks.append(self._runtime.spawn(name, explained(work)))
        except RuntimeError:
            work.close()
            raise

    async def stop(self) -> None:
        """Cancel all, and wait until they have ended."""
        await end(*self._tasks)


async def explained(work: Coroutine[Any, Any, None]) -> None:
    """Run `work`; a database that is gone is explained in one sentence."""
    try:
        await work
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        raise UpstreamUnavailable(
            f"PostgreSQL does not answer any more ({first_line(error)}): check that it runs; the "
            "service starts where it ended"
        ) from error
    except ClockDiffers as error:
        # The leadership that this is part of ends for the same reason.
        log.info("task ends until the clocks agree", reason=str(error))
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise UpstreamUnavailable(
            f"PostgreSQL has become read-only ({first_line(error)}): the service starts again and "
            "waits until it takes writes"
        ) from error
