"""The archiver service: wiring only."""

import sys
from contextlib import AsyncExitStack, ExitStack
from typing import Final

from ssmd_archive.errors import ArchiveLocked
from ssmd_archive.lock import locked
from ssmd_archiver.service import standing_by
from ssmd_archiver.settings import ArchiverSettings
from ssmd_archiver.streams import Streams
from ssmd_common.connections import nats, postgres
from ssmd_common.connections.rights import require_rights
from ssmd_common.errors import ConfigurationError
from ssmd_common.metrics import LEADER
from ssmd_common.runtime import Runtime, run

_POLL_SECONDS: Final = 0.5


async def serve(runtime: Runtime, settings: ArchiverSettings) -> None:
    """Hold the archive, or stand by until it is free; then write what the stream says."""
    # What it writes is stamped by NATS and PostgreSQL.
    runtime.health.stamps = False
    runtime.health.set("lock", "the archive is not held yet")
    async with AsyncExitStack() as stack:
        lock = await _lock(runtime, settings)
        if lock is None:
            return
        stack.push(lock)
        await _look_at_postgres(settings)
        LEADER.set(1)
        stack.callback(LEADER.set, 0)
        uploads = None
        if settings.archiver_bucket is not None:
            # It loads a library that nothing else needs.
            from ssmd_archiver.uploads import Uploads

            uploads = Uploads(runtime, settings)
        # Where there is a bucket, only what it has is removed.
        streams = Streams(runtime, settings, *([uploads.why_kept] if uploads else []))
        stack.push_async_callback(streams.close)
        await streams.recover()
        runtime.health.set("lock", None)
        runtime.health.state = "archiving"
        if uploads is not None:
            runtime.spawn("archiver-uploads", uploads.run())
        client = await nats.connect(
            settings,
            "ssmd-archiver",
            budget_seconds=settings.startup_budget_seconds,
            service="archiver",
        )
        stack.push_async_callback(nats.close, client)
        await streams.run(client)


async def _look_at_postgres(settings: ArchiverSettings) -> None:
    """Once, that a fault is told at the start: later only states need PostgreSQL.

    Raises:
        UpstreamUnavailable: no answer within the budget.
        ConfigurationError: the role is refused, or lacks a right.
    """
    connection = await postgres.connect(
        settings.database_url,
        "ssmd-archiver",
        budget_seconds=settings.startup_budget_seconds,
        reads=True,
    )
    async with connection:
        await require_rights(connection, "archiver")


async def _lock(runtime: Runtime, settings: ArchiverSettings) -> ExitStack | None:
    """The lock; None when the service is stopped before it is free.

    Raises:
        ConfigurationError: the directory cannot be written to.
    """
    while not runtime.stop.is_set():
        lock = ExitStack()
        try:
            lock.enter_context(locked(settings.archiver_root))
        except ArchiveLocked as error:
            await standing_by(runtime, error.holder, _POLL_SECONDS)
        except OSError as error:
            raise ConfigurationError(
                f"ARCHIVER_ROOT: {settings.archiver_root} cannot be written to ({error.strerror}):"
                " give the archiver a directory of its own"
            ) from error
        else:
            return lock
    return None


def main() -> None:
    """Run the service."""
    sys.exit(run("archiver", ArchiverSettings, serve))


if __name__ == "__main__":
    main()
