"""`ssmd exchange drift` against the simulated exchange, as a process."""

import json
import os
from collections.abc import Callable

import pytest
import warm
from aiohttp import web

from ssmd_simulator.server import Simulator


async def ssmd(base_url: str, *args: str) -> tuple[int, str, str]:
    environment = {**os.environ, "KALSHI_BASE_URL": base_url, "KALSHI_READ_BUDGET": "1000000"}
    return await warm.ssmd(("exchange", "drift", *args), None, environment)


@pytest.fixture
async def strange_exchange(unused_tcp_port_factory: Callable[[], int]):
    """An exchange with a new field on every series, and nothing else."""

    async def handle(request: web.Request) -> web.Response:
        name = request.path.removeprefix("/trade-api/v2")
        if name == "/series":
            row = {"title": "T", "category": "C", "frequency": "daily", "fee_multiplier": 1}
            rows = [{"ticker": "S", "fee_type": "quadratic", "mood": "[red]good", **row}]
            return web.json_response({"series": rows})
        key = {
            "/series/fee_changes": "series_fee_change_arr",
            "/events/fee_changes": "event_fee_changes",
            "/events": "events",
        }.get(name, "markets")
        return web.json_response({key: [], "cursor": ""})

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    port = unused_tcp_port_factory()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}/trade-api/v2"
    await runner.cleanup()


async def test_no_drift_is_exit_code_0() -> None:
    async with Simulator(budget=0) as simulator:
        code, out, err = await ssmd(simulator.base_url)
    assert (code, out) == (0, ""), err
    assert "nothing that this version does not know" in err


async def test_drift_is_exit_code_6_and_named(strange_exchange: str) -> None:
    code, out, err = await ssmd(strange_exchange)
    assert code == 6, err
    assert "unknown field" in out
    assert "mood" in out
    assert "[red]good" in out
    code, out, _ = await ssmd(strange_exchange, "--json")
    assert code == 6
    [finding] = json.loads(out)
    assert finding == {
        "kind": "unknown field",
        "entity": "series",
        "name": "mood",
        "count": 1,
        "rows": 1,
        "example": '"[red]good"',
    }


async def test_an_exchange_that_is_not_one(strange_exchange: str) -> None:
    code, out, err = await ssmd(strange_exchange.removesuffix("/v2") + "/v9", "--json")
    assert (code, out) != (0, "")
    assert "Traceback" not in err
    code, _, err = await ssmd("ftp://nowhere/")
    assert code == 2
    assert "KALSHI_BASE_URL" in err
