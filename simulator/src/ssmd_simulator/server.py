"""The whole simulator: a universe, its life, and the server that answers for it."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from ssmd_simulator import maintenance
from ssmd_simulator.budget import Budget
from ssmd_simulator.control import Control
from ssmd_simulator.exchange import Exchange
from ssmd_simulator.faults import Faults, faulty
from ssmd_simulator.floor import Floor
from ssmd_simulator.generator import SIZES, fill, generate
from ssmd_simulator.population import load_population
from ssmd_simulator.rendering import Renderer
from ssmd_simulator.replay import Replay, frames
from ssmd_simulator.replies import PREFIX, encoded
from ssmd_simulator.rest import Rest
from ssmd_simulator.rolling import Rolling, rollers
from ssmd_simulator.scenarios import Scenarios
from ssmd_simulator.settings import Settings
from ssmd_simulator.signatures import Keyring, PublicKey
from ssmd_simulator.universe import Universe
from ssmd_simulator.websocket import PATH, Hub

STEP_SECONDS = 0.005
"""Between two steps of the trading floor."""


class Simulator:
    """An exchange on localhost, as an async context manager.

    Keyword arguments are those of `Settings`. Inside the context `base_url` and `ws_url` are where
    it listens, `universe` is the truth, `exchange` changes it, `control` creates markets on demand.
    """

    def __init__(
        self,
        size: str = "small",
        *,
        seed: int = 7,
        tempo: float | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.time,
        keys: dict[str, PublicKey] | None = None,
        **settings: Any,
    ) -> None:
        self.settings = Settings(size=size, seed=seed, tempo=tempo, **settings)
        self.host = host
        self.port = port
        self.clock = clock
        now = clock()
        self.universe = _universe(self.settings, now)
        self.exchange = Exchange(self.universe, clock)
        self.keys = Keyring(dict(keys or {}))
        self.budget = Budget(self.settings.budget, clock, dict(self.settings.costs))
        self.faults = Faults(clock)
        self.hub = Hub(self.exchange, self.settings, self.keys, self.faults)
        self.renderer = Renderer(self.universe.anchor, still=tempo is None)
        self.floor = Floor(
            self.exchange,
            self.hub,
            self.renderer.quote,
            rate=self.settings.market_rate,
            markets=self.settings.traded_markets,
            block_volume=self.settings.block_volume,
        )
        self.renderer.floor = self.floor
        self.hub.opens(self.floor)
        self.control = Control(self.exchange, self.hub, self.faults, self.floor)
        self.rest = Rest(
            self.exchange, self.renderer, self.settings, self.budget, self.keys, self.floor
        )
        self.replay: Replay | None = None
        if self.settings.replay is not None:
            self.replay = Replay(self.settings.replay)
            self.hub.recorded = frames(self.settings.replay)
        self._runner: web.AppRunner | None = None
        self._life: asyncio.Task[None] | None = None
        self._begin(now)

    @property
    def base_url(self) -> str:
        """Where REST is."""
        return f"http://{self.host}:{self.port}{PREFIX}"

    @property
    def ws_url(self) -> str:
        """Where the WebSocket is."""
        return f"ws://{self.host}:{self.port}{PATH}"

    @property
    def control_url(self) -> str:
        """Where the control API is."""
        return f"http://{self.host}:{self.port}/control"

    @property
    def life(self) -> asyncio.Task[None]:
        """The task that does what is due; if it ends, the exchange is dead."""
        assert self._life is not None, "the simulator has not been started"
        return self._life

    def _begin(self, now: float) -> None:
        tempo = self.settings.tempo
        if self.settings.replay is not None:
            return
        # Before the rolling series come in: those are not for scenarios.
        Scenarios(self.exchange, self.settings.scenario_period).start(now)
        if self.settings.population is None:
            rolling = Rolling(
                self.exchange,
                rollers(self.universe, full=self.settings.size == "full"),
                tempo or 1.0,
            )
            rolling.start(now, roll=tempo is not None)
        self._schedule_disconnects(now)
        if tempo is not None:
            for event in self.universe.events.values():
                self.exchange.watch(event, now)
        if self.floor.rate:
            self.floor.open()

    def _schedule_disconnects(self, now: float) -> None:
        def disconnect(when: float) -> None:
            self.hub.disconnect()
            self._schedule_disconnects(when)

        period = self.settings.disconnect_every
        self.exchange.at(now + period if period > 0 else maintenance.next_start(now), disconnect)

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[faulty(self.faults)])
        app.add_routes([web.get(PATH, self.hub.handle), web.get("/healthz", self._healthz)])
        app.add_routes(self.control.routes())
        app.add_routes(self.rest.routes() if self.replay is None else self.replay.routes())
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runner = runner
        try:
            site = web.TCPSite(runner, self.host, self.port)
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self.port = runner.addresses[0][1]
        self._life = asyncio.create_task(self._live(), name="exchange-life")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._life is not None:
            self._life.cancel()
            with suppress(asyncio.CancelledError):
                await self._life
        self.hub.disconnect()
        if self._runner is not None:
            await self._runner.cleanup()
        self.hub.close()

    async def _live(self) -> None:
        """Do what is due when it is due; control calls may bring new things forward."""
        while True:
            now = self.clock()
            self.exchange.advance(now)
            wait = self.exchange.next_due - now
            if self.floor.rate:
                self.floor.step(now)
                wait = min(wait, STEP_SECONDS)
            await asyncio.sleep(min(0.05 if wait != inf else 0.2, max(0.001, wait)))

    async def _healthz(self, _: web.Request) -> web.Response:
        alive = self._life is not None and not self._life.done()
        return encoded({"status": "ok" if alive else "dead"}, 200 if alive else 503)


def _universe(settings: Settings, now: float) -> Universe:
    anchor = settings.anchor if settings.anchor is not None else float(int(now // 86400) * 86400)
    if settings.replay is not None:
        return Universe(settings.seed, anchor)
    if settings.population is not None:
        universe = load_population(settings.population, settings.seed, anchor, now)
        if settings.size == "full":
            fill(universe, SIZES["full"], now)
        return universe
    return generate(SIZES[settings.size], settings.seed, anchor, now)
