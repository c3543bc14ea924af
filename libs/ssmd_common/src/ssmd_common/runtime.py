"""How every service runs: settings, logs, health, named tasks, a clean stop, an exit code.

SIGTERM and SIGINT set one stop event; the service stops taking in, drains, and returns. A side task
that dies stops the process: crash, don't limp.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from aiohttp import web

from ssmd_common import health, logs, openfiles, sparing
from ssmd_common.connections.retry import service_health, service_stop
from ssmd_common.connections.rights import explained
from ssmd_common.errors import ConfigurationError, SsmdError, StopRequested
from ssmd_common.exitcodes import ExitCode
from ssmd_common.health import Health
from ssmd_common.settings import PostgresSettings, Settings, load
from ssmd_common.tasks import end, until

log = structlog.get_logger(__name__)

S = TypeVar("S", bound=Settings)
T = TypeVar("T")

GRACE_SECONDS = 25.0
"""Less than Kubernetes' 30 s, after which it kills."""


@dataclass(slots=True)
class Runtime:
    """What a service is given: its stop event, its health, and a group for its side tasks."""

    health: Health
    tasks: asyncio.TaskGroup
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a side task; if it raises, the service ends."""
        try:
            return self.tasks.create_task(work, name=name)
        except RuntimeError:
            # Another task has just failed: nothing is started any more.
            work.close()
            raise

    async def stopped_within(self, seconds: float) -> bool:
        """Sleep; True at once when the service is asked to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return False
        return True

    async def until_stop(self, work: Awaitable[T]) -> T | None:
        """The result of `work`, or None when the stop comes first (`work` is then cancelled)."""
        return await until(self.stop, work)


def run(
    name: str,
    settings_type: type[S],
    serve: Callable[[Runtime, S], Awaitable[None]],
) -> int:
    """Run a service to its end and return the process's exit code.

    `serve` returns when `runtime.stop` is set and all is drained; what it spawned and still runs
    is then cancelled. With arguments nothing is run: a service has none but `--help`.
    """
    sparing.imports_done()
    if sys.argv[1:]:
        # Not needed by a start.
        from ssmd_common.usage import answer

        return answer(name, settings_type, sys.argv[1:])
    try:
        settings = load(settings_type)
    except ConfigurationError as error:
        logs.configure(name)
        log.critical("configuration refused", error=str(error))
        return error.exit_code
    logs.configure(name, settings.log_level, settings.log_format)
    openfiles.allow_many()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_supervise(name, settings, serve))


async def _supervise(name: str, settings: S, serve: Callable[[Runtime, S], Awaitable[None]]) -> int:
    log.info("service starting", ops_port=settings.ops_port)
    app = web.Application()
    status = Health(name)
    health.add_routes(app, status)
    try:
        async with (
            health.serve(app, settings.ops_host, settings.ops_port, "OPS_PORT"),
            _reporting(status, settings),
        ):
            try:
                await _live(status, settings, serve)
            except BaseException as error:
                status.ended(_first(error))
                raise
            status.ended(None)
    except BaseExceptionGroup as group:
        return _report(_first(group), settings)
    except Exception as error:
        return _report(error, settings)
    log.info("service stopped")
    return ExitCode.OK


async def _live(
    status: Health, settings: S, serve: Callable[[Runtime, S], Awaitable[None]]
) -> None:
    async with asyncio.TaskGroup() as tasks:
        runtime = Runtime(status, tasks)
        service_stop.set(runtime.stop)
        service_health.set(status)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _ask_to_stop, runtime, number)
        try:
            await _serve(runtime, settings, serve)
        finally:
            await end(*tasks._tasks)  # noqa: SLF001


def _reporting(status: Health, settings: Settings) -> AbstractAsyncContextManager[None]:
    """How the service is, told to the database; a service without one tells nobody."""
    if not isinstance(settings, PostgresSettings):
        return nullcontext()
    # Only then is there a driver.
    from ssmd_common.reporter import reporting

    return reporting(status, settings.database_url)


async def _serve(
    runtime: Runtime, settings: S, serve: Callable[[Runtime, S], Awaitable[None]]
) -> None:
    main = asyncio.ensure_future(serve(runtime, settings))
    stop = asyncio.create_task(runtime.stop.wait())
    try:
        await asyncio.wait({main, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not main.done():
            await asyncio.wait({main}, timeout=GRACE_SECONDS)
            if not main.done():
                raise SsmdError(
                    f"the service did not stop within {GRACE_SECONDS:g} s and was cut off: what "
                    "was not acknowledged is done again at the next start"
                )
        main.result()
        if not runtime.stop.is_set():
            raise SsmdError("the service's main loop ended without being asked to stop")
    finally:
        stop.cancel()
        await end(main)


def _ask_to_stop(runtime: Runtime, number: signal.Signals) -> None:
    if not runtime.stop.is_set():
        log.info("stop requested", signal=number.name)
    runtime.health.state = "stopping"
    runtime.health.set("running", "the service is stopping")
    runtime.stop.set()


def _report(error: BaseException, settings: Settings) -> int:
    error = explained(error, getattr(settings, "database_url", None)) or error
    if isinstance(error, StopRequested):
        log.info("service stopped")
        return ExitCode.OK
    if isinstance(error, SsmdError):
        log.critical("service ended", error=str(error), kind=type(error).__name__)
        return error.exit_code
    log.critical("service crashed", error=repr(error), exc_info=error)
    return ExitCode.FAILED


def _first(error: BaseException) -> BaseException:
    """The error to report of several: one of ours if there is one."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [error]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        else:
            leaves.append(error)
    return next((error for error in leaves if isinstance(error, SsmdError)), leaves[0])


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What `asyncio.Runner` makes its loop with: uvloop, or None for the platform's own."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
