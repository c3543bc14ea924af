"""Liveness, readiness and metrics over HTTP: /livez, /readyz, /metrics.

Live means that the loop makes progress; ready means that dependencies and lag are fine, or that it
stands by and could take over; it says why when it is not.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ssmd_common.errors import ConfigurationError, StopRequested
from ssmd_common.httpserver import Runner
from ssmd_common.metrics import CONDITION, DEGRADED, ERRORS, READY, TASKS
from ssmd_common.states import STANDBY


@dataclass(slots=True)
class Health:
    """What one service says of itself.

    `conditions` maps a name ("postgres", "warm", "leader") to None when fine, else to the reason
    why not, in words for an operator. A service is ready when it has set at least one and all are
    None; a standby also when those of `of_work` are not, which only the one that works can meet.
    `degraded` likewise names what an operator should look at although the service works.
    `stamps` is whether the service writes by its clock, and is not ready while that is wrong.
    `position` is how far the service is, by names of its own; `lag_seconds` how far behind that is.
    """

    service: str
    stamps: bool = True
    stalled_after_seconds: float = 60.0
    state: str = "starting"
    conditions: dict[str, str | None] = field(default_factory=dict)
    of_work: set[str] = field(default_factory=set)
    degraded: dict[str, str] = field(default_factory=dict)
    position: dict[str, object] = field(default_factory=dict)
    lag_seconds: float | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None
    _beat: float = field(default_factory=time.monotonic)

    def set(self, name: str, reason: str | None) -> None:
        """Record a condition: fine when `reason` is None."""
        self.conditions[name] = reason

    def stand_by(self, name: str, reason: str) -> None:
        """Record that another process does the work, until `state` is set to something else.

        It is ready: nothing keeps it from taking over, and a rollout must not wait for the lead.
        """
        self.state = STANDBY
        self.of_work.add(name)
        self.set(name, reason)

    def degrade(self, name: str, reason: str | None) -> None:
        """Record what is not as it should be and keeps nothing from working; None clears it."""
        if reason is None:
            self.degraded.pop(name, None)
        else:
            self.degraded[name] = reason

    def tell_writable(self, reason: str | None) -> None:
        """Record why PostgreSQL takes no writes; None clears it.

        Never a condition that is fine: it is told before a service knows whether it is ready.
        """
        if reason is None:
            self.conditions.pop("writable", None)
        else:
            self.set("writable", reason)

    def progress(self) -> None:
        """The main loop went round once more."""
        self._beat = time.monotonic()

    def failed(self, kind: str, error: BaseException | str) -> None:
        """Count a survived error by kind, and remember it for the picture of what flows."""
        ERRORS.labels(kind).inc()
        self.last_error = str(error) or type(error).__name__
        self.last_error_at = datetime.now(UTC)

    def ended(self, error: BaseException | None) -> None:
        """The service is over: stopped as it was asked to, or failed with its last sentence."""
        if error is None or isinstance(error, StopRequested):
            self.state, why = "stopped", "the service was stopped"
        else:
            self.state, why = "failed", str(error) or repr(error)
        self.conditions = {"running": why}

    @property
    def last_error_seconds_ago(self) -> float | None:
        """How long ago the last survived error was; None where there was none."""
        if self.last_error_at is None:
            return None
        return max(0.0, (datetime.now(UTC) - self.last_error_at).total_seconds())

    @property
    def ready(self) -> bool:
        waits = self.of_work if self.state == STANDBY else ()
        hindered = any(why and name not in waits for name, why in self.conditions.items())
        return bool(self.conditions) and not hindered

    @property
    def stalled_seconds(self) -> float:
        return time.monotonic() - self._beat

    @property
    def live(self) -> bool:
        return self.stalled_seconds < self.stalled_after_seconds

    def document(self) -> dict[str, object]:
        """What /readyz answers."""
        return {
            "service": self.service,
            "ready": self.ready,
            "state": self.state,
            "reasons": {name: why for name, why in self.conditions.items() if why},
            "degraded": dict(self.degraded),
            "last_error": self.last_error,
            "last_error_at": self.last_error_at and self.last_error_at.isoformat(),
        }


def add_routes(app: web.Application, health: Health) -> None:
    """Serve /livez, /readyz and /metrics of `health` from `app`."""

    async def livez(_: web.Request) -> web.Response:
        body = {"live": health.live, "seconds_since_progress": round(health.stalled_seconds, 1)}
        return web.json_response(body, status=200 if health.live else 503)

    async def readyz(_: web.Request) -> web.Response:
        return web.json_response(health.document(), status=200 if health.ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        TASKS.set(len(asyncio.all_tasks()))
        READY.set(health.ready)
        for gauge, values in (
            (CONDITION, {name: not why for name, why in health.conditions.items()}),
            (DEGRADED, dict.fromkeys(health.degraded, 1)),
        ):
            # What is said no more is no longer shown.
            gauge.clear()
            for name, value in values.items():
                gauge.labels(name).set(value)
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)


@asynccontextmanager
async def serve(
    app: web.Application, host: str, port: int, variable: str
) -> AsyncIterator[Callable[[], int]]:
    """Serve `app` while inside; yields a function that tells the port (for port 0).

    Raises:
        ConfigurationError: the port is taken; `variable` is the setting to change.
    """
    runner = Runner(app, shutdown_timeout=5)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigurationError(
                f"port {port} cannot be used ({error.strerror}): set {variable} to a free one"
            ) from error
        yield lambda: int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
