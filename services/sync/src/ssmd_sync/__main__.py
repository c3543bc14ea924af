"""`ssmd-sync`: the service with its schedule. `ssmd-sync run <job>`: one job, once."""

import asyncio
import sys
from typing import Final

import structlog

from ssmd_common import logs, requests
from ssmd_common.connections.watch import watch_writable
from ssmd_common.errors import SsmdError
from ssmd_common.runtime import Runtime, loop_factory, run
from ssmd_common.settings import load
from ssmd_common.usage import answer
from ssmd_store.sessions import Sessions
from ssmd_sync import metrics, schedule
from ssmd_sync.exchange import Exchange
from ssmd_sync.retention import Retention
from ssmd_sync.service import LOOK_SECONDS, Service, run_once
from ssmd_sync.settings import SyncSettings

log = structlog.get_logger(__name__)

VERBS: Final = "run <job>"


async def serve(runtime: Runtime, settings: SyncSettings) -> None:
    jobs = schedule.load(settings.sync_jobs_file, settings.sync_multivariate)
    exchange = Exchange(settings, runtime.stop)
    async with Sessions(
        settings.database_url,
        "sync",
        size=settings.sync_concurrency,
        budget_seconds=settings.startup_budget_seconds,
    ) as sessions:
        runtime.spawn(
            "postgres-watch",
            watch_writable(
                runtime, settings.database_url, "ssmd-sync-watch", every_seconds=LOOK_SECONDS
            ),
        )
        service = Service(runtime, sessions, exchange, jobs, Retention.of(settings))
        runtime.spawn(
            "requests",
            requests.watch(
                runtime,
                settings.database_url,
                "sync",
                service.wake,
                metrics.REQUEST_WAITS,
                budget_seconds=settings.startup_budget_seconds,
            ),
        )
        await service()


def run_one(job_id: str) -> int:
    """Run one job of the schedule now; what a CronJob calls."""
    try:
        settings = load(SyncSettings)
        logs.configure("sync", settings.log_level, settings.log_format)
        job = schedule.named(
            schedule.load(settings.sync_jobs_file, settings.sync_multivariate), job_id
        )
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(run_once(job, settings))
    except SsmdError as error:
        logs.configure("sync")
        log.critical("command ended", error=str(error), kind=type(error).__name__)
        return error.exit_code


def main() -> None:
    match sys.argv[1:]:
        case []:
            sys.exit(run("sync", SyncSettings, serve))
        case ["run", job_id]:
            sys.exit(run_one(job_id))
        case arguments:
            sys.exit(answer("sync", SyncSettings, arguments, VERBS))


if __name__ == "__main__":
    main()
