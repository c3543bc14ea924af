"""The images, run as the chart runs them against real servers; only the exchange is simulated."""

import json
import os
import time
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import redis.asyncio as aioredis
import yaml
from container_engine import Container, Engine
from container_images import CHOSEN, Images
from newcomer import ROOT
from observers import eventually

from ssmd_common.manifests import manifest
from ssmd_common.parts import SERVICES
from ssmd_stack.ports import free_port

WAY: Final = {"lifecycle", "cdc", "cache"}
"""The services through which a change goes from the exchange to Redis."""
GRACE_SECONDS: Final = 30
"""The chart's and compose's."""
READY_SECONDS: Final = 90


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_change_goes_from_the_exchange_to_redis_through_containers(
    engine: Engine, images: Images, shared: Path,
    empty_database: Any, nats_server: Any, valkey_server: Any,
) -> None:  # fmt: skip
    services = [name for name in SERVICES if name in WAY.union(CHOSEN)]
    for part in ("cli", "simulator", *services):
        images.build(part)
    keys, archive = (_of_the_services_user(shared / name) for name in ("keys", "archive"))
    exchange, api = free_port(), free_port()
    variables = {
        "DATABASE_URL": empty_database.url,
        "NATS_URL": nats_server.url,
        "REDIS_URL": valkey_server.url,
        "KALSHI_BASE_URL": f"http://127.0.0.1:{exchange}/trade-api/v2",
        "KALSHI_WS_URL": f"ws://127.0.0.1:{exchange}/trade-api/ws/v2",
        "KALSHI_API_KEY": "simulator",
        "KALSHI_PRIVATE_KEY_PATH": "/keys/key.pem",
        "API_PORT": str(api),
    }
    locked = ["--network=host", *engine.locked_down]
    for name, text in variables.items():
        locked += ["--env", f"{name}={text}"]

    engine("run", "--rm", *locked, images.build("cli"), "db", "migrate")
    made = engine("run", "--rm", *locked, images.build("cli"), "keys", "create", "me", "--json")
    engine.start(
        "ssmd-test-exchange", *locked, f"--volume={keys}:/keys", images.build("simulator"),
        f"--port={exchange}", "--write-key=/keys/key.pem", "--tempo=still",
    )  # fmt: skip
    await eventually(lambda: _answers(exchange, "/healthz"))

    ops = {name: free_port() for name in services}
    running = {}
    for name in services:
        volumes = [f"--volume={keys}:/keys:ro"] if "exchange" in manifest(name).needs else []
        if name == "archiver":
            volumes = [f"--volume={archive}:{_archive()}"]
        running[name] = engine.start(
            f"ssmd-test-{name}", *locked, *volumes, "--env", f"OPS_PORT={ops[name]}",
            images.build(name),
        )  # fmt: skip
    try:
        for name in services:
            await eventually(lambda port=ops[name]: _answers(port, "/readyz"), READY_SECONDS)
            _assert_locked_down(running[name])
        took = await _one_change(exchange, valkey_server.url)
        way = ", ".join(name for name in services if name in WAY)
        images.report(f"from the exchange to Redis through {way}: {took:.2f} s")
        if "api" in running:
            await _lists_markets(api, json.loads(made)["key"])
    except BaseException:
        for container in running.values():
            print(container.name, container.logs()[-3000:])  # noqa: T201 - shown with the failure
        raise
    for name, container in running.items():
        began = time.monotonic()
        assert container.stop(GRACE_SECONDS) == 0, container.logs()[-3000:]
        images.report(f"{name}: stopped in {time.monotonic() - began:.1f} s")
        last = json.loads(container.logs().strip().splitlines()[-1])
        assert last["event"] == "service stopped"
    if "archiver" in running:
        assert any(archive.rglob("*")), "the archive is empty"


def _of_the_services_user(directory: Path) -> Path:
    directory.mkdir()
    if os.getuid() == 0:
        os.chown(directory, 10001, 10001)
    else:
        directory.chmod(0o777)
    return directory


def _archive() -> str:
    values = yaml.safe_load((ROOT / "deploy/helm/ssmd/values.yaml").read_text())
    return str(values["services"]["archiver"]["storage"]["path"])


async def _answers(port: int, path: str) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        try:
            async with http.get(f"http://127.0.0.1:{port}{path}") as reply:
                assert reply.status == 200, await reply.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise AssertionError(f"nothing answers at {port}{path}: {error!r}") from error


def _assert_locked_down(container: Container) -> None:
    """As the process itself sees it, whatever the engine was told."""
    status = container.execute("cat", "/proc/1/status").stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["10001"] * 4
    assert fields["Gid"].split() == ["10001"] * 4
    assert int(fields["CapBnd"], 16) == int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"
    for place in ("/", "/tmp", "/opt/ssmd", "/var/tmp"):
        tried = container.execute("touch", f"{place}/written")
        assert tried.returncode != 0, f"{place} can be written to"
    assert not container.inspect()["Config"].get("Healthcheck")


async def _one_change(exchange: int, redis_url: str) -> float:
    """Seconds from the exchange's making a market until Redis has it."""
    async with (
        aioredis.from_url(redis_url, decode_responses=True) as redis,
        aiohttp.ClientSession() as http,
    ):
        began = time.monotonic()
        body = {"series": "KXIMAGES", "close_in": 3600}
        async with http.post(f"http://127.0.0.1:{exchange}/control/markets", json=body) as reply:
            assert reply.status == 200, await reply.text()
            [market] = (await reply.json())["markets"]
        ticker = market["market_ticker"]

        async def in_redis() -> None:
            key = await redis.hget("secmaster:markets", ticker)
            assert key, f"{ticker} is not in Redis"
            assert json.loads(await redis.get(key))["ticker"] == ticker

        await eventually(in_redis)
        return time.monotonic() - began


async def _lists_markets(api: int, key: str) -> None:
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": key}) as http,
        http.get(f"http://127.0.0.1:{api}/v1/markets?series=KXIMAGES") as reply,
    ):
        assert reply.status == 200, await reply.text()
        assert len((await reply.json())["markets"]) == 1
